import type { Context } from "../context.ts";
import { hashOf } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import type { Asker } from "../events.ts";
import type { LimitRule } from "../limits.ts";
import { HALF_OF_ATTEMPT } from "../store/factors.ts";
import type { User, UserToSignIn } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { isClosed } from "../users/users.ts";
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

/**
 * The right password of a user, for the form of the second step: nothing is stored.
 * @param sessionHash of the session that stands for the password; null: it was given
 */
export function sealFirstFactor(
  ctx: Context,
  { uuid, passwordGeneration }: UserToSignIn,
  sessionHash: string | null = null,
): string {
  const content = JSON.stringify([uuid, passwordGeneration, ctx.clock.now(), sessionHash]);
  return ctx.derivedKeys.firstFactors.seal(content, purpose);
}

export interface FirstFactor {
  readonly user: UserToSignIn;
  /** Of the session that stood for the password, which may have ended; null: the password was given. */
  readonly sessionHash: string | null;
}

/** Whose right password a form carries, and when it was given (epoch milliseconds), though it may be too old; null: this service did not make it. */
export function ownerOfFirstFactor(
  ctx: Context,
  sealed: string,
): { readonly uuid: string; readonly at: number } | null {
  const [uuid, _, at] = unseal(ctx, sealed) ?? [];
  return uuid === undefined || at === undefined ? null : { uuid, at };
}

/**
 * @returns null: this service did not make the text or made it too long ago, or the account is gone, disabled by an operator or has got
 * another password
 */
export async function openFirstFactor(ctx: Context, sealed: string): Promise<FirstFactor | null> {
  const [uuid, generation, at, sessionHash = null] = unseal(ctx, sealed) ?? [];
  if (uuid === undefined || at === undefined || at + firstFactorMs < ctx.clock.now()) return null;
  const user = await ctx.store.users.findWithPassword(uuid);
  if (user === null || user.passwordGeneration !== generation) return null;
  if (user.disabledAt !== null && !isClosed(user)) return null;
  return { user, sessionHash };
}

function unseal(ctx: Context, sealed: string): [string, string, number, (string | null)?] | null {
  try {
    return JSON.parse(ctx.derivedKeys.firstFactors.open(sealed, purpose).toString()) as [string, string, number];
  } catch {
    return null;
  }
}

/** With what a code is counted, apart from all other codes of its account. */
export interface Guesser {
  /** A device or a session; null: none that is known, all of which are counted together. */
  readonly id: string | null;
  /** A stranger may have many sessions, or many devices, of an account: they are counted together too. Null: a stranger cannot have this one. */
  readonly oneOf: "sessions" | "devices" | null;
}

/**
 * Checks a code of an authenticator app or a recovery code, and uses it up. It is counted before it is checked, so that parallel guesses
 * at several replicas cannot outrun the count; a right one is taken back.
 * @param given press: names what is sent, which may come with several forms; form: its form, which may be sent twice
 * @returns `again`: the same form used it before; `repeated`: the same press did, with another form
 * @throws AuthError invalid_credentials, rate_limited, unavailable; CodeLate
 */
export async function checkCode(
  ctx: Context,
  user: User,
  given: { readonly code: string; readonly press: string; readonly form: string; readonly guesser: Guesser },
  asker: Asker,
): Promise<"used" | "again" | "repeated"> {
  const code = given.code.replaceAll(/\s/g, "");
  const attempt = [given.press, given.form].map((name) => hashOf(name).slice(0, HALF_OF_ATTEMPT)).join("");
  const isRecovery = isRecoveryCode(code);
  return counted(ctx, user, given, async () => {
    const use = isRecovery
      ? await useRecoveryCode(ctx, user, { code, attempt }, asker)
      : await useTotp(ctx, user.uuid, code, attempt);
    if (use !== "refused" && use !== "late") return use;
    securityEvent(ctx, "second_factor_failed", { sub: user.uuid, factor: isRecovery ? "recovery_code" : "totp" });
    throw use === "late" ? new CodeLate() : codeRefused();
  });
}

/** What somebody sends as a code, and with what that is counted. */
interface Guess {
  readonly code: string;
  readonly guesser: Guesser;
}

/**
 * Counts a guess before the check that shows whether it is right, and takes the count back unless it is wrong.
 * @param check throws, or finds null, where the guess is wrong
 * @throws AuthError rate_limited, unavailable, and what `check` throws
 */
export async function counted<Result>(
  ctx: Context,
  user: User,
  { code, guesser }: Guess,
  check: () => Promise<Result>,
): Promise<Result> {
  const counts = countsOf(user, guesser, isRecoveryCode(code));
  for (const [rule, subject] of counts) await count(ctx, rule, subject, user.uuid);
  return ctx.limits.checkCounted(counts, check, {
    isWrong: (error) => error instanceof AuthError && error.code === "invalid_credentials",
    onFault: (error) => ctx.log.warn({ err: error, sub: user.uuid }, "a right code stays counted as a wrong one"),
  });
}

/** A code that is wrong or was used before. */
function codeRefused(): AuthError {
  return new AuthError("invalid_credentials", "the code is wrong or was used before");
}

/** The code of an authenticator app was right until a while ago. */
export class CodeLate extends AuthError {
  constructor() {
    super("invalid_credentials", "the code is no longer valid");
  }
}

/** A recovery code cannot be guessed, however many try: their own counts are enough. */
function countsOf({ uuid }: User, { id, oneOf }: Guesser, isRecovery: boolean): [rule: LimitRule, subject: string][] {
  const own = id === null ? uuid : `${uuid}\n${id}`;
  if (isRecovery) return [["recovery_code", own]];
  return [
    ["second_factor", own],
    ...(oneOf === null ? [] : [["second_factor_of_many", `${uuid}\n${oneOf}`] as [LimitRule, string]]),
  ];
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
