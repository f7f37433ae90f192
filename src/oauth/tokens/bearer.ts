import { AuthError } from "../../errors.ts";
import type { User } from "../../store/users.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { AccessTokenClaims } from "../../token/access-token.ts";
import { getUser } from "../../users/users.ts";
import { findClient } from "../clients/clients.ts";
import type { OAuthContext } from "../context.ts";
import { readAccessToken } from "./claims.ts";
import { checkProof, needsNonce, type PresentedProof } from "./dpop.ts";
import { standingOf } from "./introspection.ts";

/**
 * Checks the Authorization header of a request to one of this service's own protected resources, by the gateway's table. Only
 * tokens for the client itself are accepted, not those for a resource (RFC 8707), unless they name this one as well. A token that is
 * bound to a key needs scheme DPoP and a proof, any other one Bearer (RFC 9449 section 7).
 * @param proof null: the request has none, or its protocol has no place for one
 * @param ownAudience by which a token for other resources may name this one; null: none
 * @throws AuthError unauthorized, invalid_token, token_expired, forbidden, invalid_dpop_proof, use_dpop_nonce
 */
export async function requireBearer(
  ctx: OAuthContext,
  authorization: string | null,
  requiredScope: string | null,
  proof: PresentedProof | null = null,
  ownAudience: string | null = null,
): Promise<AccessTokenClaims> {
  if (authorization === null) throw new AuthError("unauthorized", "an access token is required");
  const [, scheme, token] = /^(bearer|dpop) +([A-Za-z0-9\-._~+/]+=*)$/i.exec(authorization) ?? [];
  const known = token === undefined ? null : await readAccessToken(ctx, token);
  const claims = known?.claims ?? null;
  if (known === null || claims === null || !isForUs(claims, ownAudience)) {
    throw new AuthError("invalid_token", "not a valid access token for this resource");
  }
  const standing = await standingOf(ctx, known);
  if (standing === "revoked") throw new AuthError("invalid_token", "the access token was revoked");
  if (standing === "expired") throw new AuthError("token_expired", "the access token has expired");
  await requireBinding(ctx, claims, scheme?.toLowerCase() === "dpop" ? (token ?? "") : null, proof);
  if (requiredScope !== null && !claims.scope.split(" ").includes(requiredScope)) {
    throw new AuthError("forbidden", `scope ${requiredScope} is required`);
  }
  return claims;
}

function isForUs({ aud, client_id: clientId }: AccessTokenClaims, ownAudience: string | null): boolean {
  return aud === clientId || (ownAudience !== null && typeof aud !== "string" && aud.includes(ownAudience));
}

/** @param presented the token, where it came with scheme DPoP */
async function requireBinding(
  ctx: OAuthContext,
  claims: AccessTokenClaims,
  presented: string | null,
  proof: PresentedProof | null,
): Promise<void> {
  if (claims.cnf === undefined && presented === null) return;
  if (claims.cnf === undefined)
    throw new AuthError("invalid_token", "the access token is not bound to a key: send it as Bearer");
  // a valid token that is used without its key may be stolen
  const misused = { client_id: claims.client_id, sid: claims.sid };
  if (presented === null || proof === null) {
    securityEvent(ctx, "bound_token_without_proof", misused);
    throw new AuthError("invalid_token", "the access token is bound to a key: send it as DPoP with a proof");
  }
  const client = await findClient(ctx, claims.client_id);
  const nonce = client !== null && needsNonce(client);
  if ((await checkProof(ctx, proof, { accessToken: presented, nonce })) === claims.cnf.jkt) return;
  securityEvent(ctx, "bound_token_with_other_key", misused);
  throw new AuthError("invalid_token", "the access token is bound to another key");
}

/** The user that an access token speaks for. @throws AuthError invalid_token: it is a client's own, or the user is gone */
export async function ownerOf(ctx: OAuthContext, sub: string): Promise<User> {
  return getUser(ctx, sub).catch((error: unknown) => {
    const isUnknown = error instanceof AuthError && error.code === "not_found";
    throw isUnknown ? new AuthError("invalid_token", "not a token of a user") : error;
  });
}
