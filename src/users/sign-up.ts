import { randomUUID } from "node:crypto";
import type { Context } from "../context.ts";
import { randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import { type Asker, UNKNOWN_ASKER, userSignup } from "../events.ts";
import type { Passkey } from "../store/factors.ts";
import type { User } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { newVerification } from "./email-verification.ts";
import { normaliseEmail, readNames, readSignUp } from "./input.ts";

/** Every new account has it. */
export const BASIC_ROLE = "ROLE_USER";

/**
 * Creates an account, its profile, its `user-signup` event and the link that verifies its address, in one transaction.
 * @param input unchecked; unknown members are ignored
 * @param asker the browser of the person who signs up, where there is one
 * @param roles checked already
 * @throws AuthError invalid_input (every wrong field), email_taken, rate_limited, unavailable
 */
export async function signUp(
  ctx: Context,
  input: { readonly email?: unknown; readonly password?: unknown; readonly nickname?: unknown },
  asker: Asker = UNKNOWN_ASKER,
  roles: readonly string[] = [BASIC_ROLE],
): Promise<User> {
  const { email, password, nickname } = await readSignUp(ctx, { ...input });
  await ctx.limits.take("sign_up", email);
  if ((await ctx.store.users.findByEmail(email)) !== null) throw taken();
  const passwordHash = await ctx.passwords.hash(password);
  const user = newUser(ctx, { uuid: randomUUID(), email, nickname }, asker);
  return create(ctx, { ...user, roles }, { passwordHash }, asker);
}

/**
 * As `signUp`, with a passkey in place of a password.
 * @param input uuid: the passkey is for it. The same passkey again gets the same account, within a minute
 * @throws AuthError invalid_input, email_taken, invalid_credentials: the passkey or the uuid has been another account's, rate_limited, unavailable
 */
export async function signUpWithPasskey(
  ctx: Context,
  input: { readonly uuid: string; readonly email: unknown; readonly nickname: unknown },
  passkey: Passkey,
  asker: Asker,
): Promise<User> {
  const { email, nickname, existing } = await readFreeNames(ctx, input);
  const user = existing ?? (await createWithPasskey(ctx, { uuid: input.uuid, email, nickname }, passkey, asker));
  // it was made with another passkey, which is the one that opens it
  if ((await ctx.store.factors.findPasskey(passkey.credentialId))?.userId !== user.uuid) throw taken();
  return user;
}

async function createWithPasskey(
  ctx: Context,
  names: Pick<User, "uuid" | "email" | "nickname">,
  passkey: Passkey,
  asker: Asker,
): Promise<User> {
  await ctx.limits.take("sign_up", names.email);
  // no password has this hash; what is bound to the account's password is bound to it
  const passwordHash = `none ${randomToken()}`;
  return create(ctx, newUser(ctx, names, asker), { passwordHash, passkey }, asker);
}

/**
 * The names of an account that is to have a passkey.
 * @param input uuid: as in `signUpWithPasskey`
 * @returns existing: the account that the same form made just now; null: the address is free
 * @throws AuthError invalid_input, email_taken
 */
export async function readFreeNames(
  ctx: Context,
  input: { readonly uuid: string; readonly email: unknown; readonly nickname: unknown },
): Promise<{ readonly email: string; readonly nickname: string; readonly existing: User | null }> {
  const names = readNames(ctx.config, input);
  const existing = await ctx.store.users.findByEmail(names.email);
  const isRepeat = existing?.uuid === input.uuid && existing.createdAt + repeatMs > ctx.clock.now();
  if (existing !== null && !isRepeat) throw taken();
  return { ...names, existing };
}

/** A form that is sent again within this time is answered as before (milliseconds). */
const repeatMs = 60_000;

const taken = () => new AuthError("email_taken", "this e-mail address has an account already");

function newUser(ctx: Context, names: Pick<User, "uuid" | "email" | "nickname">, asker: Asker): User {
  const now = ctx.clock.now();
  const state = { emailVerified: false, claims: {}, language: asker.language || null, epoch: 0, disabledAt: null };
  return { ...names, ...state, roles: [BASIC_ROLE], createdAt: now, updatedAt: now };
}

async function create(
  ctx: Context,
  user: User,
  { passwordHash, passkey }: { readonly passwordHash: string; readonly passkey?: Passkey },
  asker: Asker,
): Promise<User> {
  const event = userSignup(user);
  const verification = newVerification(ctx, user, user.email, asker);
  if ((await ctx.store.users.create(user, passwordHash, event, verification, passkey)) === "email_taken") {
    // the address is free: what was made before, and may be gone, is the account of this attempt or the passkey
    const isFree = passkey !== undefined && (await ctx.store.users.findByEmail(user.email)) === null;
    throw isFree
      ? new AuthError("invalid_credentials", "this passkey was made for another account: begin again")
      : taken();
  }
  securityEvent(ctx, "sign_up", { sub: user.uuid });
  return user;
}

/** For so long after it was made an account counts as new (milliseconds): as long as a form of the sign-up page may be sent again. */
const newAccountMs = 3_600_000;

/** Is there an account of this address that was made within the last hour? */
export async function isNewAccount(ctx: Context, email: string): Promise<boolean> {
  const user = await ctx.store.users.findByEmail(normaliseEmail(email));
  return user !== null && user.createdAt > ctx.clock.now() - newAccountMs;
}
