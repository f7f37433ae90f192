import cluster from "node:cluster";
import { availableParallelism } from "node:os";
import type { Command } from "commander";
import type { App } from "../app.ts";
import type { Config } from "../config/config.ts";
import { addressOf } from "../net/address.ts";
import { closeAndExit } from "../process/exit.ts";
import { freeStartMemory } from "../process/start-memory.ts";
import { onStopSignal } from "../process/stop-signals.ts";
import { lowerPriority } from "../process/thread-priority.ts";
import { type Runtime, settingsOf } from "./runtime.ts";

export function addServeCommand(program: Command, runtime: Runtime): void {
  program
    .command("serve", { isDefault: true })
    .description("start the service")
    .addHelpText("after", "\nExamples:\n  npm start\n  HTTP_PORT=8080 ISSUER=http://localhost:8080 npm start")
    .action(async () => {
      const settings = await settingsOf(runtime);
      const { config } = settings;
      if (cluster.isWorker) {
        const { serveAsWorker } = await import("../process/workers.ts");
        await serveAsWorker(settings);
      } else if (config.workers > 1) {
        const { serveWithWorkers } = await import("../process/workers.ts");
        await serveWithWorkers(settings, () => runtime.stdout.write(greeting(config)));
      } else {
        const signal = untilSignal();
        const { createApp } = await import("../app.ts");
        const app = await createApp(settings);
        freeStartMemory();
        // while V8 marks what lives, its four threads would leave the thread that answers a fifth of the core
        if (availableParallelism() === 1) lowerPriority("V8Worker");
        runtime.stdout.write(greeting(config));
        signal.close(app);
      }
    });
}

/** The one thing a normal start prints. */
function greeting({ issuer, http, grpc, internalHttp, internalTls, kafka, production }: Config): string {
  const internal = `${internalTls === null ? "http" : "https"}://${addressOf(internalHttp)}`;
  const listeners = `HTTP ${addressOf(http)}, gRPC ${addressOf(grpc)}, health and metrics ${internal}`;
  if (production) return `Auth service is up: ${issuer} (${listeners})\n`;
  return (
    `Auth service is up: ${issuer}/ (${listeners})\n` +
    (kafka === null ? `Mailbox: ${internal}/mail shows the mails, which are sent only where SMTP_URL is set\n` : "") +
    "Development clients: portal-client (public, PKCE), internal-service (secret internal-service-secret)\n" +
    "Warning: portal-client keeps its refresh token; RFC 9700 section 2.2.2 asks for rotation, which every other client has\n" +
    "Next: the three-minute tour in README.md, or `npm run auth -- --help`\n"
  );
}

/**
 * Obeys SIGTERM and SIGINT from now on: before the service is up nothing has to be finished, afterwards it drains. SIGHUP reloads, but
 * where a terminal sends it because it closes.
 */
function untilSignal(): { close(app: App): void } {
  let app: App | null = null;
  onStopSignal(() => {
    if (app === null) process.exit(0);
    closeAndExit(app);
  });
  if (!process.stdin.isTTY) process.on("SIGHUP", () => app?.reload());
  return {
    close: (started) => {
      app = started;
    },
  };
}
