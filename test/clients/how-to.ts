import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { TestApp } from "../support/app.ts";
import { programs } from "./toolchains.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");

/** What stands in a page of docs/how-to, and in the files that it shows, for an address of the test. */
export type Addresses = Readonly<Record<string, string>>;

/** The text with the addresses of the test in the place of those that it shows. */
export function withAddresses(text: string, addresses: Addresses): string {
  return Object.entries(addresses).reduce((done, [shown, real]) => done.replaceAll(shown, real), text);
}

/** A file of a program, as the page shows it, with the addresses of the test. */
export function settingsOf(file: string, addresses: Addresses): string {
  return withAddresses(readFileSync(join(programs, file), "utf8"), addresses);
}

/**
 * Registers the client of a page of docs/how-to/software at a running service, by the command that stands there.
 * @returns the secret that the command shows, "" for a client without one
 */
export async function registerAsIn(name: string, app: TestApp, addresses: Addresses): Promise<string> {
  const page = readFileSync(join(root, `docs/how-to/software/${name}.md`), "utf8");
  const command = /^```sh\nnpm run auth -- (client add [\s\S]*?)\n```$/m.exec(page)?.[1];
  if (command === undefined) throw new Error(`the page registers no client for ${name}`);
  const { stdout } = await run("sh", ["-c", `npm run --silent auth -- ${withAddresses(command, addresses)} --json`], {
    cwd: root,
    env: { ...process.env, ...app.env, LOG_LEVEL: "error" },
    timeout: 60_000,
  });
  return (JSON.parse(stdout) as { client_secret?: string }).client_secret ?? "";
}
