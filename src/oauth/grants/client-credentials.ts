import { randomUUID } from "node:crypto";
import { AuthError } from "../../errors.ts";
import type { Authorization } from "../../store/authorizations.ts";
import { tokenTypeOf } from "../../token/access-token.ts";
import { askedScopes, readResources } from "../resources.ts";
import { scopesOfClient } from "../scopes.ts";
import { issueAccessToken } from "../tokens/issuer.ts";
import type { Grant } from "./grant.ts";

/**
 * How long the authorization of a client's own tokens lives (milliseconds): longer than any of them. It ends with the client's secret;
 * that of a client with keys ends only when it is revoked.
 */
const standingMs = 100 * 365 * 86_400_000;

/** Client credentials (RFC 6749 section 4.4): a client acts for itself. */
export const clientCredentialsGrant: Grant = async (ctx, { client, secret, dpopJkt }, parameters) => {
  if (client.metadata.token_endpoint_auth_method === "none") {
    throw new AuthError("unauthorized_client", "client_credentials requires client authentication");
  }
  // no user signs in: a client that has `openid` for its users gets all others where it names none
  const allowed = scopesOfClient(ctx, client).filter((scope) => scope !== "openid");
  const asked = askedScopes(ctx, client, allowed, parameters);
  const refused = asked.filter((scope) => !allowed.includes(scope));
  if (refused.length > 0) {
    throw new AuthError("invalid_scope", "the client may not request one of these scopes");
  }
  const resource = readResources(ctx, client, parameters["resource"], asked);
  const now = ctx.clock.now();
  const fresh: Authorization = {
    id: randomUUID(),
    grantType: "client_credentials",
    clientId: client.clientId,
    subject: client.clientId,
    sessionHash: null,
    scope: client.metadata.scope,
    resource: null,
    nonce: null,
    claims: null,
    dpopJkt: null,
    authTime: null,
    methods: [],
    acr: null,
    ipAddress: "",
    userAgent: "",
    createdAt: now,
    expiresAt: now + standingMs,
    lastUsedAt: null,
    userEpoch: null,
    clientEpoch: client.epoch,
    revokedAt: null,
    refresh: null,
    generation: 0,
    rotations: [],
  };
  const known = secret?.authorizationId ?? null;
  const isLive = known !== null && !ctx.feed.revoked.isAuthorizationRevoked(known);
  const sid = isLive ? known : await ctx.store.clients.standingAuthorization(secret?.id ?? null, fresh, now);
  const scope = asked.join(" ");
  const authorization = {
    id: sid,
    subject: client.clientId,
    resource,
    userEpoch: null,
    clientEpoch: client.epoch,
    authTime: null,
    methods: [],
    acr: null,
  };
  return {
    access_token: issueAccessToken(ctx, client, authorization, null, scope, dpopJkt),
    expires_in: ctx.config.accessTokenTtl,
    token_type: tokenTypeOf(dpopJkt),
    scope,
  };
};
