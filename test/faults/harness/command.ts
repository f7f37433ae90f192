import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
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

/**
 * Runs a command and kills it with -9 when `isTime` first says so.
 * @returns whether it was still at work then @throws when it fails by itself
 */
export async function killedCommand(
  env: Record<string, string>,
  isTime: () => Promise<boolean>,
  ...args: string[]
): Promise<boolean> {
  const command = start(env, args);
  const ended = command.then(
    () => false,
    (error: Error) => {
      if (command.child.signalCode !== "SIGKILL") throw error;
      return true;
    },
  );
  ended.catch(() => undefined);
  const runs = () => command.child.exitCode === null && command.child.signalCode === null;
  try {
    while (runs() && !(await isTime())) await sleep(2);
  } finally {
    command.child.kill("SIGKILL");
  }
  return await ended;
}
