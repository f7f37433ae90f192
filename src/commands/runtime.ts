import type { Command } from "commander";
import type { Config, Settings } from "../config/config.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type Output, outputTo } from "./output.ts";

/** The parts of the process that a command may use. */
export interface Runtime {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
}

/** The command line is wrong. Exit status 2. */
export class UsageError extends Error {}

export async function settingsOf(runtime: Runtime): Promise<Settings> {
  const { readConfig } = await import("../config/config.ts");
  return readConfig(runtime.env);
}

/** As `settingsOf`, for a command that ends: it says which variables are probably misspelt, as it may look at another database than was meant. */
export async function settingsOfCommand(runtime: Runtime): Promise<Settings> {
  const settings = await settingsOf(runtime);
  for (const { name, meant } of settings.config.misspelt) {
    runtime.stderr.write(`${name} is no setting: did you mean ${meant}?\n`);
  }
  return settings;
}

/** A command logs only warnings and errors, unless LOG_LEVEL is set. */
function levelOf(runtime: Runtime, config: Config): string {
  return (runtime.env["LOG_LEVEL"] ?? "") === "" ? "warn" : config.logLevel;
}

/** Runs one command on the domain, without listeners, and closes the database afterwards. */
export async function withContext<T>(runtime: Runtime, work: (ctx: OAuthContext) => Promise<T>): Promise<T> {
  const settings = await settingsOfCommand(runtime);
  const [{ createContext }, { createLogger }, { syncClock }, { duringRequest, requestIdOf }] = await Promise.all([
    import("../app.ts"),
    import("../telemetry/log.ts"),
    import("../jobs/clock-sync.ts"),
    import("../telemetry/request.ts"),
  ]);
  const log = createLogger(levelOf(runtime, settings.config), runtime.stderr);
  await using ctx = await createContext(settings, { log, migrate: false });
  await syncClock(ctx);
  return await duringRequest({ id: requestIdOf(undefined), by: "command" }, () => work(ctx));
}

/** A command with the `--json` option, and its examples at the end of its help. */
export function leaf(parent: Command, usage: string, description: string, examples: readonly string[]): Command {
  return parent
    .command(usage)
    .description(description)
    .option("--json", "print one JSON document")
    .addHelpText("after", `\nExamples:\n${examples.map((line) => `  npm run auth -- ${line}`).join("\n")}`);
}

export function outputOf(runtime: Runtime, options: { json?: boolean | undefined }): Output {
  return outputTo(runtime.stdout, options.json === true);
}

/**
 * Asks before something that cannot be undone. @param loss what is lost, as a sentence without its end
 * @throws UsageError without `--yes` where there is no terminal to ask at, or the answer is no
 */
export async function confirm(
  runtime: Runtime,
  options: { json?: boolean; yes?: boolean },
  loss: string,
): Promise<void> {
  if (options.yes === true) return;
  if (!runtime.stdin.isTTY || options.json === true) throw new UsageError(`${loss}: give --yes`);
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: runtime.stdin, output: runtime.stderr });
  try {
    const answer = await lines.question(`${loss}. Go on? [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new UsageError("nothing was changed");
  } finally {
    lines.close();
  }
}

export function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** @throws UsageError */
export function wholeNumber(name: string, text: string, max: number, min = 0): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) > max || Number(text) < min) {
    throw new UsageError(`${name} must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`);
  }
  return Number(text);
}

/** The text of a file, or of standard input for `-`. */
export async function readText(runtime: Runtime, file: string): Promise<string> {
  if (file !== "-") {
    const { readFile } = await import("node:fs/promises");
    return readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
      throw new UsageError(`cannot read ${file} (${error.code})`);
    });
  }
  let text = "";
  runtime.stdin.setEncoding("utf8");
  for await (const chunk of runtime.stdin) text += chunk;
  return text;
}
