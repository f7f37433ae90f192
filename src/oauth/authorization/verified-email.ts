import type { Client } from "../../store/clients.ts";
import type { OAuthContext } from "../context.ts";

/** Does this client want a verified address, which the user does not have? The user is read for such a client alone. */
export async function lacksVerifiedEmail(ctx: OAuthContext, client: Client, userId: string | null): Promise<boolean> {
  if (!client.metadata.require_verified_email || userId === null) return false;
  return (await ctx.store.users.find(userId))?.emailVerified !== true;
}
