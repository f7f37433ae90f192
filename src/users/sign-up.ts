import { randomUUID } from "node:crypto";
import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import { type Asker, UNKNOWN_ASKER, userSignup } from "../events.ts";
import type { User } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { newVerification } from "./email-verification.ts";
import { normaliseEmail, readSignUp } from "./input.ts";

/**
 * Creates an account, its profile, its `user-signup` event and the link that verifies its address, in one transaction.
 * @param input unchecked; unknown members are ignored
 * @param asker the browser of the person who signs up, where there is one
 * @throws AuthError invalid_input (every wrong field), email_taken, rate_limited, unavailable
 */
export async function signUp(
  ctx: Context,
  input: { readonly email?: unknown; readonly password?: unknown; readonly nickname?: unknown },
  asker: Asker = UNKNOWN_ASKER,
): Promise<User> {
  const { email, password, nickname } = await readSignUp(ctx, { ...input });
  await ctx.limits.take("sign_up", email);
  const taken = () => new AuthError("email_taken", "this e-mail address has an account already");
  if ((await ctx.store.users.findByEmail(email)) !== null) throw taken();
  const passwordHash = await ctx.passwords.hash(password);
  const now = ctx.clock.now();
  const user: User = {
    uuid: randomUUID(),
    email,
    nickname,
    roles: ["ROLE_USER"],
    emailVerified: false,
    claims: {},
    epoch: 0,
    disabledAt: null,
    createdAt: now,
    updatedAt: now,
  };
  const outcome = await ctx.store.users.create(
    user,
    passwordHash,
    userSignup(user, asker.language),
    newVerification(ctx, user, email, asker),
  );
  if (outcome === "email_taken") throw taken();
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
