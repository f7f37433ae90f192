import type { AccessTokenClaims } from "./access-token.ts";

/** What an access token can be revoked by: its jti, sid, sub with its epoch, sub, client_id with its epoch, or the key that signed it. */
export type RevokedBy = "token" | "authorization" | "user" | "subject" | "client" | "key";

export interface KnownRevocation {
  /** Milliseconds since 1970. */
  readonly revokedAt: number;
  /** Of kinds `user` and `client`: the epoch that it is at since. Null of others, and where a release before client epochs wrote it. */
  readonly epoch: number | null;
}

/** All revocations that are known, by kind and value. */
export type KnownRevocations = Readonly<Record<RevokedBy, ReadonlyMap<string, KnownRevocation>>>;

/** A map for each kind, all empty. */
export function noRevocations<Kept extends KnownRevocation>(): Record<RevokedBy, Map<string, Kept>> {
  return {
    token: new Map(),
    authorization: new Map(),
    user: new Map(),
    subject: new Map(),
    client: new Map(),
    key: new Map(),
  };
}

/** Does a revocation replace an earlier one of the same kind and value? */
export function isLater(revocation: KnownRevocation, known: KnownRevocation): boolean {
  if (revocation.epoch !== null && known.epoch !== null) return revocation.epoch > known.epoch;
  return revocation.revokedAt > known.revokedAt;
}

/**
 * Milliseconds. Of tokens and revocations without the client's epoch: `revokedAt` and `iat` may come from replicas whose clocks differ
 * a little, and `iat` counts whole seconds.
 */
const issueTolerance = 2_000;

/**
 * Does one of these revocations concern this token? One of a token that it was exchanged from does. A client's revocation ends
 * only tokens of earlier epochs: a client can be enabled again.
 * @param kid of the key that signed the token
 */
export function isRevoked(known: KnownRevocations, claims: AccessTokenClaims, kid: string): boolean {
  const { token, authorization, subject, key } = known;
  if (token.has(claims.jti) || authorization.has(claims.sid) || subject.has(claims.sub) || key.has(kid)) return true;
  if (isOfEarlierEpoch(known, claims)) return true;
  if (claims.exchanged_from !== undefined) {
    for (const from of claims.exchanged_from) {
      if (token.has(from.jti) || key.has(from.kid) || isClientRevoked(known, from, claims.iat)) return true;
    }
  }
  return isClientRevoked(known, claims, claims.iat);
}

/** Epochs are compared exactly. A token without one is from a release that had none: there its time of issue decides. */
function isOfEarlierEpoch({ user }: KnownRevocations, { sub, epoch, iat }: AccessTokenClaims): boolean {
  const ended = user.size === 0 ? undefined : user.get(sub);
  if (ended === undefined || ended.epoch === null) return false;
  return epoch === undefined ? iat * 1000 <= ended.revokedAt : epoch < ended.epoch;
}

/** As with the epochs of users. @param iat seconds since 1970, of the token, or of the one that it was exchanged for */
function isClientRevoked(
  { client }: KnownRevocations,
  { client_id, client_epoch }: Pick<AccessTokenClaims, "client_id" | "client_epoch">,
  iat: number,
): boolean {
  const ended = client.size === 0 ? undefined : client.get(client_id);
  if (ended === undefined) return false;
  if (client_epoch !== undefined && ended.epoch !== null) return client_epoch < ended.epoch;
  return iat * 1000 <= ended.revokedAt + issueTolerance;
}
