import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { clientsOf, userClaims } from "./clients.ts";
import { type ConformanceOptions, email, issuerOf, type Secrets, writePrivately } from "./settings.ts";

const main = join(import.meta.dirname, "../../src/main.ts");
const node = ["--disable-warning=TimeoutNegativeWarning", main];

export interface Service {
  readonly port: number;
  readonly registrationToken: string;
  /** The service's environment as a shell reads it. */
  readonly environmentFile: string;
  /** Resolves when the process is over. */
  readonly ended: Promise<unknown>;
  close(): Promise<void>;
}

/** The service as it runs in production, but on SQLite: migrated, with its clients and a user, and ready. */
export async function startService(options: ConformanceOptions, secrets: Secrets): Promise<Service> {
  const [port = 0, grpc = 0, internal = 0] = await freePorts(3);
  const data = resolve(options.data);
  writePrivately(join(data, "clients.json"), clientsOf(options, secrets));
  const env = {
    PATH: process.env["PATH"],
    NODE_ENV: "production",
    ALLOW_SQLITE: "1",
    ISSUER: issuerOf(options),
    TRUST_PROXY: "127.0.0.1",
    HTTP_PORT: String(port),
    GRPC_PORT: String(grpc),
    INTERNAL_HTTP_PORT: String(internal),
    DATABASE_URL: `sqlite:${join(data, "auth.sqlite")}`,
    EVENTS_FILE: join(data, "events.ndjson"),
    CLIENTS_FILE: join(data, "clients.json"),
    KEY_ENCRYPTION_KEY: secrets.keyEncryptionKey,
    // back-channel logout and clients' key sets: the suite may be on this machine
    OUTBOUND_ALLOWED_HOSTS: new URL(options.suite).host,
    // the suite asks for RFC 6749 section 5.2's status
    REFRESH_REJECTED_STATUS: "400",
    LOG_LEVEL: process.env["LOG_LEVEL"] ?? "warn",
    ...(options.suiteCa === null ? {} : { NODE_EXTRA_CA_CERTS: resolve(options.suiteCa) }),
  };
  const environmentFile = join(data, "service.env");
  writePrivately(environmentFile, toShell(env));
  const command = (args: readonly string[], input = "") => runCommand(env, args, input);
  await command(["migrate"]);
  const known = await command(["user", "show", email]).catch(() => null);
  if (known === null) {
    await command(["user", "add", email, "--nickname", "sue"], `${secrets.password}\n`);
    await command(["user", "claims", email, "-", "--email-verified"], JSON.stringify(userClaims));
  }
  const issued = await command(["client", "registration-token", "--uses", "1000", "--expires", "604800", "--json"]);
  const { initial_access_token: registrationToken } = JSON.parse(issued) as { initial_access_token: string };

  const child = spawn(process.execPath, [...node, "serve"], { env, stdio: ["ignore", "inherit", "inherit"] });
  const ended = once(child, "exit");
  for (let tries = 0; !(await isReady(internal)); tries++) {
    if (child.exitCode !== null || tries > 300) throw new Error("the service did not become ready");
    await sleep(100);
  }
  return {
    port,
    registrationToken,
    environmentFile,
    ended,
    close: async () => {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

function toShell({ PATH: _, ...env }: NodeJS.ProcessEnv): string {
  const lines = Object.entries(env).map(([name, value = ""]) => `${name}='${value.replaceAll("'", "'\\''")}'`);
  return `${lines.join("\n")}\n`;
}

/** One command of the service's command line. @returns what it printed */
async function runCommand(env: NodeJS.ProcessEnv, args: readonly string[], input: string): Promise<string> {
  const child = spawn(process.execPath, [...node, ...args], { env, stdio: "pipe" });
  child.stdin.end(input);
  const [out, problem, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  if (status !== 0) throw new Error(`${args.slice(0, 2).join(" ")} failed: ${problem}${out}`);
  return out;
}

async function isReady(internalPort: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${internalPort}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  );
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}
