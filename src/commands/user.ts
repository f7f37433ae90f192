import type { Command } from "commander";
import type { OAuthContext } from "../oauth/context.ts";
import type { User } from "../store/users.ts";
import { fields, timeOf } from "./output.ts";
import { collect, leaf, outputOf, type Runtime, readText, UsageError, withContext } from "./runtime.ts";

interface Options {
  json?: boolean;
}

export function addUserCommands(program: Command, runtime: Runtime): void {
  const user = program.command("user").description("accounts");
  addUserAdd(user, runtime);
  addUserShow(user, runtime);
  addUserGrant(user, runtime);
  addUserClaims(user, runtime);
  addUserDisabling(user, runtime, "disable", "end every session and token of an account and refuse its logins");
  addUserDisabling(user, runtime, "enable", "allow the logins of a disabled account again");
}

function addUserAdd(user: Command, runtime: Runtime): void {
  interface AddOptions extends Options {
    nickname: string;
    role?: string[];
    passwordFile?: string;
  }
  const run = async (email: string, options: AddOptions) => {
    const { signUp } = await import("../users/users.ts");
    const { readRoles } = await import("../users/input.ts");
    const roles = options.role === undefined ? [] : readRoles(options.role);
    const password = await readPassword(runtime, options.passwordFile);
    const added = await withContext(runtime, async (ctx) => {
      const created = await signUp(ctx, { email, password, nickname: options.nickname });
      return roles.length === 0 ? created : changeRoles(ctx, created, roles, "grant");
    });
    print(runtime, options, added);
  };
  leaf(user, "add <email>", "create an account; the password comes from a file or standard input", [
    "user add ada@example.com --nickname Ada --password-file ./password.txt",
    "user add ada@example.com --nickname Ada --role ROLE_ADMIN < ./password.txt",
  ])
    .requiredOption("--nickname <name>", "1 to 50 characters")
    .option("--role <role>", "a role in addition to ROLE_USER; repeatable", collect)
    .option("--password-file <file>", "file whose first line is the password (default: standard input)")
    .action(run);
}

function addUserShow(user: Command, runtime: Runtime): void {
  const run = async (who: string, options: Options) => {
    print(runtime, options, await withContext(runtime, (ctx) => find(ctx, who)));
  };
  leaf(user, "show <uuid-or-email>", "show one account", ["user show ada@example.com"]).action(run);
}

function addUserGrant(user: Command, runtime: Runtime): void {
  const run = async (who: string, roles: string[], options: Options & { revoke?: boolean }) => {
    const { readRoles } = await import("../users/input.ts");
    const named = readRoles(roles);
    const changed = await withContext(runtime, async (ctx) =>
      changeRoles(ctx, await find(ctx, who), named, options.revoke === true ? "revoke" : "grant"),
    );
    print(runtime, options, changed);
  };
  leaf(user, "grant <uuid-or-email> <roles...>", "grant roles; tokens have them from the next refresh on", [
    "user grant ada@example.com ROLE_ADMIN",
    "user grant ada@example.com ROLE_ADMIN --revoke",
  ])
    .option("--revoke", "take the roles away instead")
    .action(run);
}

function addUserClaims(user: Command, runtime: Runtime): void {
  const run = async (who: string, file: string, options: Options & { emailVerified?: boolean }) => {
    const { updateUser } = await import("../users/users.ts");
    const claims = readClaimsFile(await readText(runtime, file));
    const { emailVerified } = options;
    const change = { claims, ...(emailVerified === undefined ? {} : { emailVerified }) };
    const changed = await withContext(runtime, async (ctx) => updateUser(ctx, (await find(ctx, who)).uuid, change));
    print(runtime, options, changed);
  };
  leaf(user, "claims <uuid-or-email> <file>", "set the standard claims of OpenID Connect, replacing all earlier ones", [
    "user claims ada@example.com ./ada.json",
    "user claims ada@example.com - --email-verified < ./ada.json",
  ])
    .option("--email-verified", "mark the e-mail address as verified")
    .option("--no-email-verified", "mark the e-mail address as not verified")
    .action(run);
}

/** `user disable` and `user enable`. */
function addUserDisabling(user: Command, runtime: Runtime, name: "disable" | "enable", description: string): void {
  const run = async (who: string, options: Options) => {
    const { getUser, setUserDisabled } = await import("../users/users.ts");
    const changed = await withContext(runtime, async (ctx) => {
      const { uuid } = await find(ctx, who);
      await setUserDisabled(ctx, uuid, name === "disable");
      return getUser(ctx, uuid);
    });
    print(runtime, options, changed);
  };
  leaf(user, `${name} <uuid-or-email>`, description, [`user ${name} ada@example.com`]).action(run);
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

async function changeRoles(
  ctx: OAuthContext,
  user: User,
  roles: readonly string[],
  change: "grant" | "revoke",
): Promise<User> {
  const { updateUser } = await import("../users/users.ts");
  const next =
    change === "revoke" ? user.roles.filter((role) => !roles.includes(role)) : [...new Set([...user.roles, ...roles])];
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

/** Never from an argument: every process of the machine can read those. */
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
