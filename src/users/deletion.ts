import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import { type Asker, UNKNOWN_ASKER, userDeleted, userSecurity } from "../events.ts";
import type { ActingSession } from "../store/session.ts";
import type { ClosedUser, User, UserToSignIn } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { normaliseEmail } from "./input.ts";
import { checkOwner, getUser } from "./users.ts";

/** So long after it was closed an account may be kept (milliseconds). */
export const GRACE_MS = 7 * 86_400_000;
const accountsAtOnce = 100;
const tracesAtOnce = 1_000;

const unknownUser = () => new AuthError("not_found", "no such user");

/**
 * Closes the account at once: every session and authorization ends, and it is erased after `GRACE_MS` unless its user keeps it.
 * @param asker the browser of the user who asks, where there is one @param acting its session
 * @returns when it is erased (epoch milliseconds)
 * @throws AuthError not_found, invalid_request: it is closed or disabled; login_required: the session has ended
 */
export async function requestDeletion(
  ctx: Context,
  uuid: string,
  asker: Asker = UNKNOWN_ASKER,
  acting?: ActingSession,
): Promise<number> {
  const user = await getUser(ctx, uuid);
  const now = ctx.clock.now();
  const erasedAt = now + GRACE_MS;
  const detail = new Date(erasedAt).toISOString();
  const event = userSecurity(user, { kind: "DELETION_REQUESTED", detail }, asker, now);
  if (!(await ctx.store.users.close(uuid, event, acting))) {
    throw new AuthError("invalid_request", "the account is closed or disabled already");
  }
  securityEvent(ctx, "user_closed", { sub: uuid });
  return erasedAt;
}

/**
 * The same for a user who proves to be there: by the current password, or by a sign-in just now where there is none.
 * @throws AuthError as `requestDeletion`; invalid_credentials, rate_limited
 */
export async function requestOwnDeletion(
  ctx: Context,
  request: {
    readonly uuid: string;
    readonly currentPassword: string;
    readonly isFreshSignIn: boolean;
    readonly asker: Asker;
    readonly acting: ActingSession;
  },
): Promise<number> {
  await checkOwner(ctx, request.uuid, request);
  return requestDeletion(ctx, request.uuid, request.asker, request.acting);
}

/** Opens a closed account again. @throws AuthError not_found, invalid_request: it is not closed */
export async function cancelDeletion(ctx: Context, uuid: string, asker: Asker = UNKNOWN_ASKER): Promise<void> {
  const user = await getUser(ctx, uuid);
  const event = userSecurity(user, { kind: "DELETION_CANCELLED", detail: "" }, asker, ctx.clock.now());
  if (!(await ctx.store.users.reopen(uuid, event))) {
    throw new AuthError("invalid_request", "the account is not closed");
  }
  securityEvent(ctx, "user_reopened", { sub: uuid });
}

/** A closed account, and when it is erased (epoch milliseconds); null: there is none, or it is not closed. */
export async function findClosed(
  ctx: Context,
  account: { readonly email: string } | { readonly uuid: string },
): Promise<{ readonly user: UserToSignIn; readonly erasedAt: number } | null> {
  const { users } = ctx.store;
  const user =
    "email" in account
      ? await users.findByEmail(normaliseEmail(account.email).slice(0, 300))
      : await users.findWithPassword(account.uuid);
  return user === null || user.closedAt === null ? null : { user, erasedAt: user.closedAt + GRACE_MS };
}

/** So many accounts in a row that cannot be erased say that something else is wrong, as that the database is away. */
const mostFailures = 10;

/**
 * Erases the accounts that were closed long enough ago. One that cannot be erased keeps no other from it, and is tried again next time.
 * @param goesOn false: the rest is left for later
 */
export async function eraseClosedAccounts(ctx: Context, goesOn = async () => true): Promise<void> {
  const before = ctx.clock.now() - GRACE_MS;
  let closed: readonly ClosedUser[] = [];
  let failures = 0;
  do {
    closed = await ctx.store.users.listClosed(before, closed.at(-1) ?? null, accountsAtOnce);
    for (const user of closed) {
      if (failures === mostFailures || !(await goesOn())) return;
      try {
        // one that is kept in this very moment stays
        await erase(ctx, user, before);
        failures = 0;
      } catch (error) {
        failures++;
        ctx.log.warn({ err: error, sub: user.uuid }, "a closed account is not erased yet; it is tried again later");
      }
    }
  } while (closed.length === accountsAtOnce);
}

/** Deletes the account permanently; its address may sign up again, as another user. @throws AuthError not_found */
export async function deleteUser(ctx: Context, uuid: string): Promise<void> {
  if (!(await erase(ctx, await getUser(ctx, uuid)))) throw unknownUser();
}

/**
 * What is left says that there was a user: revoked authorizations for a day, without address and browser (of more than
 * a thousand a little later), and the tombstone that revokes whatever names the user.
 */
async function erase(ctx: Context, user: User, closedBefore?: number): Promise<boolean> {
  const event = userDeleted(user, UNKNOWN_ASKER, ctx.clock.now());
  if (!(await ctx.store.users.delete(user.uuid, event, closedBefore))) return false;
  securityEvent(ctx, "user_deleted", { sub: user.uuid });
  // the user is deleted whatever comes of this: `forgetDeleted` has the rest of many thousands
  await ctx.store.users
    .forgetTraces(user.uuid, tracesAtOnce)
    .catch((error: unknown) => warnOfTraces(ctx, user.uuid, error));
  return true;
}

async function forgetAllTraces(ctx: Context, uuid: string): Promise<void> {
  while ((await ctx.store.users.forgetTraces(uuid, tracesAtOnce)) === tracesAtOnce);
}

function warnOfTraces(ctx: Context, uuid: string, error: unknown): void {
  const problem = "traces of a deleted user are left; they are forgotten within a minute or two";
  ctx.log.warn({ err: error, sub: uuid }, problem);
}

/** Forgets what deleted users' authorizations still say of where they came from, as after a crash, or of users who had thousands. */
export async function forgetDeleted(ctx: Context): Promise<void> {
  const { users } = ctx.store;
  let deleted: readonly string[] = [];
  do {
    deleted = await users.listDeleted(deleted.at(-1) ?? "", accountsAtOnce);
    for (const uuid of deleted)
      await forgetAllTraces(ctx, uuid).catch((error: unknown) => warnOfTraces(ctx, uuid, error));
  } while (deleted.length === accountsAtOnce);
}
