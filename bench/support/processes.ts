import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";

/** Cores of a measurement: the server has one to itself, load and database the other. */
export const serverCpu = "0";
export const loadCpu = "1";

const canPin = availableParallelism() > 1 && spawnSync("taskset", ["-V"]).status === 0;

export function machine(): string {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const pinned = canPin
    ? "server pinned to one core, load on another"
    : "not pinned: taskset or a second core is missing";
  return `${availableParallelism()} cores of ${model}, Node ${process.versions.node}; ${pinned}`;
}

/** A command as it is run on one core, where that is possible. */
export function onCore(cpu: string, command: readonly string[]): [string, string[]] {
  const [program = "", ...rest] = canPin ? ["taskset", "-c", cpu, ...command] : command;
  return [program, rest];
}

/** @param cpus comma list */
export function pinThisProcess(cpus: string): void {
  if (canPin) execFileSync("taskset", ["-a", "-c", "-p", cpus, String(process.pid)], { stdio: "ignore" });
}

let profileFolder: string | null = null;

/** From now on each service process writes a CPU profile when it ends. @param folder emptied first */
export function profileServices(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  profileFolder = folder;
}

/** Starts a script of ours on one core. Resolves when it printed its first line. */
export async function startPinned(cpu: string, script: string, args: readonly string[], env?: Record<string, string>) {
  const path = new URL(script, import.meta.url).pathname;
  const profiling =
    profileFolder === null || !path.endsWith("/src/main.ts") ? [] : ["--cpu-prof", `--cpu-prof-dir=${profileFolder}`];
  const command = [process.execPath, ...profiling, "--disable-warning=TimeoutNegativeWarning", path, ...args];
  const [program, rest] = onCore(cpu, command);
  const child = spawn(program, rest, {
    stdio: ["ignore", "pipe", "inherit"],
    ...(env === undefined ? {} : { env: { PATH: process.env["PATH"], ...env } }),
  });
  await Promise.race([
    once(child.stdout, "data"),
    once(child, "exit").then(([code]) => {
      throw new Error(`${script} ended with ${code} before it was up`);
    }),
  ]);
  child.stdout.resume();
  return child;
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "exit");
}

/**
 * Processor seconds that the threads of a process used so far. A thread that has ended no longer counts.
 * @param without the name of threads that are left out
 */
export function cpuSeconds(pid: number, without?: string): number {
  const tasks = `/proc/${pid}/task`;
  const nanoseconds = readdirSync(tasks).map((task) => {
    try {
      if (without !== undefined && readFileSync(`${tasks}/${task}/comm`, "utf8").startsWith(without)) return 0;
      return Number(readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ", 1)[0]);
    } catch {
      return 0;
    }
  });
  return nanoseconds.reduce((sum, each) => sum + each, 0) / 1e9;
}

export function residentMegabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
}

export interface Load {
  readonly answered: number;
  readonly failed: number;
  readonly seconds: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** One load process on the other core. */
export async function runLoad(script: string, options: object, cpu = loadCpu): Promise<Load> {
  const file = join(mkdtempSync(join(tmpdir(), "auth-bench-")), "options.json");
  writeFileSync(file, JSON.stringify(options));
  const path = new URL(script, import.meta.url).pathname;
  const [program, rest] = onCore(cpu, [process.execPath, path, file]);
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  const [code] = (await once(child, "close")) as [number];
  if (code !== 0) throw new Error(`${script} ended with ${code}`);
  return JSON.parse(output) as Load;
}

export interface Rate {
  /** Calls for each second of the server's processor. */
  readonly perCpuSecond: number;
  readonly perSecond: number;
  readonly p99: number;
  /** Share of its core that the server was busy. */
  readonly busy: number;
}

/** Loads a server process and takes its rate. @throws when a call failed */
export async function measure(pid: number, script: string, options: object): Promise<Rate> {
  const before = cpuSeconds(pid);
  const load = await runLoad(script, options);
  const used = cpuSeconds(pid) - before;
  if (load.failed > 0 || load.answered === 0)
    throw new Error(`${load.failed} calls failed, ${load.answered} were answered`);
  const { answered, seconds, p99 } = load;
  return { perCpuSecond: answered / used, perSecond: answered / seconds, p99, busy: used / seconds };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
