/**
 * What a feed row tells of, its `value` being: a `jti`; a `sid`; a `sub` whose tokens of an epoch below `epoch` are revoked; a `sub` that
 * was deleted; a `client_id` whose tokens of an epoch below `epoch` are revoked; a distrusted `kid`; a `client_id` of which something
 * else changed, which revokes nothing.
 */
export type RevocationKind = "token" | "authorization" | "user" | "subject" | "client" | "key" | "client_changed";

export interface Revocation {
  readonly kind: RevocationKind;
  readonly value: string;
  /** Of kinds `user` and `client`: the new epoch; null of others, and of a client that a release before client epochs disabled. */
  readonly epoch: number | null;
  readonly revokedAt: number;
  /** From then on every token it applies to has expired, and it may be deleted. */
  readonly expiresAt: number;
}

export interface StoredRevocation extends Revocation {
  /** Rises, but becomes visible out of order: up to the longest transaction later than a higher one. */
  readonly id: number;
}

/** Milliseconds from a feed row's id to its commit, at the most: no transaction may take longer. */
export const LONGEST_TRANSACTION_MS = 5_000;

export interface RevocationStore {
  /** Committed rows above an id, by id, unexpired ones only. */
  after(id: number, limit: number, now: number): Promise<StoredRevocation[]>;
  /** Called after every local commit that wrote rows, before its caller is answered. Returns the way to stop it. */
  onAppend(listener: (revocations: readonly Revocation[]) => void): () => void;
  /**
   * Says that access tokens of this lifetime may be issued from now on, by a process that says so again at least once a day: no
   * revocation is forgotten while a token of any lifetime that was declared could still be good, whichever replica writes it.
   * @param lifetime milliseconds
   */
  declareLifetime(lifetime: number, now: number): Promise<void>;
}
