import { runCommandLine } from "./commands/program.ts";

const { env, stdin, stdout, stderr } = process;
const status = await runCommandLine(process.argv.slice(2), { env, stdin, stdout, stderr });
if (status !== 0) process.exitCode = status;
