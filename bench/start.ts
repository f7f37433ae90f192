import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Figure } from "./figures.ts";

const root = path.resolve(import.meta.dirname, "..");
/** What `npm start` gives to Node, the script made absolute. */
const { start: script } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")).scripts as {
  start: string;
};
const args = script
  .replace(/^exec node /, "")
  .split(" ")
  .map((arg) => (arg === "src/main.ts" || arg.startsWith("./") ? path.join(root, arg) : arg));
const runs = 5;
const settleMs = 60_000;

/** The embedded default, as `npm start` runs it in an empty folder, and once more where its database is there already. */
export async function start(): Promise<Figure[]> {
  const first: number[] = [];
  const again: number[] = [];
  for (let run = 0; run < runs; run++) {
    const folder = mkdtempSync(path.join(tmpdir(), "auth-bench-"));
    first.push((await timed(folder, 0)).ms);
    again.push((await timed(folder, 0)).ms);
    rmSync(folder, { recursive: true });
  }
  const folder = mkdtempSync(path.join(tmpdir(), "auth-bench-"));
  const { rssMb } = await timed(folder, settleMs);
  rmSync(folder, { recursive: true });
  return [
    { name: `first start to first answer, median of ${runs}`, value: median(first), unit: "ms", bar: 1500 },
    { name: `later start to first answer, median of ${runs}`, value: median(again), unit: "ms", bar: 1500 },
    { name: "resident memory 60 s after start, no login", value: rssMb, unit: "MB", bar: 200 },
  ];
}

async function timed(cwd: string, waitMs: number): Promise<{ ms: number; rssMb: number }> {
  const [http, grpc, internal] = await freePorts(3);
  const env = {
    PATH: process.env["PATH"],
    HTTP_PORT: String(http),
    GRPC_PORT: String(grpc),
    INTERNAL_HTTP_PORT: String(internal),
    ISSUER: `http://localhost:${http}`,
  };
  const startedAt = performance.now();
  const child = spawn(process.execPath, args, { cwd, env, stdio: ["ignore", "ignore", "inherit"] });
  const ended = once(child, "exit");
  try {
    while (!(await answers(http ?? 0))) {
      if (child.exitCode !== null || performance.now() - startedAt > 30_000)
        throw new Error("the service did not start");
      await sleep(5);
    }
    const ms = Math.round(performance.now() - startedAt);
    await sleep(waitMs);
    return { ms, rssMb: residentMb(child.pid ?? 0) };
  } finally {
    child.kill("SIGTERM");
    await ended;
  }
}

/** A request that the domain answers: the key set. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const call = request(
      { host: "127.0.0.1", port, path: "/oauth2/jwks", agent: false, timeout: 2_000 },
      (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      },
    );
    call.once("timeout", () => call.destroy());
    call.once("error", () => resolve(false)).end();
  });
}

/** Linux only. */
function residentMb(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Math.round((Number(kib) * 1024) / 1e6);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  for (const server of servers) server.close();
  return ports;
}
