import type { Command } from "commander";
import { table, timeOf } from "./output.ts";
import { readPassword } from "./password-input.ts";
import {
  collect,
  confirm,
  leaf,
  outputOf,
  type Runtime,
  readText,
  UsageError,
  wholeNumber,
  withContext,
} from "./runtime.ts";
import { addUserAccessCommands } from "./user-access.ts";
import { findUser, printUser, userJson, waysIn } from "./user-output.ts";

interface Options {
  json?: boolean;
}

export function addUserCommands(program: Command, runtime: Runtime): void {
  const user = program.command("user").description("accounts");
  addUserAdd(user, runtime);
  addUserList(user, runtime);
  addUserShow(user, runtime);
  addUserGrant(user, runtime);
  addUserClaims(user, runtime);
  addUserDisabling(user, runtime, "disable", "end every session and token of an account and refuse its logins");
  addUserDisabling(user, runtime, "enable", "allow the logins of a disabled account again");
  addUserRemove(user, runtime);
  addUserAccessCommands(user, runtime);
}

function addUserAdd(user: Command, runtime: Runtime): void {
  interface AddOptions extends Options {
    nickname: string;
    role?: string[];
    passwordFile?: string;
  }
  const run = async (email: string, options: AddOptions) => {
    const { BASIC_ROLE, signUp } = await import("../users/sign-up.ts");
    const { readRoles } = await import("../users/input.ts");
    const more = options.role === undefined ? [] : readRoles(options.role);
    const roles = [...new Set([BASIC_ROLE, ...more])];
    const password = await readPassword(runtime, options.passwordFile);
    const input = { email, password, nickname: options.nickname };
    const added = await withContext(runtime, (ctx) => signUp(ctx, input, undefined, roles));
    printUser(runtime, options, added);
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

function addUserList(user: Command, runtime: Runtime): void {
  interface ListOptions extends Options {
    email?: string;
    limit: string;
    page: string;
  }
  const run = async (options: ListOptions) => {
    const size = wholeNumber("--limit", options.limit, 1_000);
    const { listUsers } = await import("../users/users.ts");
    const filter = options.email === undefined ? {} : { emailPart: options.email };
    const { users, nextPageToken } = await withContext(runtime, (ctx) =>
      listUsers(ctx, { size, token: options.page, ...filter }),
    );
    outputOf(runtime, options).print({ users: users.map(userJson), nextPage: nextPageToken || null }, () => {
      const rows = users.map(({ uuid, email, roles, disabledAt, createdAt }) => [
        uuid,
        email,
        disabledAt === null ? "active" : "disabled",
        roles.join(" "),
        timeOf(createdAt),
      ]);
      const more = nextPageToken === "" ? "" : `\n\nMore: --page ${nextPageToken}`;
      return `${table(["UUID", "EMAIL", "STATE", "ROLES", "CREATED"], rows)}${more}`;
    });
  };
  leaf(user, "list", "list accounts, the oldest first", ["user list", "user list --email @example.com --limit 20"])
    .option("--email <text>", "only addresses that contain this")
    .option("--limit <number>", "how many at most", "100")
    .option("--page <token>", "go on where the page before ended", "")
    .action(run);
}

function addUserShow(user: Command, runtime: Runtime): void {
  const run = async (who: string, options: Options) => {
    const [found, ways] = await withContext(runtime, async (ctx) => {
      const user = await findUser(ctx, who);
      return [user, await waysIn(ctx, user.uuid)] as const;
    });
    printUser(runtime, options, found, ways);
  };
  leaf(user, "show <uuid-or-email>", "show one account", ["user show ada@example.com"]).action(run);
}

function addUserGrant(user: Command, runtime: Runtime): void {
  const run = async (who: string, roles: string[], options: Options & { revoke?: boolean }) => {
    const { readRoles } = await import("../users/input.ts");
    const { changeRoles } = await import("../users/users.ts");
    const named = readRoles(roles);
    const change = options.revoke === true ? { granted: [], revoked: named } : { granted: named, revoked: [] };
    const changed = await withContext(runtime, async (ctx) =>
      changeRoles(ctx, (await findUser(ctx, who)).uuid, change),
    );
    printUser(runtime, options, changed);
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
    const changed = await withContext(runtime, async (ctx) => updateUser(ctx, (await findUser(ctx, who)).uuid, change));
    printUser(runtime, options, changed);
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
      const { uuid } = await findUser(ctx, who);
      await setUserDisabled(ctx, uuid, name === "disable");
      return getUser(ctx, uuid);
    });
    printUser(runtime, options, changed);
  };
  leaf(user, `${name} <uuid-or-email>`, description, [`user ${name} ada@example.com`]).action(run);
}

function addUserRemove(user: Command, runtime: Runtime): void {
  const run = async (who: string, options: Options & { yes?: boolean }) => {
    const loss = `the account ${who} would be gone with its profile, sessions, tokens and consents`;
    await confirm(runtime, options, `${loss}; \`user disable\` can be undone`);
    const { deleteUser } = await import("../users/deletion.ts");
    const { uuid, email } = await withContext(runtime, async (ctx) => {
      const found = await findUser(ctx, who);
      await deleteUser(ctx, found.uuid);
      return found;
    });
    outputOf(runtime, options).print({ removed: { uuid, email } }, () => `${email} (${uuid}) is removed`);
  };
  leaf(user, "remove <uuid-or-email>", "delete an account; its address may sign up again, as another user", [
    "user remove ada@example.com --yes",
  ])
    .option("--yes", "I know that this cannot be undone")
    .action(run);
}

function readClaimsFile(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`the claims are not JSON: ${(error as Error).message}`);
  }
}
