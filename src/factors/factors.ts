import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import { type Asker, UNKNOWN_ASKER, userSecurity } from "../events.ts";
import type { Factors } from "../store/factors.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { getUser } from "../users/users.ts";

/** @throws AuthError not_found */
export async function listFactors(ctx: Context, uuid: string): Promise<Factors> {
  await getUser(ctx, uuid);
  return ctx.store.factors.find(uuid);
}

/** Removes the authenticator app, if there is one. @throws AuthError not_found */
export async function removeTotp(ctx: Context, uuid: string, asker: Asker): Promise<void> {
  const user = await getUser(ctx, uuid);
  const event = userSecurity(user, { kind: "FACTOR_REMOVED", detail: "totp" }, asker, ctx.clock.now());
  if (await ctx.store.factors.removeTotp(uuid, event))
    securityEvent(ctx, "factor_removed", { sub: uuid, factor: "totp" });
}

/**
 * Removes a passkey of this user, if there is one.
 * @returns `only_way_in`: it stays, as the account has no password and no other passkey
 * @throws AuthError not_found
 */
export async function removePasskey(
  ctx: Context,
  uuid: string,
  credentialId: string,
  asker: Asker,
): Promise<"removed" | "only_way_in"> {
  const user = await getUser(ctx, uuid);
  const { passkeys } = await ctx.store.factors.find(uuid);
  const passkey = passkeys.find((one) => one.credentialId === credentialId);
  if (passkey === undefined) return "removed";
  const hasPassword = (await ctx.store.users.findWithPassword(uuid))?.hasPassword ?? true;
  if (passkeys.length === 1 && !hasPassword) return "only_way_in";
  const detail = `passkey ${passkey.name}`;
  const event = userSecurity(user, { kind: "FACTOR_REMOVED", detail }, asker, ctx.clock.now());
  if (await ctx.store.factors.removePasskey(uuid, credentialId, event)) {
    securityEvent(ctx, "factor_removed", { sub: uuid, factor: "passkey" });
  }
  return "removed";
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
