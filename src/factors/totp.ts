import { Secret, TOTP } from "otpauth";
import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import { userSecurity } from "../events.ts";
import type { CodeUse } from "../store/factors.ts";
import type { User } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import type { Actor } from "./factors.ts";

/** RFC 6238 with the values that every authenticator app has: SHA-1, six digits, 30 seconds. */
const periodMs = 30_000;
/** The step before and the step after are accepted too (RFC 6238 section 5.2). */
const window = 1;
/** A code of so many steps ago is said to be late: it was typed slowly, or the clock of its device is slow. Even. */
const lateSteps = 18;
/** At the set-up a code of up to so many steps away, an hour, tells that a clock is wrong. */
const clockSteps = 120;

/** What a code of an authenticator app proves, as `amr` values. */
export const TOTP_METHODS = ["otp", "mfa"] as const;

export interface NewTotp {
  /** Base32, for those who type it in. */
  readonly secret: string;
  /** `otpauth:` URI, for a QR code. */
  readonly uri: string;
  /** The secret for the form that confirms it: nothing is stored before. */
  readonly sealed: string;
}

/** A secret for an authenticator app, which counts once a code of it was given. @param issuer names this service in the app */
export function beginTotp(ctx: Context, { uuid, email }: User, issuer: string): NewTotp {
  const totp = new TOTP({ issuer, label: email, secret: new Secret({ size: 20 }) });
  const secret = totp.secret.base32;
  return { secret, uri: totp.toString(), sealed: ctx.derivedKeys.totpSecrets.seal(secret, uuid) };
}

/** The same as `beginTotp`, of a form that is shown again. @throws AuthError invalid_request */
export function continueTotp(ctx: Context, { uuid, email }: User, sealed: string, issuer: string): NewTotp {
  const secret = openSecret(ctx, uuid, sealed);
  const totp = new TOTP({ issuer, label: email, secret: Secret.fromBase32(secret) });
  return { secret, uri: totp.toString(), sealed };
}

/**
 * Adds the authenticator app that shows this code. The code is used up by that.
 * @returns `again`: this very app was added before, as by a call whose answer was lost; `exists`: there is another one; `clock`: the code is right at another time, so its device's clock is wrong
 * @throws AuthError invalid_request: the form is of another account; login_required: the actor's session has ended
 */
export async function confirmTotp(
  ctx: Context,
  user: User,
  { sealed, code }: { readonly sealed: string; readonly code: string },
  { asker, acting }: Actor,
): Promise<"added" | "again" | "wrong" | "clock" | "exists"> {
  const secret = openSecret(ctx, user.uuid, sealed);
  const now = ctx.clock.now();
  const step = stepOf(secret, code, now);
  // the page shows this user the secret, so saying which of its codes are right gives nothing away
  if (step === null) return distanceOf(secret, code, now, clockSteps) === null ? "wrong" : "clock";
  const sealedSecret = ctx.derivedKeys.totpSecrets.seal(secret, user.uuid);
  const event = userSecurity(user, { kind: "FACTOR_ADDED", detail: "totp" }, asker, ctx.clock.now());
  if (!(await ctx.store.factors.addTotp(user.uuid, { sealedSecret, step }, event, acting))) {
    const { totp } = await ctx.store.factors.find(user.uuid);
    return totp !== null && openSecret(ctx, user.uuid, totp.sealedSecret) === secret ? "again" : "exists";
  }
  securityEvent(ctx, "factor_added", { sub: user.uuid, factor: "totp" });
  return "added";
}

/**
 * Uses a code up.
 * @param attempt names what is sent: the same may bring the same code again
 * @returns `refused`: wrong, or used before; `late`: it was right until a while ago
 */
export async function useTotp(ctx: Context, uuid: string, code: string, attempt: string): Promise<CodeUse | "late"> {
  const { totp } = await ctx.store.factors.find(uuid);
  if (totp === null) return "refused";
  const secret = openSecret(ctx, uuid, totp.sealedSecret);
  const now = ctx.clock.now();
  const step = stepOf(secret, code, now);
  if (step !== null) return ctx.store.factors.useTotpStep(uuid, step, attempt);
  return isOfPast(secret, code, now) ? "late" : "refused";
}

/** The step whose code this is, spaced or not, as apps show it; null: none that is accepted now. */
function stepOf(secret: string, code: string, now: number): number | null {
  const delta = distanceOf(secret, code, now, window);
  return delta === null ? null : Math.floor(now / periodMs) + delta;
}

/**
 * Was this code right a while ago? An attacker learns nothing useful from that, as the code is never right again. A code that will be right later
 * must look like any wrong one.
 */
function isOfPast(secret: string, code: string, now: number): boolean {
  const middle = (window + 1 + lateSteps) / 2;
  return distanceOf(secret, code, now - middle * periodMs, lateSteps - middle) !== null;
}

/** How many steps from a time this code's is, no more than so many; null: it is further away, or none. */
function distanceOf(secret: string, code: string, timestamp: number, most: number): number | null {
  // full-width digits are those of a Japanese keyboard; the library takes six bytes alone
  const token = code.normalize("NFKC").replaceAll(/[\s\p{Cf}]/gu, "");
  if (!/^[0-9]{6}$/.test(token)) return null;
  return new TOTP({ secret: Secret.fromBase32(secret) }).validate({ token, timestamp, window: most });
}

function openSecret(ctx: Context, uuid: string, sealed: string): string {
  try {
    return ctx.derivedKeys.totpSecrets.open(sealed, uuid).toString();
  } catch (error) {
    throw new AuthError("invalid_request", "the secret of the authenticator app cannot be opened", { cause: error });
  }
}
