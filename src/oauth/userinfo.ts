import type { AccessTokenClaims } from "../token/access-token.ts";
import { askedClaims } from "./authorization/claims-request.ts";
import { findClient } from "./clients/clients.ts";
import type { OAuthContext } from "./context.ts";
import { scopesOf } from "./scopes.ts";
import { ownerOf } from "./tokens/bearer.ts";
import { userClaims } from "./tokens/user-claims.ts";

/**
 * The UserInfo answer (OpenID Connect Core section 5.3.2) for an access token that was checked.
 * @throws AuthError invalid_token: a client's own token, or the user is gone
 */
export async function userinfo(ctx: OAuthContext, claims: AccessTokenClaims): Promise<Record<string, unknown>> {
  const user = await ownerOf(ctx, claims.sub);
  const authorization = await ctx.store.authorizations.find(claims.sid);
  const asked = authorization === null ? [] : askedClaims(authorization, "userinfo");
  const client = asked.length === 0 ? null : await findClient(ctx, claims.client_id);
  return { sub: user.uuid, ...userClaims(ctx, user, claims.scope, asked, scopesOf(client?.metadata.scope ?? "")) };
}
