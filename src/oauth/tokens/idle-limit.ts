import type { Context } from "../../context.ts";
import type { Authorization } from "../../store/authorizations.ts";
import type { Client } from "../../store/clients.ts";

/**
 * RFC 9700 section 4.14.2: does this client's limit end a refresh token that was not used for so long? Before the limit was set no use
 * was kept but of tokens that are replaced by it: who was active then is not known, so that the time runs from there at the earliest.
 */
export function isIdle(ctx: Context, client: Client, { lastUsedAt, createdAt, rotations }: Authorization): boolean {
  const limit = client.metadata.refresh_token_idle_ttl;
  if (limit === undefined) return false;
  const replacedAt = rotations.at(-1)?.[1] ?? 0;
  const since = Math.max(createdAt, lastUsedAt ?? 0, replacedAt, client.idleLimitSince ?? 0);
  return since + limit * 1000 <= ctx.clock.now();
}
