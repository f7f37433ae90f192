import { AuthError } from "../../errors.ts";
import type { Authorization } from "../../store/authorizations.ts";
import type { Client } from "../../store/clients.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import { tokenTypeOf } from "../../token/access-token.ts";
import { isOfEarlierClient, isStrongEnoughFor } from "../clients/clients.ts";
import type { OAuthContext } from "../context.ts";
import { grantedResources, hasLostResources } from "../resources.ts";
import { narrowedScope, permittedScope, scopeForResource, scopesOf } from "../scopes.ts";
import { readRefreshToken } from "../tokens/claims.ts";
import { isIdle } from "../tokens/idle-limit.ts";
import {
  issueAccessToken,
  issueIdToken,
  issueRefreshToken,
  repeatRefreshToken,
  type TokenResponse,
} from "../tokens/issuer.ts";
import type { Grant } from "./grant.ts";

/**
 * A refused refresh. Where the client authenticates the status is 400 (RFC 6749 section 5.2): its libraries read that as the end of the
 * token. Where it does not it is 401, which applications in browsers know to sign in again by. A client's `refresh_rejected_status` and
 * REFRESH_REJECTED_STATUS decide otherwise.
 */
export class RefreshRejected extends AuthError {
  readonly statusCode: 400 | 401;
  /** For the log alone: who has found a token learns nothing of it. */
  readonly reason: string;
  /** For the log too: whose authorization it is, where there is one. */
  readonly about: { readonly sub?: string; readonly sid?: string };

  constructor({ config }: OAuthContext, { metadata }: Client, reason: string, authorization?: Authorization) {
    super("refresh_rejected", "the refresh token is unknown, expired or revoked: sign in again");
    this.reason = reason;
    this.about = authorization === undefined ? {} : { sub: authorization.subject, sid: authorization.id };
    const byMethod = metadata.token_endpoint_auth_method === "none" ? 401 : 400;
    this.statusCode = metadata.refresh_rejected_status ?? config.refreshRejectedStatus ?? byMethod;
  }
}

/** Refresh (RFC 6749 section 6): checks the signature; the authorization's row decides the rest. */
export const refreshTokenGrant: Grant = async (ctx, { client, dpopJkt }, parameters) => {
  const arrivedAt = ctx.clock.now();
  const presented = parameters["refresh_token"];
  if (presented === undefined) throw new AuthError("invalid_request", "refresh_token is missing");
  const claims = await readRefreshToken(ctx, presented);
  if (claims === null) throw new RefreshRejected(ctx, client, "this service did not sign it, or its key is gone");
  if (claims.exp <= ctx.clock.seconds()) throw new RefreshRejected(ctx, client, "it has expired");
  const found = await ctx.store.authorizations.findWithUser(claims.sid);
  if (found === null) throw new RefreshRejected(ctx, client, "its authorization has ended and was removed");
  const { authorization, user } = found;
  const rejected = (reason: string) => new RefreshRejected(ctx, client, reason, authorization);
  if (!isLive(ctx, authorization)) throw rejected("its authorization was revoked or has expired");
  if (isOfEarlierClient(client, authorization))
    throw rejected("it is older than the client, which was removed and made again");
  if (claims.aud !== authorization.clientId) throw rejected("it names another client than its authorization");
  if (authorization.clientId !== client.clientId) {
    securityEvent(ctx, "refresh_token_of_other_client", { client_id: client.clientId, sid: authorization.id });
    throw rejected("it is another client's");
  }
  if (authorization.dpopJkt !== null && authorization.dpopJkt !== dpopJkt) {
    securityEvent(ctx, "refresh_token_with_other_key", { client_id: client.clientId, sid: authorization.id });
    throw rejected(
      dpopJkt === null
        ? "it is bound to a DPoP key, and the request has no proof"
        : "it is bound to another DPoP key than that of the proof",
    );
  }
  if (user === null || user.disabledAt !== null) throw rejected("its user is gone, closed or disabled");

  // the registration may demand more than it did when the user signed in
  if (!isStrongEnoughFor(client, authorization.methods)) {
    throw rejected("the client demands a stronger sign-in (require_acr) than the user gave");
  }
  if (isIdle(ctx, client, authorization)) throw rejected("it was not used for refresh_token_idle_ttl");
  // what was agreed to, and what the client may have now: never more than either
  const permitted = permittedScope(ctx, authorization, client);
  if (permitted === "") throw rejected("the client may have none of its scopes any more");
  if (hasLostResources(ctx, client, authorization.resource))
    throw rejected("the client may have none of its resources any more");
  const resource = grantedResources(ctx, client, authorization.resource, parameters["resource"]);
  const scope = scopeForResource(ctx, narrowedScope(permitted, parameters["scope"]), resource);
  // a refresh token bound to the client's authentication, whose access tokens are bound to a key, needs no rotation
  // (FAPI 2.0 section 5.3.2.1-9)
  const constrained = dpopJkt !== null && client.metadata.token_endpoint_auth_method !== "none";
  const isCurrent = claims.gen === authorization.generation;
  // a replaced token stays replaced, whatever the client's rotation setting is by now
  const keeps = isCurrent && (constrained || !client.metadata.refresh_token_rotation);
  // signed first: where no key signs, nothing has been replaced
  const accessToken = issueAccessToken(ctx, client, { ...authorization, resource }, user, scope, dpopJkt);
  // OpenID Connect Core section 12.2: the original auth_time, no nonce
  const idToken = scopesOf(scope).includes("openid")
    ? { id_token: issueIdToken(ctx, client, authorization, user, { accessToken, nonce: null }) }
    : {};
  const refreshToken = keeps
    ? presented
    : await rotate(ctx, client, authorization, { generation: claims.gen, arrivedAt });
  if (client.metadata.refresh_token_idle_ttl !== undefined) {
    await ctx.store.authorizations.touch(authorization.id, ctx.clock.now());
  }
  const response: TokenResponse = {
    access_token: accessToken,
    refresh_token: refreshToken,
    ...idToken,
    expires_in: ctx.config.accessTokenTtl,
    token_type: tokenTypeOf(dpopJkt),
    scope,
  };
  return response;
};

