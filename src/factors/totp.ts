import { Secret, TOTP } from "otpauth";
import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import { type Asker, userSecurity } from "../events.ts";
import type { User } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";

/** RFC 6238 with the values that every authenticator app has: SHA-1, six digits, 30 seconds. */
const periodMs = 30_000;
/** The step before and the step after are accepted too (RFC 6238 section 5.2). */
const window = 1;

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
 * Adds the authenticator app that shows this code.
 * @returns `exists`: there is an app already @throws AuthError invalid_request: the form is of another account
 */
export async function confirmTotp(
  ctx: Context,
  user: User,
  { sealed, code }: { readonly sealed: string; readonly code: string },
  asker: Asker,
): Promise<"added" | "wrong" | "exists"> {
  const secret = openSecret(ctx, user.uuid, sealed);
  const step = stepOf(secret, code, ctx.clock.now());
  if (step === null) return "wrong";
  const sealedSecret = ctx.derivedKeys.totpSecrets.seal(secret, user.uuid);
  const event = userSecurity(user, { kind: "FACTOR_ADDED", detail: "totp" }, asker, ctx.clock.now());
  if (!(await ctx.store.factors.addTotp(user.uuid, { sealedSecret, step }, event))) return "exists";
  securityEvent(ctx, "factor_added", { sub: user.uuid, factor: "totp" });
  return "added";
}

/** Uses a code up. @param attempt names the form: the same one may bring the same code again @returns false: wrong, or used before */
export async function useTotp(ctx: Context, uuid: string, code: string, attempt: string): Promise<boolean> {
  const { totp } = await ctx.store.factors.find(uuid);
  if (totp === null) return false;
  const step = stepOf(openSecret(ctx, uuid, totp.sealedSecret), code, ctx.clock.now());
  return step !== null && (await ctx.store.factors.useTotpStep(uuid, step, attempt));
}

/** The step whose code this is; null: none that is accepted now. */
function stepOf(secret: string, code: string, now: number): number | null {
  const totp = new TOTP({ secret: Secret.fromBase32(secret) });
  const delta = totp.validate({ token: code, timestamp: now, window });
  return delta === null ? null : Math.floor(now / periodMs) + delta;
}

function openSecret(ctx: Context, uuid: string, sealed: string): string {
  try {
    return ctx.derivedKeys.totpSecrets.open(sealed, uuid).toString();
  } catch (error) {
    throw new AuthError("invalid_request", "the secret of the authenticator app cannot be opened", { cause: error });
  }
}
