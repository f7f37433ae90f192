import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");

/** Whether the command answers; its output must match. */
export function hasTool(command: string, args: readonly string[], output = /./): boolean {
  try {
    return output.test(execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  } catch {
    return false;
  }
}

/** Python 3 that can make virtual environments with pip in them. */
export function hasPython(): boolean {
  return hasTool("python3", ["-c", "import sys, venv, ensurepip; print(sys.version_info >= (3, 10))"], /True/);
}

/** A virtual environment with what the requirements file names, made once for each version of the file. @returns its Python */
export async function pythonWith(requirements: string): Promise<string> {
  const text = readFileSync(requirements);
  const name = createHash("sha256").update(text).digest("hex").slice(0, 12);
  const folder = join(root, ".cache/clients", `python-${name}`);
  const python = join(folder, "bin/python");
  if (existsSync(join(folder, "complete"))) return python;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await run("python3", ["-m", "venv", folder], { timeout: 60_000 });
  await run(python, ["-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements], {
    timeout: 240_000,
  });
  writeFileSync(join(folder, "complete"), "");
  return python;
}
