import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

export interface ServiceProcess {
  readonly pid: number;
  readonly output: () => string;
  kill(signal: NodeJS.Signals): Promise<number | null>;
}

/** The service as a process of its own, as `npm start` runs it. Resolves when it is ready. */
export async function spawnService(env: Record<string, string>): Promise<ServiceProcess> {
  const main = new URL("../../src/main.ts", import.meta.url).pathname;
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
    if (child.exitCode !== null || tries > 300) throw new Error(`the service did not become ready:\n${output}`);
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
