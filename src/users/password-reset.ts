import { setTimeout as sleep } from "node:timers/promises";
import type { Context } from "../context.ts";
import { hashOf, randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import { passwordReset } from "../events.ts";
import type { User } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { invalidInput, readEmail, readNewPassword, resetToken } from "./input.ts";

/** Lifetime of a reset token (milliseconds). */
const tokenLifeMs = 10 * 60_000;
/** The response takes at least this long, with or without an account, so that its time does not tell which (milliseconds). */
const answerAfterMs = 100;

/**
 * Publishes a `password-reset` event for the account of this address. The response and its time do not tell whether there is an account,
 * whether it is disabled, and whether its five resets of this hour are used up.
 * @throws AuthError invalid_input, unavailable
 */
export async function requestPasswordReset(
  ctx: Context,
  request: { readonly email: unknown; readonly ipAddress: string },
): Promise<void> {
  const email = readEmail(request.email);
  await Promise.all([publishReset(ctx, email, request.ipAddress), sleep(answerAfterMs)]);
}

async function publishReset(ctx: Context, email: string, ipAddress: string): Promise<void> {
  const counted = await ctx.limits.tryTake("password_reset", email);
  const user = await ctx.store.users.findByEmail(email);
  if (!counted || user === null || user.disabledAt !== null) return;
  const now = ctx.clock.now();
  const resetToken = randomToken();
  const expiresAt = now + tokenLifeMs;
  const resetUrl = new URL(ctx.config.passwordResetUrl);
  resetUrl.searchParams.set("token", resetToken);
  const event = passwordReset(
    { uuid: user.uuid, email, resetToken, resetUrl: resetUrl.href, expiresAt, ipAddress },
    now,
  );
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
 * Sets a new password with the newest reset token of an account, which works once and for ten minutes. Ends every session and
 * authorization of the account.
 * @returns the user whose password was set
 * @throws AuthError reset_token_invalid, invalid_input, rate_limited, unavailable
 */
export async function resetPassword(
  ctx: Context,
  reset: { readonly token: unknown; readonly newPassword: unknown },
): Promise<User> {
  const invalid = () =>
    new AuthError("reset_token_invalid", "the reset link is unknown, used or expired: ask for a new one");
  if (typeof reset.token !== "string")
    throw invalidInput([{ field: "token", rule: "wrong_type", message: "must be a string" }]);
  if (!resetToken.safeParse(reset.token).success) throw invalid();
  const tokenHash = hashOf(reset.token);
  const user = await ctx.store.users.findPasswordReset(tokenHash, ctx.clock.now());
  if (user === null) throw invalid();
  const newPassword = await readNewPassword(ctx.config, "newPassword", reset.newPassword, [user.email]);
  const passwordHash = await ctx.passwords.hash(newPassword);
  const outcome = await ctx.store.users.redeemPasswordReset(tokenHash, passwordHash, ctx.clock.now());
  if (outcome === "invalid") throw invalid();
  await ctx.limits.clear("wrong_password", user.email);
  securityEvent(ctx, "password_reset", { sub: user.uuid });
  return user;
}
