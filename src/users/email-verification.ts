import type { Context } from "../context.ts";
import { hashOf, randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import {
  type Asker,
  type EmailVerification as Event,
  emailVerification,
  UNKNOWN_ASKER,
  userSecurity,
} from "../events.ts";
import { networkOf } from "../limits.ts";
import type { FoundVerification } from "../store/email-verifications.ts";
import type { ActingSession } from "../store/session.ts";
import type { User, VerificationLink } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { hideTime } from "./answer-time.ts";
import { invalidInput, linkToken, readEmail } from "./input.ts";
import { checkOwner, getUser } from "./users.ts";

/** So long a link that verifies an address works (milliseconds). */
export const VERIFICATION_LINK_LIFE_MS = 24 * 3_600_000;
/** The path of the page that such a link opens. */
export const VERIFICATION_PATH = "/verify-email";

/** A link that verifies an address, and the event that has it mailed. */
export function newVerification(
  ctx: Context,
  user: User,
  email: string,
  asker: Asker,
): { readonly link: VerificationLink; readonly event: Event } {
  const now = ctx.clock.now();
  const token = randomToken();
  const expiresAt = now + VERIFICATION_LINK_LIFE_MS;
  const url = `${ctx.config.issuer}${VERIFICATION_PATH}?token=${token}`;
  return {
    link: { tokenHash: hashOf(token), userId: user.uuid, email, createdAt: now, expiresAt },
    event: emailVerification({ ...user, email }, { token, url, expiresAt }, asker, now),
  };
}

/**
 * Has a link sent that verifies the account's address. The response and its time do not tell whether there is an account, whether its
 * address is verified already, and whether its links of this hour are used up.
 * @param request form: names the one that asks, whose second press has nothing sent
 * @throws AuthError invalid_input, unavailable
 */
export async function requestEmailVerification(
  ctx: Context,
  request: { readonly email: unknown; readonly asker: Asker; readonly form?: string | null },
): Promise<void> {
  const email = readEmail(request.email);
  const sending = async () => {
    const allowed = await maySend(ctx, email, request.asker);
    const user = await ctx.store.users.findByEmail(email);
    if (!allowed || user === null || user.disabledAt !== null || user.emailVerified) return;
    await send(ctx, user, email, request.asker);
  };
  await hideTime(ctx.limits.oncePerForm(request.form ?? null, email, sending));
}

/**
 * Has a link sent to another address, which is the account's once it is verified: until then everything stays. The response does not tell
 * whether another account has that address.
 * @throws AuthError invalid_input, invalid_credentials, not_found, rate_limited, unavailable; login_required: the session has ended
 */
export async function requestEmailChange(
  ctx: Context,
  request: {
    readonly uuid: string;
    readonly email: unknown;
    readonly currentPassword: unknown;
    /** The user signed in again just now, which is enough for one without a password. */
    readonly isFreshSignIn?: boolean;
    readonly asker?: Asker;
    /** Names the form, whose second press has nothing sent. */
    readonly form?: string | null;
    /** The browser's session, where there is one. */
    readonly acting?: ActingSession;
  },
): Promise<void> {
  const { asker = UNKNOWN_ASKER, acting } = request;
  const email = readEmail(request.email);
  const currentPassword = typeof request.currentPassword === "string" ? request.currentPassword : "";
  const { isFreshSignIn = false } = request;
  const user = await checkOwner(ctx, request.uuid, { currentPassword, isFreshSignIn });
  const sending = async () => {
    if (email === user.email && user.emailVerified) return;
    // apart from what anybody may ask for: strangers who know the address cannot use these up
    await ctx.limits.take("email_change", user.uuid);
    await ctx.limits.take("email_change_to_address", email);
    const owner = await ctx.store.users.findByEmail(email);
    const isTaken = owner !== null && owner.uuid !== user.uuid;
    await send(ctx, user, email, asker, { isTaken, acting });
  };
  await hideTime(ctx.limits.oncePerForm(request.form ?? null, email, sending));
}

/** @param of isTaken: another account has the address, the link is made and not mailed */
async function send(
  ctx: Context,
  user: User,
  email: string,
  asker: Asker,
  of: { readonly isTaken?: boolean; readonly acting?: ActingSession | undefined } = {},
): Promise<void> {
  const { isTaken = false, acting } = of;
  const { link, event } = newVerification(ctx, user, email, asker);
  const isMade = await ctx.store.emailVerifications.create(link, isTaken ? null : event, acting);
  if (isMade && !isTaken) securityEvent(ctx, "email_verification_requested", { sub: user.uuid });
}

/** Five an hour for each network that asks, fifteen for all together. */
async function maySend(ctx: Context, email: string, { ipAddress }: Asker): Promise<boolean> {
  const refused =
    (await ctx.limits.tryTake("email_verification", `${email}\n${networkOf(ipAddress)}`)) ??
    (await ctx.limits.tryTake("email_verification_of_address", email));
  return refused === null;
}

/** The address that the account is to have once its link was opened; null: none. */
export function pendingEmailOf(ctx: Context, uuid: string): Promise<string | null> {
  return ctx.store.emailVerifications.pendingOf(uuid, ctx.clock.now());
}

/** What a link is about; null: it is unknown, or its account is gone. */
export async function findVerification(ctx: Context, token: unknown): Promise<FoundVerification | null> {
  const { data } = linkToken.safeParse(token);
  return data === undefined ? null : ctx.store.emailVerifications.find(hashOf(data), ctx.clock.now());
}

/**
 * Verifies the address that a link was mailed to, once; it is then the account's. A link of an address that the account has, and that is
 * verified, is no error.
 * @returns the account
 * @throws AuthError verification_token_invalid, email_taken, invalid_input, unavailable
 */
export async function verifyEmail(ctx: Context, token: unknown, asker: Asker = UNKNOWN_ASKER): Promise<User> {
  if (typeof token !== "string")
    throw invalidInput([{ field: "token", rule: "wrong_type", message: "must be a string" }]);
  const found = await findVerification(ctx, token);
  if (found === null) throw invalidLink("is unknown");
  const now = ctx.clock.now();
  const { user, email } = found;
  const notice = (before: User) => userSecurity(before, { kind: "EMAIL_CHANGED", detail: email }, asker, now);
  const outcome = await ctx.store.emailVerifications.redeem(hashOf(token), notice, now);
  if (outcome === "email_taken") throw new AuthError("email_taken", "another account has this e-mail address by now");
  if (outcome === "replaced")
    throw invalidLink("was replaced by a newer one, or the account has another address since");
  if (outcome === "expired") throw invalidLink("has expired: ask for a new one");
  if (outcome === null) throw invalidLink("is unknown");
  if (outcome === "now_verified") {
    securityEvent(ctx, email === user.email ? "email_verified" : "email_changed", { sub: user.uuid });
  }
  return getUser(ctx, user.uuid);
}

function invalidLink(why: string): AuthError {
  return new AuthError("verification_token_invalid", `the link ${why}`);
}
