import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import { securityEvent } from "../telemetry.ts";

/**
 * Takes back what a user allowed a client. Everything that came of it ends: the consent, pending codes, authorizations.
 * @throws AuthError not_found: there was nothing
 */
export async function withdrawConsent(ctx: Context, userId: string, clientId: string): Promise<void> {
  if (!(await ctx.store.authorizations.withdrawConsent(userId, clientId, ctx.clock.now()))) {
    throw new AuthError("not_found", "this user has allowed this client nothing");
  }
  securityEvent(ctx, "consent_withdrawn", { sub: userId, client_id: clientId });
}
