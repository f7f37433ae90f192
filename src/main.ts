import cluster from "node:cluster";
import { enableCompileCache } from "node:module";
import { availableParallelism } from "node:os";
import path from "node:path";
import { isatty } from "node:tty";
import { setFlagsFromString } from "node:v8";
import { onStopSignal } from "./process/stop-signals.ts";

// while the rest is loaded nothing has to be finished; a worker is ended by its primary
const [command = "serve"] = process.argv.slice(2);
if (command === "serve" && cluster.isPrimary) {
  onStopSignal(() => process.exit(0));
  // it asks to read files again, none of which has been read; a terminal that closes means it as an end
  if (!isatty(0)) process.on("SIGHUP", () => undefined);
}

// what was compiled at an earlier start: a start takes a fifth less time and memory. Without permission to write it does without.
enableCompileCache(path.join(import.meta.dirname, "../node_modules/.cache/compiled"));

if (availableParallelism() === 1) {
  // on one core more threads only take turns: one of libuv's, before any is used (docs/decisions/0011), none for V8's collections of
  // young objects (docs/decisions/0017)
  process.env["UV_THREADPOOL_SIZE"] ??= "1";
  setFlagsFromString("--no-parallel-scavenge");
}

const { runCommandLine } = await import("./commands/program.ts");
const { env, stdin, stdout, stderr } = process;
for (const output of [stdout, stderr]) {
  // its reader has closed it, as `| head` does
  output.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}
const status = await runCommandLine(process.argv.slice(2), { env, stdin, stdout, stderr });
if (status !== 0) {
  process.exitCode = status;
  // a worker that cannot start has nothing more to hear from its primary
  process.channel?.unref();
}
