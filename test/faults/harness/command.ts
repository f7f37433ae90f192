import { execFile } from "node:child_process";
import { promisify } from "node:util";

const main = new URL("../../../src/main.ts", import.meta.url).pathname;
const run = promisify(execFile);

function start(env: Record<string, string>, args: readonly string[]) {
  const flags = ["--disable-warning=TimeoutNegativeWarning", main, ...args];
  return run(process.execPath, flags, { env: { PATH: process.env["PATH"], ...env } });
}

/** Runs a command of `npm run auth` beside the service. @returns what it printed @throws when it fails */
export async function auth(env: Record<string, string>, ...args: string[]): Promise<string> {
  return (await start(env, args)).stdout;
}

/** Runs a command and kills it with -9 after a time. @returns whether it was still at work */
export async function killedCommand(env: Record<string, string>, afterMs: number, ...args: string[]): Promise<boolean> {
  const command = start(env, args);
  const timer = setTimeout(() => command.child.kill("SIGKILL"), afterMs);
  return await command
    .then(
      () => false,
      () => command.child.signalCode === "SIGKILL",
    )
    .finally(() => clearTimeout(timer));
}
