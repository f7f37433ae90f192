import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export interface ServiceProcess {
  readonly pid: number;
  readonly output: () => string;
  kill(signal: NodeJS.Signals): Promise<number | null>;
}

const ours = new URL("../../src/main.ts", import.meta.url).pathname;

/**
 * The service as a process of its own, as `npm start` runs it. Resolves when it is ready.
 * @param main of another release
 */
export async function spawnService(env: Record<string, string>, main = ours): Promise<ServiceProcess> {
  const child: ChildProcess = spawn(process.execPath, ["--disable-warning=TimeoutNegativeWarning", main, "serve"], {
    env: { PATH: process.env["PATH"], ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout?.on("data", (chunk) => (output += chunk));
  child.stderr?.on("data", (chunk) => (output += chunk));
  const exited = once(child, "exit");
  const ready = `http://127.0.0.1:${env["INTERNAL_HTTP_PORT"]}/readyz`;
  for (let tries = 0; ; tries++) {
    const status = await fetch(ready).then(
      (response) => response.status,
      () => 0,
    );
    if (status === 200) break;
    if (child.exitCode !== null || tries > 1_200) throw new Error(`the service did not become ready:\n${output}`);
    await sleep(50);
  }
  return {
    pid: child.pid ?? 0,
    output: () => output,
    async kill(signal) {
      child.kill(signal);
      const [code] = (await exited) as [number | null];
      return code;
    },
  };
}

/** Stops a process with SIGSTOP. Resolves when each of its threads stands still: the signal takes a moment to reach them all. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, "SIGSTOP");
  await sleep(100);
  for (let tries = 0; existsSync("/proc/self/task") && !standsStill(pid); tries++) {
    if (tries > 1_000) throw new Error(`process ${pid} does not stop`);
    await sleep(10);
  }
}

function standsStill(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) => {
    try {
      return /\) T [^)]*$/.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8"));
    } catch {
      // the thread ended meanwhile
      return true;
    }
  });
}
