import type { Context } from "../../context.ts";
import type { Authorization } from "../../store/authorizations.ts";
import type { Client } from "../../store/clients.ts";

/** RFC 9700 section 4.14.2: a client may have its refresh tokens end when nobody used them for a while. */
export function isIdle(ctx: Context, client: Client, { lastUsedAt, createdAt }: Authorization): boolean {
  const limit = client.metadata.refresh_token_idle_ttl;
  return limit !== undefined && (lastUsedAt ?? createdAt) + limit * 1000 <= ctx.clock.now();
}
