import { execFile, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");
/** Where builds end, beside what they download. */
export const cache = join(root, ".cache/clients");
/** Sources of the programs that only the tests run. */
export const programs = join(import.meta.dirname, "programs");

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

export const hasGo = (): boolean => hasTool("go", ["version"]);

/** Java 17 or newer, and Maven. */
export const hasMaven = (): boolean =>
  hasTool("java", ["--version"], /(1[7-9]|[2-9]\d)\./) && hasTool("mvn", ["--version"]);

/** Runs a build in its folder; the commands of our packages are on its PATH. */
export async function make(folder: string, command: string, ...args: string[]): Promise<void> {
  mkdirSync(cache, { recursive: true });
  const env = {
    ...process.env,
    PATH: `${join(root, "node_modules/.bin")}${delimiter}${process.env["PATH"]}`,
    GOCACHE: join(cache, "go-build"),
  };
  await run(command, args, { cwd: folder, env, timeout: 480_000 });
}

/**
 * A program that listens at this URL: started, and answering.
 * @param cwd its folder, where that matters
 * @param patienceMs for its start
 */
export async function startProgram(
  command: readonly string[],
  url: string,
  env: Record<string, string>,
  cwd: string = process.cwd(),
  patienceMs = 120_000,
) {
  const [file = "", ...args] = command;
  // in a group of its own, so that what it starts ends with it
  const child = spawn(file, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk) => {
      output += chunk;
    });
  }
  const exited = once(child, "close");
  exited.catch(() => {});
  const close = async () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid ?? 0), "SIGKILL");
    await exited;
  };
  for (const from = performance.now(); ; await sleep(50)) {
    const answers = await fetch(url).then(
      () => true,
      () => false,
    );
    if (answers) return { url, output: () => output, close };
    if (child.exitCode === null && performance.now() - from < patienceMs) continue;
    await close();
    throw new Error(`the program does not answer at ${url}:\n${output}`);
  }
}

/** The program of a folder with a `package.json`, with its packages, made once for each version of that. @returns the command that runs it */
export async function nodeProgram(folder: string): Promise<string[]> {
  const packages = readFileSync(join(folder, "package.json"));
  const name = createHash("sha256").update(packages).digest("hex").slice(0, 12);
  const built = join(cache, `node-${name}`);
  if (!existsSync(join(built, "complete"))) {
    rmSync(built, { recursive: true, force: true });
    mkdirSync(built, { recursive: true });
    writeFileSync(join(built, "package.json"), packages);
    await run("npm", ["install", "--no-audit", "--no-fund"], { cwd: built, timeout: 240_000 });
    writeFileSync(join(built, "complete"), "");
  }
  copyFileSync(join(folder, "app.js"), join(built, "app.js"));
  return [process.execPath, join(built, "app.js")];
}

/** A virtual environment with what the requirements file names, made once for each version of the file and of Python. @returns its Python */
export async function pythonWith(requirements: string): Promise<string> {
  const text = readFileSync(requirements);
  const name = createHash("sha256").update(text).digest("hex").slice(0, 12);
  // an environment works only with the Python that made it, and the cache may come from another machine
  const { stdout } = await run("python3", ["-c", "import platform; print(platform.python_version())"]);
  const folder = join(cache, `python-${stdout.trim()}-${name}`);
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
