import type { Command } from "commander";
import { confirm, leaf, outputOf, type Runtime, withContext } from "./runtime.ts";

export function addRevokeEverythingCommand(program: Command, runtime: Runtime): void {
  leaf(
    program,
    "revoke-everything",
    "end every session, code and token of every user and client, as after a restore of the database",
    ["revoke-everything --yes"],
  )
    .option("--yes", "I know that everybody has to sign in again")
    .action(async (options: { json?: boolean; yes?: boolean }) => {
      await confirm(runtime, options, "everybody would have to sign in again, and every service to get a new token");
      const { revokeEverything } = await import("../oauth/revocations/revoke-everything.ts");
      const told = (rows: number) => void runtime.stderr.write(`${rows} rows deleted so far\n`);
      const { keys, rows } = await withContext(runtime, (ctx) => revokeEverything(ctx, told));
      outputOf(runtime, options).print({ distrustedKeys: keys, deletedRows: rows }, () =>
        [
          `${keys} signing keys are distrusted and new ones sign, ${rows} sessions, codes and links deleted.`,
          "Replicas accept no token that was issued before. After a restore, restart every verifier: it may have cached the old keys.",
        ].join("\n"),
      );
    });
}
