import type { Context } from "../context.ts";
import { hashOf, randomToken } from "../crypto/hashes.ts";
import { generationOf } from "../crypto/password-generation.ts";
import { AuthError } from "../errors.ts";
import {
  type Asker,
  passwordChanged,
  passwordReset,
  UNKNOWN_ASKER,
  type UserSecurity,
  userSecurity,
} from "../events.ts";
import { networkOf, RESET_LINK_LIFE_MS } from "../limits.ts";
import type { User, UserWithPassword } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { hideTime } from "./answer-time.ts";
import { invalidInput, linkToken, readEmail, readNewPassword } from "./input.ts";
import { isClosed, networkOrNull, openLoginFrom } from "./users.ts";

/**
 * Publishes a `password-reset` event for the account of this address. The response and its time do not tell whether there is an account,
 * whether it is disabled, and whether its resets of this hour are used up (`mayPublish`).
 * @param request form: names the one that asks, whose second press publishes nothing
 * @throws AuthError invalid_input, unavailable
 */
export async function requestPasswordReset(
  ctx: Context,
  request: { readonly email: unknown; readonly asker: Asker; readonly form?: string | null },
): Promise<void> {
  const email = readEmail(request.email);
  const publishing = () => publishReset(ctx, email, request.asker);
  await hideTime(ctx.limits.oncePerForm(request.form ?? null, email, publishing));
}

async function publishReset(ctx: Context, email: string, asker: Asker): Promise<void> {
  const allowed = await mayPublish(ctx, email, networkOf(asker.ipAddress));
  const user = await ctx.store.users.findByEmail(email);
  // who closed the account may keep it, and must get in for that
  if (!allowed || user === null || (user.disabledAt !== null && !isClosed(user))) return;
  const now = ctx.clock.now();
  const resetToken = randomToken();
  const expiresAt = now + RESET_LINK_LIFE_MS;
  const resetUrl = new URL(ctx.config.passwordResetUrl);
  resetUrl.searchParams.set("token", resetToken);
  const event = passwordReset(user, { token: resetToken, url: resetUrl.href, expiresAt }, asker, now);
  const reset = { tokenHash: hashOf(resetToken), userId: user.uuid, createdAt: now, expiresAt };
  try {
    await ctx.store.users.createPasswordReset(reset, event);
  } catch (error) {
    // deleted or disabled since it was read: the same as no account
    if (error instanceof AuthError && error.code === "not_found") return;
    throw error;
  }
  securityEvent(ctx, "password_reset_requested", { sub: user.uuid });
}

/**
 * Five an hour for each network that asks, fifteen for all together. Beyond that one more as soon as no link can be alive: others who ask
 * for all of them leave the owner a mail with a link that works, or the next request sends one.
 */
async function mayPublish(ctx: Context, email: string, network: string): Promise<boolean> {
  const windowAgeMs =
    (await ctx.limits.tryTake("password_reset", `${email}\n${network}`)) ??
    (await ctx.limits.tryTake("password_reset_of_account", email));
  if (windowAgeMs === null) return true;
  // all of them were sent since the window began
  if (windowAgeMs < RESET_LINK_LIFE_MS) return false;
  return (await ctx.limits.tryTake("password_reset_link", email)) === null;
}

/** The owner is there: their next login and their next reset do not wait for what others used up. */
async function welcomeOwner(ctx: Context, email: string, network: string | null): Promise<void> {
  await ctx.limits.clear("wrong_password", email);
  await ctx.limits.clear("password_reset_of_account", email);
  await ctx.limits.clear("password_reset_link", email);
  if (network !== null) await ctx.limits.clear("password_reset", `${email}\n${network}`);
  await openLoginFrom(ctx, email, network);
}

/** The user whose password this reset token would set; null: it is unknown, used or expired. */
export async function findReset(ctx: Context, token: string): Promise<User | null> {
  if (!linkToken.safeParse(token).success) return null;
  return ctx.store.users.findPasswordReset(hashOf(token), ctx.clock.now());
}

/**
 * Sets a new password with the newest reset token of an account, which works once and for ten minutes. Ends every session,
 * authorization and consent of the account.
 * @param reset asker: the browser of the user who sets it, where there is one; signedInAs: who is signed in there. Passkeys that were added
 * before the address was proven go, unless their owner is who resets: somebody else may have signed up with the address
 * @returns the user whose password was set
 * @throws AuthError reset_token_invalid, invalid_input, rate_limited, unavailable
 */
export async function resetPassword(
  ctx: Context,
  reset: {
    readonly token: unknown;
    readonly newPassword: unknown;
    readonly asker?: Asker;
    readonly signedInAs?: string | null;
  },
): Promise<UserWithPassword> {
  const invalid = () =>
    new AuthError("reset_token_invalid", "the reset link is unknown, used or expired: ask for a new one");
  if (typeof reset.token !== "string")
    throw invalidInput([{ field: "token", rule: "wrong_type", message: "must be a string" }]);
  const user = await findReset(ctx, reset.token);
  if (user === null) throw invalid();
  const newPassword = await readNewPassword(ctx, "newPassword", reset.newPassword, [user.email]);
  const passwordHash = await ctx.passwords.hash(newPassword);
  const { asker = UNKNOWN_ASKER } = reset;
  const event = passwordChanged(user, "RESET", asker, ctx.clock.now());
  const passkeysRemoved = reset.signedInAs === user.uuid ? null : await removalOfPasskeys(ctx, user, asker);
  const outcome = await ctx.store.users.redeemPasswordReset(hashOf(reset.token), passwordHash, event, passkeysRemoved);
  if (outcome === "invalid") throw invalid();
  await welcomeOwner(ctx, user.email, networkOrNull(asker));
  securityEvent(ctx, "password_reset", { sub: user.uuid });
  return { ...user, passwordHash, passwordGeneration: generationOf(passwordHash), signedInAt: null, closedAt: null };
}

/** What is told of passkeys that go with the first proof of an address; null: there are none. */
async function removalOfPasskeys(ctx: Context, user: User, asker: Asker): Promise<UserSecurity | null> {
  if (user.emailVerified) return null;
  const { passkeys } = await ctx.store.factors.find(user.uuid);
  if (passkeys.length === 0) return null;
  const detail = `passkey ${passkeys.map(({ name }) => name).join(", ")}`;
  return userSecurity(user, { kind: "FACTOR_REMOVED", detail }, asker, ctx.clock.now());
}
