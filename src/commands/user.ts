import type { Command } from "commander";
import type { OAuthContext } from "../oauth/context.ts";
import type { User } from "../store/users.ts";
import { fields, timeOf } from "./output.ts";
import { collect, leaf, outputOf, type Runtime, readText, UsageError, withContext } from "./runtime.ts";

export function addUserCommands(program: Command, runtime: Runtime): void {
  const user = program.command("user").description("accounts");

  leaf(user, "add <email>", "create an account; the password comes from a file or standard input", [
    "user add ada@example.com --nickname Ada --password-file ./password.txt",
    "user add ada@example.com --nickname Ada --role ROLE_ADMIN < ./password.txt",
  ])
    .requiredOption("--nickname <name>", "1 to 50 characters")
    .option("--role <role>", "a role besides ROLE_USER; repeatable", collect)
    .option("--password-file <file>", "file whose first line is the password (default: standard input)")
    .action(
      async (email: string, options: { json?: boolean; nickname: string; role?: string[]; passwordFile?: string }) => {
        const { signUp } = await import("../users/users.ts");
        const { readRoles } = await import("../users/input.ts");
        const roles = options.role === undefined ? [] : readRoles(options.role);
        const password = await readPassword(runtime, options.passwordFile);
        const added = await withContext(runtime, async (ctx) => {
          const fresh = await signUp(ctx, { email, password, nickname: options.nickname });
          return roles.length === 0 ? fresh : grant(ctx, fresh, roles, false);
        });
        print(runtime, options, added);
      },
    );

  leaf(user, "show <uuid-or-email>", "one account", ["user show ada@example.com"]).action(
    async (who: string, options: { json?: boolean }) => {
      print(runtime, options, await withContext(runtime, (ctx) => find(ctx, who)));
    },
  );

  leaf(user, "grant <uuid-or-email> <roles...>", "give roles; they hold from the next refresh on", [
    "user grant ada@example.com ROLE_ADMIN",
    "user grant ada@example.com ROLE_ADMIN --revoke",
  ])
    .option("--revoke", "take the roles away instead")
    .action(async (who: string, roles: string[], options: { json?: boolean; revoke?: boolean }) => {
      const { readRoles } = await import("../users/input.ts");
      const named = readRoles(roles);
      const changed = await withContext(runtime, async (ctx) =>
        grant(ctx, await find(ctx, who), named, options.revoke === true),
      );
      print(runtime, options, changed);
    });

  leaf(
    user,
    "claims <uuid-or-email> <file>",
    "set the standard claims of OpenID Connect, in place of all that were there",
    ["user claims ada@example.com ./ada.json", "user claims ada@example.com - --email-verified < ./ada.json"],
  )
    .option("--email-verified", "vouch for the e-mail address")
    .option("--no-email-verified", "stop vouching for it")
    .action(async (who: string, file: string, options: { json?: boolean; emailVerified?: boolean }) => {
      const { updateUser } = await import("../users/users.ts");
      const claims = readClaimsFile(await readText(runtime, file));
      const change = {
        claims,
        ...(options.emailVerified === undefined ? {} : { emailVerified: options.emailVerified }),
      };
      const changed = await withContext(runtime, async (ctx) => updateUser(ctx, (await find(ctx, who)).uuid, change));
      print(runtime, options, changed);
    });

  const able = (name: "disable" | "enable", description: string) =>
    leaf(user, `${name} <uuid-or-email>`, description, [`user ${name} ada@example.com`]).action(
      async (who: string, options: { json?: boolean }) => {
        const { getUser, setUserDisabled } = await import("../users/users.ts");
        const changed = await withContext(runtime, async (ctx) => {
          const { uuid } = await find(ctx, who);
          await setUserDisabled(ctx, uuid, name === "disable");
          return getUser(ctx, uuid);
        });
        print(runtime, options, changed);
      },
    );
  able("disable", "end every session and token of an account and let nobody sign in to it");
  able("enable", "let a disabled account sign in again");
}

function readClaimsFile(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`the claims are not JSON: ${(error as Error).message}`);
  }
}

async function find(ctx: OAuthContext, who: string): Promise<User> {
  const { getUser, getUserByEmail } = await import("../users/users.ts");
  return who.includes("@") ? getUserByEmail(ctx, who) : getUser(ctx, who);
}

async function grant(ctx: OAuthContext, user: User, roles: readonly string[], revoke: boolean): Promise<User> {
  const { updateUser } = await import("../users/users.ts");
  const next = revoke ? user.roles.filter((role) => !roles.includes(role)) : [...new Set([...user.roles, ...roles])];
  return updateUser(ctx, user.uuid, { roles: next });
}

function print(runtime: Runtime, options: { json?: boolean | undefined }, user: User): void {
  const { uuid, email, emailVerified, nickname, roles, claims, createdAt, disabledAt } = user;
  const known = { uuid, email, emailVerified, nickname, roles, claims };
  const json = { ...known, createdAt: timeOf(createdAt), disabledAt: timeOf(disabledAt) || null };
  outputOf(runtime, options).print({ user: json }, () =>
    fields([
      ["uuid", uuid],
      ["email", emailVerified ? `${email} (verified)` : email],
      ["nickname", nickname],
      ["roles", roles.join(" ")],
      ...(Object.keys(claims).length === 0 ? [] : [["claims", JSON.stringify(claims)] as const]),
      ["created", timeOf(createdAt)],
      ["state", disabledAt === null ? "active" : `disabled since ${timeOf(disabledAt)}`],
    ]),
  );
}

/** Never from an argument: those are seen by every process of the machine. */
async function readPassword(runtime: Runtime, file: string | undefined): Promise<string> {
  const asked = file === undefined && runtime.stdin.isTTY;
  const text = asked ? await ask(runtime) : await readText(runtime, file ?? "-");
  const password = text.split(/\r?\n/, 1)[0] ?? "";
  if (password === "") throw new UsageError("no password came from the file or standard input");
  return password;
}

async function ask(runtime: Runtime): Promise<string> {
  const [{ createInterface }, { Writable }] = await Promise.all([
    import("node:readline/promises"),
    import("node:stream"),
  ]);
  runtime.stderr.write("Password: ");
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: runtime.stdin, output: silent, terminal: true });
  try {
    return await lines.question("");
  } finally {
    lines.close();
    runtime.stderr.write("\n");
  }
}
