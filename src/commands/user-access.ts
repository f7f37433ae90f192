import type { Command } from "commander";
import { table, timeOf } from "./output.ts";
import { readPassword } from "./password-input.ts";
import { confirm, leaf, outputOf, type Runtime, withContext } from "./runtime.ts";
import { findUser, waysIn } from "./user-output.ts";

interface Options {
  json?: boolean;
}

/** `user sessions`, `sign-out`, `set-password` and `reset-factors`. */
export function addUserAccessCommands(user: Command, runtime: Runtime): void {
  addUserSessions(user, runtime);
  addUserSignOut(user, runtime);
  addUserSetPassword(user, runtime);
  addUserResetFactors(user, runtime);
}

function addUserSessions(user: Command, runtime: Runtime): void {
  const run = async (who: string, options: Options) => {
    const { listSessions } = await import("../sessions/sessions.ts");
    const sessions = await withContext(runtime, async (ctx) => listSessions(ctx, (await findUser(ctx, who)).uuid));
    const shown = sessions.map(({ createdAt, lastSeenAt, expiresAt, ipAddress, userAgent }) => {
      return { since: timeOf(createdAt), lastSeen: timeOf(lastSeenAt), until: timeOf(expiresAt), ipAddress, userAgent };
    });
    outputOf(runtime, options).print({ sessions: shown }, () =>
      table(
        ["SINCE", "LAST SEEN", "UNTIL", "ADDRESS", "AGENT"],
        shown.map((each) => [each.since, each.lastSeen, each.until, each.ipAddress, each.userAgent]),
      ),
    );
  };
  leaf(user, "sessions <uuid-or-email>", "list the browsers in which an account is signed in", [
    "user sessions ada@example.com",
  ]).action(run);
}

function addUserSignOut(user: Command, runtime: Runtime): void {
  const run = async (who: string, options: Options) => {
    const { endSessions } = await import("../users/users.ts");
    const uuid = await withContext(runtime, async (ctx) => {
      const found = (await findUser(ctx, who)).uuid;
      await endSessions(ctx, found);
      return found;
    });
    outputOf(runtime, options).print({ signedOut: uuid }, () => `${who} is signed out everywhere`);
  };
  leaf(user, "sign-out <uuid-or-email>", "end every session and token of an account, which may sign in again", [
    "user sign-out ada@example.com",
  ]).action(run);
}

function addUserSetPassword(user: Command, runtime: Runtime): void {
  const run = async (who: string, options: Options & { passwordFile?: string }) => {
    const { setPassword } = await import("../users/users.ts");
    const password = await readPassword(runtime, options.passwordFile);
    const uuid = await withContext(runtime, async (ctx) => {
      const found = (await findUser(ctx, who)).uuid;
      await setPassword(ctx, found, password);
      return found;
    });
    outputOf(runtime, options).print({ passwordSet: uuid }, () => `${who} has the new password and is signed out`);
  };
  leaf(user, "set-password <uuid-or-email>", "set a password, from a file or standard input; ends every session", [
    "user set-password ada@example.com",
    "user set-password ada@example.com --password-file ./password.txt",
  ])
    .option("--password-file <file>", "file whose first line is the password (default: standard input)")
    .action(run);
}

function addUserResetFactors(user: Command, runtime: Runtime): void {
  const run = async (who: string, options: Options & { yes?: boolean }) => {
    const { resetFactors } = await import("../factors/factors.ts");
    const { hasPassword } = await withContext(runtime, async (ctx) => waysIn(ctx, (await findUser(ctx, who)).uuid));
    const left = hasPassword ? "signs in with the password alone" : "has no password: the reset mail sets one";
    await confirm(
      runtime,
      options,
      `the authenticator app, passkeys and recovery codes of ${who} would be gone; it ${left}`,
    );
    const uuid = await withContext(runtime, async (ctx) => {
      const found = (await findUser(ctx, who)).uuid;
      await resetFactors(ctx, found);
      return found;
    });
    outputOf(runtime, options).print({ factorsReset: uuid, hasPassword }, () => `${who} ${left}`);
  };
  const about = "remove the authenticator app, passkeys and recovery codes of an account, which is told of it";
  leaf(user, "reset-factors <uuid-or-email>", about, ["user reset-factors ada@example.com --yes"])
    .option("--yes", "I know that this cannot be undone")
    .action(run);
}
