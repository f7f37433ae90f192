// Copied into the tests of another release, in place of its service: theirs runs in the process of the tests, this one beside it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The parts of a release's `TestApp` that can be had from outside. */
export async function startOutside(env: Record<string, string>): Promise<object> {
  const main = process.env["SERVICE_UNDER_TEST"] ?? "";
  const file = join(mkdtempSync(join(tmpdir(), "clock-")), "milliseconds");
  writeFileSync(file, "0");
  const clock = new URL("./clock-of-file.mjs", `file://${main.replace(/src\/main\.ts$/, "test/faults/release/")}`);
  const child = spawn(
    process.execPath,
    ["--disable-warning=TimeoutNegativeWarning", `--import=${clock}`, main, "serve"],
    {
      env: { PATH: process.env["PATH"], LOG_LEVEL: "debug", ...env, CLOCK_FILE: file },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  const exited = once(child, "exit");
  const logs: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => logs.push(String(chunk)));
  const internalUrl = `http://127.0.0.1:${env["INTERNAL_HTTP_PORT"]}`;
  const status = async () => {
    const answer = await fetch(`${internalUrl}/readyz`).catch(() => null);
    return answer?.status;
  };
  while ((await status()) !== 200) {
    if (child.exitCode !== null) throw new Error(`the service ended: ${logs.join("")}`);
    await new Promise((done) => setTimeout(done, 50));
  }
  return {
    url: `http://localhost:${env["HTTP_PORT"]}`,
    grpc: `127.0.0.1:${env["GRPC_PORT"]}`,
    internalUrl,
    logs,
    env,
    config: { eventsFile: env["EVENTS_FILE"] },
    clock: {
      set shift(milliseconds: number) {
        writeFileSync(file, String(milliseconds));
      },
      now: () => Date.now() + Number(readFileSync(file, "utf8")),
    },
    close: async () => {
      child.kill("SIGTERM");
      await exited;
    },
  };
}
