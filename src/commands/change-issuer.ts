import type { Command } from "commander";
import { confirm, leaf, outputOf, type Runtime, withContext } from "./runtime.ts";

export function addChangeIssuerCommand(program: Command, runtime: Runtime): void {
  leaf(
    program,
    "change-issuer",
    "make the database one of the configured ISSUER, as after the service moved to another host name",
    ["change-issuer --yes"],
  )
    .option("--yes", "I know what ends by that")
    .action(async (options: { json?: boolean; yes?: boolean }) => {
      const { changeIssuer, plannedIssuerChange } = await import("../oauth/issuer.ts");
      const changed = await withContext(runtime, async (ctx) => {
        const { former, issuer, endedPasskeys } = await plannedIssuerChange(ctx);
        const ends = [
          ...(former === issuer ? [] : ["every session and token of the former issuer"]),
          ...(endedPasskeys === 0 ? [] : [`passkeys made for another PASSKEY_RP_ID (${endedPasskeys})`]),
        ];
        if (ends.length > 0) await confirm(runtime, options, `${ends.join(" and ")} would end`);
        return changeIssuer(ctx);
      });
      const { former, issuer, endedPasskeys } = changed;
      outputOf(runtime, options).print(changed, () => {
        const passkeys =
          endedPasskeys === 0 ? "" : ` Passkeys made for another PASSKEY_RP_ID (${endedPasskeys}) no longer work.`;
        return former === issuer
          ? `The database is of ${issuer} already.${passkeys}`
          : `The database is of ${issuer} now${former === null ? "" : `; it was of ${former}`}.${passkeys} Start every replica with this ISSUER.`;
      });
    });
}
