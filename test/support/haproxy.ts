import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { it } from "@jest/globals";
import { SERVICES, unpackPackages } from "./debian-packages.ts";

/** Where haproxy is, and where its libraries are, if not with the system's. */
interface Haproxy {
  readonly program: string;
  readonly libraries: string | null;
}

export interface RunningProxy {
  /** What haproxy logged and printed. */
  readonly output: () => string;
  stop(): Promise<void>;
}

const root = join(import.meta.dirname, "../..");
/** As an operator runs it. */
export const PROXY_FILE = join(root, "deploy/haproxy.cfg");
/** haproxy, and the libraries it needs that a small Debian does not have. */
const packages = ["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"];

/** haproxy on the PATH, else Debian's package unpacked beside the other services of the tests; null: it cannot be had. */
export const HAPROXY: Haproxy | null = findHaproxy();

/** A test that runs haproxy, skipped by name where there is none. */
export function itWithHaproxy(name: string, body: (haproxy: Haproxy) => Promise<void>, timeout?: number): void {
  const title = `${name} (needs haproxy)`;
  const found = HAPROXY;
  if (found !== null) it(title, () => body(found), timeout);
  else {
    // by hand, too: Jest does not name the tests of a file in which all are skipped
    process.stderr.write(`skipped: ${title}\n`);
    it.skip(title, () => {});
  }
}

function findHaproxy(): Haproxy | null {
  const installed = { program: "haproxy", libraries: null };
  if (runs(installed)) return installed;
  const home = join(SERVICES, "haproxy");
  if (!existsSync(home)) unpackPackages(home, packages);
  const lib = join(home, "usr", "lib");
  const triplet = existsSync(lib) ? readdirSync(lib).find((name) => name.endsWith("-linux-gnu")) : undefined;
  const unpacked = { program: join(home, "usr", "sbin", "haproxy"), libraries: triplet ? join(lib, triplet) : null };
  return runs(unpacked) ? unpacked : null;
}

function runs(haproxy: Haproxy): boolean {
  try {
    execFileSync(haproxy.program, ["-v"], { stdio: "ignore", env: environment(haproxy) });
    return true;
  } catch {
    return false;
  }
}

function environment({ libraries }: Haproxy): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"], ...(libraries === null ? {} : { LD_LIBRARY_PATH: libraries }) };
}

/** @throws with what haproxy says against its configuration */
export function checkConfiguration(haproxy: Haproxy): void {
  execFileSync(haproxy.program, ["-c", "-f", PROXY_FILE], {
    stdio: "pipe",
    encoding: "utf8",
    env: environment(haproxy),
  });
}

/** Where a replica listens, all on 127.0.0.1. */
export interface ReplicaPorts {
  readonly http: number;
  readonly grpc: number;
  readonly internal: number;
}

/**
 * Runs haproxy in the foreground with `deploy/haproxy.cfg`, in which the addresses are replaced.
 * @param own where the proxy listens
 * @param replicas for `auth-1` and `auth-2`
 * @param options noticesLate: it asks a replica that is not ready a second time after 1.5 s only
 */
export async function startHaproxy(
  haproxy: Haproxy,
  own: ReplicaPorts,
  replicas: readonly [ReplicaPorts, ReplicaPorts],
  { noticesLate = false } = {},
): Promise<RunningProxy> {
  const text = readFileSync(PROXY_FILE, "utf8")
    .replace("fastinter 250ms", noticesLate ? "fastinter 1500ms" : "fastinter 250ms")
    .replace("bind :8081", `bind 127.0.0.1:${own.http}`)
    .replace("bind :9091", `bind 127.0.0.1:${own.grpc}`)
    .replace("bind :9092", `bind 127.0.0.1:${own.internal}`)
    .replaceAll(/auth-([12]):(8081|9091|9092)/g, (_, replica: string, port: string) => {
      const { http, grpc, internal } = replicas[replica === "1" ? 0 : 1];
      return `127.0.0.1:${port === "8081" ? http : port === "9091" ? grpc : internal} port ${internal}`;
    });
  return runHaproxy(haproxy, text, own.http);
}

/** Runs haproxy in the foreground with this configuration. @param port where it listens */
export async function runHaproxy(haproxy: Haproxy, text: string, port: number): Promise<RunningProxy> {
  const folder = mkdtempSync(join(tmpdir(), "haproxy-"));
  const file = join(folder, "haproxy.cfg");
  writeFileSync(file, text);
  const child = spawn(haproxy.program, ["-db", "-f", file], { env: environment(haproxy) });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  const stop = async () => {
    await end(child);
    rmSync(folder, { recursive: true, force: true });
  };
  for (let tries = 0; !(await accepts(port)); tries++) {
    if (child.exitCode !== null || tries > 1_200) {
      await stop();
      throw new Error(`haproxy did not come up: ${output}`);
    }
    await sleep(50);
  }
  return { output: () => output, stop };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  const late = setTimeout(() => child.kill("SIGKILL"), 5_000);
  await ended;
  clearTimeout(late);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("error", () => resolve(false));
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}
