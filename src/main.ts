import { enableCompileCache } from "node:module";
import { availableParallelism } from "node:os";
import path from "node:path";

// what was compiled at an earlier start: a start takes a fifth less time and memory. Without permission to write it does without.
enableCompileCache(path.join(import.meta.dirname, "../node_modules/.cache/compiled"));

// before anything uses libuv's threads; see docs/decisions/0011
if (availableParallelism() === 1) process.env["UV_THREADPOOL_SIZE"] ??= "1";

const { runCommandLine } = await import("./commands/program.ts");
const { env, stdin, stdout, stderr } = process;
const status = await runCommandLine(process.argv.slice(2), { env, stdin, stdout, stderr });
if (status !== 0) process.exitCode = status;
