import type { Context } from "../context.ts";
import { hashOf } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import type { Asker } from "../events.ts";
import type { LimitRule } from "../limits.ts";
import type { User, UserToSignIn } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { isRecoveryCode, useRecoveryCode } from "./recovery-codes.ts";
import { useTotp } from "./totp.ts";

/** A second step may follow its password for so long (milliseconds). */
const firstFactorMs = 10 * 60_000;
const purpose = "first factor";

/** Methods of a sign-in with a password and a code (RFC 8176 section 2). A recovery code is a one-time password too. */
export const PASSWORD_AND_CODE = ["pwd", "otp", "mfa"] as const;

/** Has the user something beside the password? Nothing is read for users who never had. */
export async function hasSecondFactor(
  ctx: Context,
  { uuid, factorsGeneration }: Pick<UserToSignIn, "uuid" | "factorsGeneration">,
): Promise<boolean> {
  if (factorsGeneration === 0) return false;
  const { totp, passkeys } = await ctx.store.factors.find(uuid);
  return totp !== null || passkeys.length > 0;
}

/** The right password of a user, for the form of the second step: nothing is stored. */
export function sealFirstFactor(ctx: Context, { uuid, passwordHash }: UserToSignIn): string {
  const content = JSON.stringify([uuid, hashOf(passwordHash), ctx.clock.now()]);
  return ctx.derivedKeys.firstFactors.seal(content, purpose);
}

/**
 * @returns the user; null: this service did not make the text or made it too long ago, or the account is gone, disabled or has got another
 * password
 */
export async function openFirstFactor(ctx: Context, sealed: string): Promise<UserToSignIn | null> {
  const [uuid, hash, at] = unseal(ctx, sealed) ?? [];
  if (uuid === undefined || at === undefined || at + firstFactorMs < ctx.clock.now()) return null;
  const user = await ctx.store.users.findWithPassword(uuid);
  return user !== null && user.disabledAt === null && hashOf(user.passwordHash) === hash ? user : null;
}

function unseal(ctx: Context, sealed: string): [string, string, number] | null {
  try {
    return JSON.parse(ctx.derivedKeys.firstFactors.open(sealed, purpose).toString()) as [string, string, number];
  } catch {
    return null;
  }
}

/**
 * Checks a code of an authenticator app or a recovery code, and uses it up. It is counted before it is checked, so that parallel guesses
 * at several replicas cannot outrun the count; a right one is taken back.
 * @param given attempt: names the form, which may be sent twice; device: a known device of the account has a count of its own
 * @throws AuthError invalid_credentials, rate_limited, unavailable
 */
export async function checkCode(
  ctx: Context,
  user: User,
  given: { readonly code: string; readonly attempt: string; readonly device: string | null },
  asker: Asker,
): Promise<void> {
  const code = given.code.replaceAll(/\s/g, "");
  const attempt = hashOf(given.attempt);
  const isRecovery = isRecoveryCode(code);
  const rule: LimitRule = isRecovery ? "recovery_code" : "second_factor";
  const subject = given.device === null ? user.uuid : `${user.uuid}\n${given.device}`;
  await count(ctx, rule, subject, user.uuid);
  const isRight = isRecovery
    ? await useRecoveryCode(ctx, user, { code, attempt }, asker)
    : await useTotp(ctx, user.uuid, code, attempt);
  if (!isRight) {
    securityEvent(ctx, "second_factor_failed", { sub: user.uuid, factor: isRecovery ? "recovery_code" : "totp" });
    throw new AuthError("invalid_credentials", "the code is wrong or was used before");
  }
  await ctx.limits.giveBack(rule, subject);
}

async function count(ctx: Context, rule: LimitRule, subject: string, uuid: string): Promise<void> {
  try {
    await ctx.limits.take(rule, subject);
  } catch (error) {
    if (error instanceof AuthError && error.code === "rate_limited") {
      securityEvent(ctx, "second_factor_throttled", { sub: uuid });
    }
    throw error;
  }
}
