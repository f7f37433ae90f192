import type { AccessTokenClaims } from "./access-token.ts";

/** What an access token can be revoked by: its jti, sid, sub, client_id, or the key that signed it. */
export type RevokedBy = "token" | "authorization" | "subject" | "client" | "key";

/** All revocations that are known, by kind and value. `revokedAt` in milliseconds since 1970. */
export type KnownRevocations = Readonly<Record<RevokedBy, ReadonlyMap<string, { readonly revokedAt: number }>>>;

/**
 * Milliseconds. A client's `revokedAt` and a token's `iat` may come from replicas whose clocks differ a little, and `iat` counts
 * whole seconds. Tokens that a client gets within this time after it was disabled, being enabled again, are refused too.
 */
const issueTolerance = 2_000;

/**
 * Does one of these revocations concern this token? One of a token that it was exchanged from does. A client's revocation ends
 * only tokens issued before it: a client can be enabled again.
 * @param kid of the key that signed the token
 */
export function isRevoked(known: KnownRevocations, claims: AccessTokenClaims, kid: string): boolean {
  const { token, authorization, subject, key } = known;
  if (token.has(claims.jti) || authorization.has(claims.sid) || subject.has(claims.sub) || key.has(kid)) return true;
  if (claims.exchanged_from !== undefined) {
    for (const from of claims.exchanged_from) {
      if (token.has(from.jti) || key.has(from.kid) || isClientRevoked(known, from.client_id, claims.iat)) return true;
    }
  }
  return isClientRevoked(known, claims.client_id, claims.iat);
}

function isClientRevoked({ client }: KnownRevocations, clientId: string, iat: number): boolean {
  const disabled = client.size === 0 ? undefined : client.get(clientId);
  return disabled !== undefined && iat * 1000 <= disabled.revokedAt + issueTolerance;
}
