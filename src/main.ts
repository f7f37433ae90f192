import { availableParallelism } from "node:os";

// before anything uses libuv's threads; see docs/decisions/0011
if (availableParallelism() === 1) process.env["UV_THREADPOOL_SIZE"] ??= "1";

const { runCommandLine } = await import("./commands/program.ts");
const { env, stdin, stdout, stderr } = process;
const status = await runCommandLine(process.argv.slice(2), { env, stdin, stdout, stderr });
if (status !== 0) process.exitCode = status;
