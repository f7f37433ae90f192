import { Command, CommanderError } from "commander";
import { nearest } from "../nearest.ts";
import { addChangeIssuerCommand } from "./change-issuer.ts";
import { addClientCommands } from "./client.ts";
import { addKeyCommands } from "./key.ts";
import { addMigrateCommand } from "./migrate.ts";
import { addOutboxCommands } from "./outbox.ts";
import { addRevokeEverythingCommand } from "./revoke-everything.ts";
import { type Runtime, UsageError } from "./runtime.ts";
import { addServeCommand } from "./serve.ts";
import { addUserCommands } from "./user.ts";

const exit = {
  failed: 1,
  usage: 2,
  /** sysexits.h EX_CONFIG: only a changed configuration helps. */ config: 78,
};

/** Runs one command line. @returns the exit status; a service that was started runs until a signal ends it */
export async function runCommandLine(args: readonly string[], runtime: Runtime): Promise<number> {
  const json = args.includes("--json");
  const program = new Command("auth")
    .description("OAuth 2.0 and OpenID Connect authorization server")
    .addHelpText("after", "\nRun as `npm run auth -- COMMAND`; each command has its own --help with examples.")
    .configureOutput({
      writeOut: (text) => void runtime.stdout.write(text),
      writeErr: (text) => void (json ? undefined : runtime.stderr.write(text)),
    })
    .exitOverride();
  const commands = [
    addServeCommand,
    addMigrateCommand,
    addClientCommands,
    addUserCommands,
    addKeyCommands,
    addOutboxCommands,
    addRevokeEverythingCommand,
    addChangeIssuerCommand,
  ];
  for (const add of commands) add(program, runtime);
  try {
    refuseUnknown(program, args);
    await program.parseAsync([...args], { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const { status, code, message } = await outcomeOf(error);
    if (json) runtime.stdout.write(`${JSON.stringify({ error: { code, message } }, null, 2)}\n`);
    else if (!(error instanceof CommanderError)) runtime.stderr.write(`${message}\n`);
    return status;
  }
}

/**
 * Refuses what stands before the name of a command and is none: without this, commander takes it for an argument of the default command, and
 * suggests nothing. @throws UsageError
 */
function refuseUnknown(program: Command, args: readonly string[]): void {
  const commands = program.commands.flatMap((command) => [command.name(), ...command.aliases()]);
  const [first = ""] = args;
  const named = first === "help" ? (args[1] ?? "") : first;
  if (named.startsWith("--")) {
    const options = ["--help", "--json"];
    const meant = options.includes(named) ? null : nearest(named, options);
    if (meant !== null) throw new UsageError(`unknown option ${JSON.stringify(named)}: did you mean ${meant}?`);
  }
  if (!/^\w/.test(named) || named === "help" || commands.includes(named)) return;
  const meant = nearest(named, commands);
  const advice = meant === null ? "; see --help" : `: did you mean ${meant}?`;
  throw new UsageError(`unknown command ${JSON.stringify(named)}${advice}`);
}

async function outcomeOf(error: unknown): Promise<{ status: number; code: string; message: string }> {
  if (error instanceof CommanderError) {
    return { status: exit.usage, code: "usage", message: error.message.replace(/^error: /, "") };
  }
  if (error instanceof UsageError) return { status: exit.usage, code: "usage", message: error.message };
  const { ConfigError } = await import("../config/config.ts");
  if (error instanceof ConfigError) return { status: exit.config, code: "configuration", message: error.message };
  const [{ AuthError, StartRefused }, { PendingMigrationsError }] = await Promise.all([
    import("../errors.ts"),
    import("../database/migrate.ts"),
  ]);
  if (error instanceof StartRefused) {
    return { status: exit.config, code: "configuration", message: error.message };
  }
  if (error instanceof PendingMigrationsError) {
    const waiting = `the database needs migrations (${error.names.join(", ")})`;
    return { status: exit.failed, code: "pending_migrations", message: `${waiting}: run \`npm run auth -- migrate\`` };
  }
  if (error instanceof AuthError) {
    // who runs commands may know where the database is
    const cause = error.code === "unavailable" && error.cause instanceof Error ? `: ${error.cause.message}` : "";
    return { status: exit.failed, code: error.code, message: error.description + cause };
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { status: exit.failed, code: "internal", message: text };
}
