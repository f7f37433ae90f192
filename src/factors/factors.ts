import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import { type Asker, UNKNOWN_ASKER, userSecurity } from "../events.ts";
import type { Factors, Passkey } from "../store/factors.ts";
import type { ActingSession } from "../store/session.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { readPasskeyName } from "../users/input.ts";
import { getUser } from "../users/users.ts";

/** @throws AuthError not_found */
export async function listFactors(ctx: Context, uuid: string): Promise<Factors> {
  await getUser(ctx, uuid);
  return ctx.store.factors.find(uuid);
}

/** Who changes a user's factors, and the browser's session in which they do; absent: another service does. */
export interface Actor {
  readonly asker: Asker;
  readonly acting?: ActingSession;
}

/** Removes the authenticator app, if there is one. @throws AuthError not_found; login_required: the actor's session has ended */
export async function removeTotp(ctx: Context, uuid: string, { asker, acting }: Actor): Promise<void> {
  const user = await getUser(ctx, uuid);
  const event = userSecurity(user, { kind: "FACTOR_REMOVED", detail: "totp" }, asker, ctx.clock.now());
  if (await ctx.store.factors.removeTotp(uuid, event, acting))
    securityEvent(ctx, "factor_removed", { sub: uuid, factor: "totp" });
}

/**
 * Removes a passkey of this user, if there is one.
 * @returns `only_way_in`: it stays, as the account has no password and no other passkey
 * @throws AuthError not_found; login_required: the actor's session has ended
 */
export async function removePasskey(
  ctx: Context,
  uuid: string,
  credentialId: string,
  { asker, acting }: Actor,
): Promise<"removed" | "only_way_in"> {
  const user = await getUser(ctx, uuid);
  const passkey = await passkeyOf(ctx, uuid, credentialId);
  if (passkey === undefined) return "removed";
  const detail = `passkey ${passkey.name}`;
  const event = userSecurity(user, { kind: "FACTOR_REMOVED", detail }, asker, ctx.clock.now());
  if (await ctx.store.factors.removePasskey(uuid, credentialId, event, acting)) {
    securityEvent(ctx, "factor_removed", { sub: uuid, factor: "passkey" });
    return "removed";
  }
  // another call may have been first
  return (await passkeyOf(ctx, uuid, credentialId)) === undefined ? "removed" : "only_way_in";
}

/**
 * Gives a passkey of this user another name.
 * @returns false: the user has no such passkey
 * @throws AuthError invalid_input: the name; not_found: the user; login_required: the session has ended
 */
export async function renamePasskey(
  ctx: Context,
  uuid: string,
  passkey: { readonly credentialId: string; readonly name: unknown },
  acting?: ActingSession,
): Promise<boolean> {
  const name = readPasskeyName(passkey.name);
  const user = await getUser(ctx, uuid);
  const { credentialId } = passkey;
  const renamed = await ctx.store.factors.renamePasskey(user.uuid, { credentialId, name }, ctx.clock.now(), acting);
  if (renamed) securityEvent(ctx, "passkey_renamed", { sub: uuid });
  return renamed;
}

async function passkeyOf(ctx: Context, uuid: string, credentialId: string): Promise<Passkey | undefined> {
  const { passkeys } = await ctx.store.factors.find(uuid);
  return passkeys.find((one) => one.credentialId === credentialId);
}

/**
 * Removes every factor of a user, for an operator who knows that it is them. The password stays; an account without one gets a new one by a
 * reset mail. @throws AuthError not_found
 */
export async function resetFactors(ctx: Context, uuid: string): Promise<void> {
  const user = await getUser(ctx, uuid);
  const event = userSecurity(user, { kind: "FACTORS_RESET", detail: "" }, UNKNOWN_ASKER, ctx.clock.now());
  if (!(await ctx.store.factors.reset(uuid, event))) throw new AuthError("not_found", "no such user");
  securityEvent(ctx, "factors_reset", { sub: uuid });
}
