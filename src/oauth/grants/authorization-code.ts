import { hash } from "node:crypto";
import { hashOf } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import type { AuthorizationCode } from "../../store/authorizations.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import { isUsableRedirectUri } from "../authorization/request.ts";
import { isOfEarlierClient } from "../clients/clients.ts";
import type { OAuthContext } from "../context.ts";
import { firstTokens } from "./first-tokens.ts";
import type { Grant } from "./grant.ts";

/** A second use this soon after the first is a double click or a retry: it is refused, but revokes nothing (milliseconds). */
const doubleSubmitMs = 2_000;

const refused = (reason = "the code is unknown, expired, used, or was issued to another client") =>
  new AuthError("invalid_grant", reason);

/** Authorization code with PKCE (RFC 6749 section 4.1.3, RFC 7636 section 4.6). */
export const authorizationCodeGrant: Grant = async (ctx, grantee, parameters) => {
  const arrivedAt = ctx.clock.now();
  const { client, dpopJkt } = grantee;
  const { code: presented, redirect_uri: redirectUri, code_verifier: verifier } = parameters;
  if (presented === undefined) throw new AuthError("invalid_request", "code is missing");
  // where PKCE is required, a missing verifier counts as a wrong one (RFC 7636 section 4.6)
  if (verifier === undefined && client.metadata.require_pkce) {
    throw new AuthError("invalid_grant", "code_verifier is missing");
  }
  if (verifier !== undefined && !/^[A-Za-z0-9\-._~]{43,128}$/.test(verifier)) {
    throw new AuthError("invalid_request", "code_verifier must be 43 to 128 characters of A-Z a-z 0-9 - . _ ~");
  }
  const codeHash = hashOf(presented);
  const found = await ctx.store.authorizations.findCodeWithUser(codeHash);
  if (found === null || found.code.clientId !== client.clientId || isOfEarlierClient(client, found.code))
    throw refused();
  const { code, user } = found;
  // with PKCE, which binds the code to its request, the URI may be omitted (OAuth 2.1 section 4.1.3), but not differ
  const bound = code.codeChallenge !== "";
  if (redirectUri === undefined ? !bound : redirectUri !== code.redirectUri) {
    throw refused("redirect_uri is not the one of the authorization request");
  }
  if (!isUsableRedirectUri(ctx, client.metadata.redirect_uris, code.redirectUri)) {
    throw refused("the redirect_uri of the authorization request is no longer registered");
  }
  // RFC 9700 section 4.8.2: refuse a verifier for a code that was requested without a challenge
  if (!bound && verifier !== undefined)
    throw new AuthError("invalid_request", "the code was requested without code_challenge");
  if (!bound && client.metadata.require_pkce) throw refused();
  if (bound && hashOfVerifier(verifier) !== code.codeChallenge) {
    await ctx.store.authorizations.countWrongVerifier(codeHash, ctx.clock.now());
    throw refused("code_verifier does not fit the code_challenge of the authorization request");
  }
  if (code.dpopJkt !== null && code.dpopJkt !== dpopJkt) throw refused("the code is bound to another DPoP key");
  if (code.redeemedAt !== null) throw await replayed(ctx, code, arrivedAt);
  if (code.revokedAt !== null || code.expiresAt <= ctx.clock.now()) throw refused();

  if (user === null || user.disabledAt !== null) throw refused();
  const { sessionHash, scope, resource, nonce, claims, authTime, methods, acr, ipAddress, userAgent } = code;
  const from = { ipAddress, userAgent, clientEpoch: code.clientEpoch };
  const allowed = { sessionHash, scope, resource, nonce, claims, authTime, methods, acr, ...from };
  const { redemption, response } = firstTokens(
    ctx,
    grantee,
    user,
    { grantType: "authorization_code", ...allowed },
    parameters["resource"],
  );
  const outcome = await ctx.store.authorizations.redeemCode(codeHash, redemption, ctx.clock.now());
  if (outcome === "replayed") {
    const used = await ctx.store.authorizations.findCode(codeHash);
    throw used === null ? refused() : await replayed(ctx, used, arrivedAt);
  }
  if (outcome === "refused") throw refused();
  return response;
};

/** RFC 7636 section 4.6. */
function hashOfVerifier(verifier: string | undefined): string | null {
  return verifier === undefined ? null : hash("sha256", verifier, "base64url");
}

/**
 * RFC 6749 section 4.1.2: the second use of a code revokes the tokens of the first, in a transaction of its own, and is refused.
 * @param arrivedAt of the second use (epoch milliseconds): both may have waited for the database since
 */
async function replayed(ctx: OAuthContext, code: AuthorizationCode, arrivedAt: number): Promise<AuthError> {
  if (code.redeemedAt !== null && code.authorizationId !== null && arrivedAt - code.redeemedAt > doubleSubmitMs) {
    await ctx.store.authorizations.revoke(code.authorizationId, "code_replayed", ctx.clock.now());
    securityEvent(ctx, "code_replayed", { client_id: code.clientId, sid: code.authorizationId });
  }
  return refused();
}
