import type { Command } from "commander";
import { confirm, leaf, outputOf, type Runtime, withContext } from "./runtime.ts";

export function addChangeIssuerCommand(program: Command, runtime: Runtime): void {
  leaf(
    program,
    "change-issuer",
    "make the database one of the configured ISSUER, as after the service moved to another host name",
    ["change-issuer --yes"],
  )
    .option("--yes", "I know that everybody has to sign in again")
    .action(async (options: { json?: boolean; yes?: boolean }) => {
      await confirm(runtime, options, "every session and token of the former issuer would end");
      const { changeIssuer } = await import("../oauth/issuer.ts");
      const { former, issuer } = await withContext(runtime, async (ctx) => {
        return { former: await changeIssuer(ctx), issuer: ctx.config.issuer };
      });
      outputOf(runtime, options).print({ former, issuer }, () =>
        former === issuer
          ? `The database is of ${issuer} already.`
          : `The database is of ${issuer} now${former === null ? "" : `; it was of ${former}`}. Start every replica with this ISSUER.`,
      );
    });
}
