import type { Context } from "../../context.ts";
import type { Authorization } from "../../store/authorizations.ts";
import type { Client } from "../../store/clients.ts";

/** RFC 9700 section 4.14.2: does this client's limit end a refresh token that was not used for so long? */
export function isIdle(ctx: Context, client: Client, { lastUsedAt, createdAt }: Authorization): boolean {
  const limit = client.metadata.refresh_token_idle_ttl;
  return limit !== undefined && (lastUsedAt ?? createdAt) + limit * 1000 <= ctx.clock.now();
}
