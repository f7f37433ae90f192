import { type Command, Option } from "commander";
import { table, timeOf } from "./output.ts";
import { confirm, leaf, outputOf, type Runtime, withContext } from "./runtime.ts";

export function addKeyCommands(program: Command, runtime: Runtime): void {
  const key = program.command("key").description("signing keys");

  leaf(key, "list", "list every signing key with its state", ["key list"]).action(
    async (options: { json?: boolean }) => {
      const keys = await withContext(runtime, async (ctx) => ctx.keys.list());
      const shown = keys.map(({ createdAt, activeFrom, ...rest }) => ({
        ...rest,
        createdAt: timeOf(createdAt),
        activeFrom: timeOf(activeFrom),
      }));
      outputOf(runtime, options).print({ keys: shown }, () =>
        table(
          ["KID", "USE", "ALG", "STATE", "ACTIVE FROM"],
          shown.map((each) => [each.kid, each.use, each.alg, each.state, each.activeFrom]),
        ),
      );
    },
  );

  leaf(key, "rotate", "publish new keys; they start to sign when every verifier can know them", [
    "key rotate",
    "key rotate --alg ES256",
  ])
    .addOption(new Option("--alg <alg>", "only this algorithm").choices(["ES256", "RS256"]))
    .action(async (options: { json?: boolean; alg?: "ES256" | "RS256" }) => {
      const { rotateSigningKeys } = await import("../oauth/keys/rotation.ts");
      const added = await withContext(runtime, (ctx) => rotateSigningKeys(ctx, options.alg ?? null));
      const shown = added.map(({ activeFrom, ...rest }) => ({ ...rest, activeFrom: timeOf(activeFrom) }));
      outputOf(runtime, options).print({ keys: shown }, () =>
        table(
          ["KID", "ALG", "SIGNS FROM"],
          shown.map((each) => [each.kid, each.alg, each.activeFrom]),
        ),
      );
    });

  leaf(key, "reseal", "seal everything under the first key in KEY_ENCRYPTION_KEY, while the service runs", [
    "key reseal",
  ]).action(async (options: { json?: boolean }) => {
    const [{ resealEverything }, { StartRefused }] = await Promise.all([
      import("../oauth/keys/reseal.ts"),
      import("../errors.ts"),
    ]);
    const told = (seen: number) =>
      void runtime.stderr.write(`${seen} events and authenticator apps looked at so far\n`);
    const done = await withContext(runtime, (ctx) => resealEverything(ctx, told));
    const { keys, events, authenticatorApps } = done;
    const text = `${keys} signing keys, ${events} events and ${authenticatorApps} authenticator apps were sealed under the first key.`;
    if (done.unreadable > 0) {
      const advice = "add the one that sealed them and run this again";
      throw new StartRefused(
        `KEY_ENCRYPTION_KEY: no key in it opens ${done.unreadable} others: ${advice}. Of the rest, ${text}`,
      );
    }
    const left =
      "Nothing is left under another key: an hour after every replica has the new one first, the old one may go. Until then it " +
      "opens logins that people have begun.";
    outputOf(runtime, options).print({ keys, events, authenticatorApps }, () => `${text}\n${left}`);
  });

  leaf(key, "distrust <kid>", "refuse everything that a key has signed, at once; an active key is replaced", [
    "key distrust 4Tn0Yc1xJ2mJ8qVb",
  ])
    .option("--yes", "I know that no key is trusted again")
    .action(async (kid: string, options: { json?: boolean; yes?: boolean }) => {
      // a script that ran before there was a question goes on
      if (runtime.stdin.isTTY && options.json !== true)
        await confirm(runtime, options, `everything that ${kid} has signed would be refused for ever`);
      const { distrustKey } = await import("../oauth/keys/rotation.ts");
      const added = await withContext(runtime, (ctx) => distrustKey(ctx, kid));
      const shown = added.map(({ activeFrom, ...rest }) => ({ ...rest, activeFrom: timeOf(activeFrom) }));
      outputOf(runtime, options).print({ distrusted: kid, replacements: shown }, () =>
        [`${kid} is distrusted.`, ...shown.map((each) => `${each.kid} (${each.alg}) replaces it.`)].join("\n"),
      );
    });
}