function isLive(ctx: OAuthContext, authorization: Authorization): boolean {
  return (
    authorization.revokedAt === null && authorization.refresh !== null && authorization.expiresAt > ctx.clock.now()
  );
}

/**
 * RFC 9700 section 4.14.2. The current token is replaced. A token replaced within the reuse window (a lost response, a second tab) gets
 * the current one again, byte for byte. An older one may be stolen, so its authorization is revoked.
 * @param presented arrivedAt: when the token came (epoch milliseconds); it may have waited for the database since
 * @throws AuthError refresh_rejected
 */
async function rotate(
  ctx: OAuthContext,
  client: Client,
  found: Authorization,
  { generation, arrivedAt }: { readonly generation: number; readonly arrivedAt: number },
): Promise<string> {
  let authorization = found;
  if (generation === authorization.generation) {
    const exp = Math.floor(authorization.expiresAt / 1000);
    const next = issueRefreshToken(ctx, authorization, generation + 1, exp);
    const outcome = await ctx.store.authorizations.rotateRefreshToken(
      authorization.id,
      generation,
      next.state,
      ctx.clock.now(),
    );
    if (outcome === "rotated") return next.token;
    const now = await ctx.store.authorizations.find(authorization.id);
    if (now === null || !isLive(ctx, now)) {
      throw new RefreshRejected(ctx, client, "its authorization was revoked while it was refreshed", found);
    }
    authorization = now;
  }
  const replacedAt = authorization.rotations.find(([number]) => number === generation)?.[1];
  const windowMs = client.metadata.refresh_token_reuse_window * 1000;
  if (replacedAt !== undefined && arrivedAt - replacedAt < windowMs) {
    const current = repeatRefreshToken(ctx, authorization);
    if (current !== null) return current;
    throw new RefreshRejected(ctx, client, "it was replaced, and the key that signed its successor is gone", found);
  }
  await ctx.store.authorizations.revoke(authorization.id, "refresh_token_reused", ctx.clock.now());
  securityEvent(ctx, "refresh_token_reused", { client_id: client.clientId, sid: authorization.id });
  throw new RefreshRejected(ctx, client, "it was replaced and used again: its authorization is revoked", found);
}
