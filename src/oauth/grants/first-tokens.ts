import { randomUUID } from "node:crypto";
import { userLogin } from "../../events.ts";
import type { Authorization, Redemption } from "../../store/authorizations.ts";
import type { User } from "../../store/users.ts";
import { tokenTypeOf } from "../../token/access-token.ts";
import type { OAuthContext } from "../context.ts";
import { grantedResources } from "../resources.ts";
import { permittedScope, scopeForResource, scopesOf } from "../scopes.ts";
import { issueAccessToken, issueIdToken, issueRefreshToken, type TokenResponse } from "../tokens/issuer.ts";
import type { Grantee } from "./grant.ts";

/** What a user allowed, as recorded with the code that a client redeems. */
export type Allowed = Pick<
  Authorization,
  | "grantType"
  | "sessionHash"
  | "scope"
  | "resource"
  | "nonce"
  | "claims"
  | "authTime"
  | "methods"
  | "acr"
  | "ipAddress"
  | "userAgent"
  | "clientEpoch"
>;

/**
 * The authorization that replaces a code, and the response with its first tokens. Everything is signed before the transaction, which
 * then only decides which redemption wins, and so holds the row's lock for a short time.
 * @param asked the `resource` parameters of the request, space-separated
 * @throws AuthError invalid_target, invalid_grant: the client has lost every resource that was agreed to
 */
export function firstTokens(
  ctx: OAuthContext,
  { client, dpopJkt }: Grantee,
  user: User,
  allowed: Allowed,
  asked: string | undefined,
): { redemption: Redemption; response: TokenResponse } {
  const { resource, nonce, ipAddress, userAgent } = allowed;
  const target = grantedResources(ctx, client, resource, asked);
  // the client may have lost a scope since the user agreed
  const scope = scopeForResource(ctx, permittedScope(ctx, allowed, client), target);
  const now = ctx.clock.now();
  const exp = ctx.clock.seconds() + ctx.config.refreshTokenTtl;
  const identity = { id: randomUUID(), subject: user.uuid, clientId: client.clientId, resource };
  const refresh = client.metadata.grant_types.includes("refresh_token")
    ? issueRefreshToken(ctx, identity, 0, exp)
    : null;
  const authorization: Authorization = {
    ...allowed,
    ...identity,
    // refresh tokens of a client that authenticates are bound by its authentication (RFC 9449 section 5)
    dpopJkt: client.metadata.token_endpoint_auth_method === "none" ? dpopJkt : null,
    createdAt: now,
    expiresAt: refresh === null ? now + ctx.config.accessTokenTtl * 1000 : exp * 1000,
    lastUsedAt: null,
    userEpoch: user.epoch,
    revokedAt: null,
    refresh: refresh?.state ?? null,
    generation: 0,
    rotations: [],
  };
  const granted = { ...authorization, resource: target };
  const accessToken = issueAccessToken(ctx, client, granted, user, scope, dpopJkt);
  const response: TokenResponse = {
    access_token: accessToken,
    ...(refresh === null ? {} : { refresh_token: refresh.token }),
    ...(scopesOf(scope).includes("openid")
      ? { id_token: issueIdToken(ctx, client, authorization, user, { accessToken, nonce }) }
      : {}),
    expires_in: ctx.config.accessTokenTtl,
    token_type: tokenTypeOf(dpopJkt),
    scope,
  };
  const event = userLogin(user, { ipAddress, userAgent }, now);
  return { redemption: { attemptId: randomUUID(), authorization, event }, response };
}
