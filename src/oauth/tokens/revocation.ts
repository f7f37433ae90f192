import { type PagedList, type PageRequest, readPage } from "../../crypto/page-tokens.ts";
import { AuthError } from "../../errors.ts";
import type { Authorization } from "../../store/authorizations.ts";
import type { Client } from "../../store/clients.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { OAuthContext } from "../context.ts";
import { readAccessToken, readRefreshToken } from "./claims.ts";

/**
 * Token revocation (RFC 7009 section 2.1). A refresh token revokes its authorization, an access token only itself. Unknown tokens,
 * those of other clients and those already revoked are ignored.
 */
export async function revokeToken(ctx: OAuthContext, client: Client, token: string): Promise<void> {
  const now = ctx.clock.now();
  const access = (await readAccessToken(ctx, token))?.claims;
  if (access !== undefined) {
    if (access.client_id !== client.clientId || access.exp * 1000 <= now) return;
    await ctx.store.authorizations.revokeAccessToken(access.jti, access.exp * 1000, now);
    securityEvent(ctx, "access_token_revoked", { client_id: client.clientId, sid: access.sid });
    return;
  }
  const refresh = await readRefreshToken(ctx, token);
  if (refresh === null || refresh.aud !== client.clientId) return;
  await ctx.store.authorizations.revoke(refresh.sid, "token_revoked", now);
  securityEvent(ctx, "authorization_revoked", { client_id: client.clientId, sid: refresh.sid });
}

/** Ends one authorization. @throws AuthError not_found */
export async function revokeAuthorization(ctx: OAuthContext, sid: string): Promise<void> {
  if (await ctx.store.authorizations.revoke(sid, "revoked_by_operator", ctx.clock.now())) {
    securityEvent(ctx, "authorization_revoked", { sid });
    return;
  }
  if ((await ctx.store.authorizations.find(sid)) === null) throw new AuthError("not_found", "no such authorization");
}

/** Live authorizations of a user, newest first. @param page size 0: 50 @throws AuthError invalid_request */
export async function listAuthorizations(
  ctx: OAuthContext,
  uuid: string,
  page: PageRequest,
): Promise<{ authorizations: Authorization[]; nextPageToken: string }> {
  const list: PagedList<Authorization> = {
    name: `authorizations of ${uuid}`,
    usualSize: 50,
    maxSize: 100,
    read: (after, limit) => {
      const position = after === null ? null : { createdAt: after[0], id: after[1] };
      return ctx.store.authorizations.listOfUser(uuid, position, limit, ctx.clock.now());
    },
    positionOf: ({ createdAt, id }) => [createdAt, id],
  };
  const { entries, nextPageToken } = await readPage(ctx.derivedKeys.pageTokens, list, page);
  return { authorizations: entries, nextPageToken };
}
