import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { TestApp } from "../support/app.ts";
import { cache } from "./toolchains.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/how-to/add-sign-in.md"), "utf8");

/** A section of docs/how-to/add-sign-in.md: what its reader types and writes. */
export interface Guide {
  /** The command that registers the client, in the service's folder. */
  readonly register: string;
  /** The command that installs the packages. */
  readonly install: string;
  /** The command that starts the app. */
  readonly start: string;
  /** Text of each file, by its path. */
  readonly files: ReadonlyMap<string, string>;
  /** Other blocks of code, such as Kotlin. */
  readonly code: readonly string[];
}

/** @param heading of the section */
export function readGuide(heading: string): Guide {
  const section = new RegExp(`^## ${heading}\\n([\\s\\S]*?)(?=^## |$(?![\\s\\S]))`, "m").exec(page)?.[1];
  if (section === undefined) throw new Error(`the guide has no section ${heading}`);
  const files = new Map<string, string>();
  const commands: string[] = [];
  const code: string[] = [];
  for (const block of section.matchAll(/^```(\w+)\n([\s\S]*?\n)```$/gm)) {
    const [, language, text = ""] = block;
    const lead = section.slice(0, block.index).trimEnd().split("\n").at(-1) ?? "";
    const [, file] = /^`([^`]+)`.*:$/.exec(lead) ?? [];
    if (file !== undefined) files.set(file, text);
    else if (language === "sh") commands.push(text.trim());
    else code.push(text);
  }
  const command = (beginning: RegExp) => commands.find((each) => beginning.test(each)) ?? "";
  return {
    register: command(/^npm run auth -- client add /),
    install: command(/^npm install /),
    start: command(/^(npx|node) /),
    files,
    code,
  };
}

/** Registers the client at a running service, by the command of the guide. @returns its id, and its secret if it has one */
export async function registerAt(app: TestApp, { register }: Guide): Promise<{ clientId: string; secret: string }> {
  const { stdout } = await run("sh", ["-c", `${register.replace("npm run", "npm run --silent")} --json`], {
    cwd: root,
    env: { ...process.env, ...app.env, LOG_LEVEL: "error" },
    timeout: 60_000,
  });
  const { client, client_secret } = JSON.parse(stdout) as {
    client: { client_id: string };
    client_secret?: string | null;
  };
  return { clientId: client.client_id, secret: client_secret ?? "" };
}

/** Writes the files of the guide beside its packages, which are installed once for each list of them. @returns the app's folder */
export async function buildGuide({ install, files }: Guide): Promise<string> {
  const folder = join(cache, `guide-${createHash("sha256").update(install).digest("hex").slice(0, 12)}`);
  if (!existsSync(join(folder, "node_modules/complete"))) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    // an app of its own, not a part of this repository
    writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true }));
    await run("sh", ["-c", `${install} --no-audit --no-fund`], { cwd: folder, timeout: 240_000 });
    writeFileSync(join(folder, "node_modules/complete"), "");
  }
  for (const [path, text] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

/** The start command of a guide as a program with arguments, so that ending it leaves none running. @param folder of the app */
export function startOf({ start }: Guide, folder: string): string[] {
  const [command, name = "", ...args] = start.split(/\s+/);
  return command === "npx"
    ? [process.execPath, join(folder, "node_modules/.bin", name), ...args]
    : [process.execPath, name, ...args];
}
