import { createHash, randomUUID } from "node:crypto";
import type { Context } from "../../context.ts";
import { AuthError } from "../../errors.ts";
import { userLogin } from "../../events.ts";
import { hashOf } from "../../hashes.ts";
import type { Authorization, AuthorizationCode } from "../../store.ts";
import { securityEvent } from "../../telemetry.ts";
import { scopesOf } from "../clients.ts";
import type { Grant } from "../token.ts";
import { issueAccessToken, issueIdToken, issueRefreshToken, type TokenResponse, tokenTypeOf } from "../token-issuer.ts";

/** A second use this soon after the first is a double click or a retry: refused, but nobody is robbed (milliseconds). */
const doubleSubmitMs = 2_000;

const refused = () =>
  new AuthError("invalid_grant", "the code is unknown, expired, used, or was issued to another client");

/** Authorization code with PKCE (RFC 6749 section 4.1.3, RFC 7636 section 4.6). */
export const authorizationCodeGrant: Grant = async (ctx, { client, dpopJkt }, parameters) => {
  const { code: presented, redirect_uri: redirectUri, code_verifier: verifier } = parameters;
  if (presented === undefined) throw new AuthError("invalid_request", "code is missing");
  if (verifier === undefined) throw new AuthError("invalid_request", "code_verifier is missing");
  if (!/^[A-Za-z0-9\-._~]{43,128}$/.test(verifier)) {
    throw new AuthError("invalid_request", "code_verifier must be 43 to 128 characters of A-Z a-z 0-9 - . _ ~");
  }
  const codeHash = hashOf(presented);
  const code = await ctx.store.authorizations.findCode(codeHash);
  if (code === null || code.clientId !== client.clientId) throw refused();
  // PKCE binds the code to its request: leaving the URI out is OAuth 2.1 section 4.1.3, a different one is refused
  if (redirectUri !== undefined && redirectUri !== code.redirectUri) throw refused();
  // RFC 9700 section 4.8.2: a verifier proves nothing where no challenge was made
  if (code.codeChallenge === "")
    throw new AuthError("invalid_request", "the code was asked for without code_challenge");
  if (createHash("sha256").update(verifier).digest("base64url") !== code.codeChallenge) {
    await ctx.store.authorizations.countWrongVerifier(codeHash, ctx.clock.now());
    throw refused();
  }
  if (code.dpopJkt !== null && code.dpopJkt !== dpopJkt) throw refused();
  if (code.redeemedAt !== null) throw await replayed(ctx, code);
  if (code.revokedAt !== null || code.expiresAt <= ctx.clock.now()) throw refused();

  const user = await ctx.store.users.find(code.userId);
  if (user === null || user.disabledAt !== null) throw refused();
  const now = ctx.clock.now();
  const sid = randomUUID();
  const exp = ctx.clock.seconds() + ctx.config.refreshTokenTtl;
  const identity = { id: sid, subject: user.uuid, clientId: client.clientId, resource: code.resource };
  const refresh = client.metadata.grant_types.includes("refresh_token")
    ? issueRefreshToken(ctx, identity, 0, exp)
    : null;
  const authorization: Authorization = {
    ...identity,
    grantType: "authorization_code",
    sessionHash: code.sessionHash,
    scope: code.scope,
    nonce: code.nonce,
    claims: code.claims,
    // a client that authenticates is bound by that (RFC 9449 section 5)
    dpopJkt: client.metadata.token_endpoint_auth_method === "none" ? dpopJkt : null,
    authTime: code.authTime,
    ipAddress: code.ipAddress,
    userAgent: code.userAgent,
    createdAt: now,
    expiresAt: refresh === null ? now + ctx.config.accessTokenTtl * 1000 : exp * 1000,
    lastUsedAt: null,
    revokedAt: null,
    refresh: refresh?.state ?? null,
    generation: 0,
    rotations: [],
  };
  const accessToken = issueAccessToken(ctx, client, authorization, user, code.scope, dpopJkt);
  const response: TokenResponse = {
    access_token: accessToken,
    ...(refresh === null ? {} : { refresh_token: refresh.token }),
    ...(scopesOf(code.scope).includes("openid")
      ? { id_token: issueIdToken(ctx, client, authorization, user, { accessToken, nonce: code.nonce }) }
      : {}),
    expires_in: ctx.config.accessTokenTtl,
    token_type: tokenTypeOf(dpopJkt),
    scope: code.scope,
  };
  // everything is signed before the transaction: it decides who wins and holds the row no longer than that
  const event = userLogin(user, { ipAddress: code.ipAddress, userAgent: code.userAgent }, now);
  const redemption = { attemptId: randomUUID(), authorization, event };
  const outcome = await ctx.store.authorizations.redeemCode(codeHash, redemption, now);
  if (outcome === "replayed") {
    const used = await ctx.store.authorizations.findCode(codeHash);
    throw used === null ? refused() : await replayed(ctx, used);
  }
  if (outcome === "refused") throw refused();
  return response;
};

/** RFC 6749 section 4.1.2: a code used twice takes with it what its first use gave. A transaction of its own, then refused. */
async function replayed(ctx: Context, code: AuthorizationCode): Promise<AuthError> {
  const now = ctx.clock.now();
  if (code.redeemedAt !== null && code.authorizationId !== null && now - code.redeemedAt > doubleSubmitMs) {
    await ctx.store.authorizations.revoke(code.authorizationId, "code_replayed", now);
    securityEvent(ctx, "code_replayed", { client_id: code.clientId, sid: code.authorizationId });
  }
  return refused();
}
