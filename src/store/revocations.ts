/**
 * What a feed row tells of, its `value` being: a `jti`; a `sid`; a `sub` that was deleted; a `client_id` (tokens issued before it
 * was disabled); a distrusted `kid`; a `client_id` of which something else changed, which revokes nothing.
 */
export type RevocationKind = "token" | "authorization" | "subject" | "client" | "key" | "client_changed";

export interface Revocation {
  readonly kind: RevocationKind;
  readonly value: string;
  readonly revokedAt: number;
  /** Nobody needs it any more: every token it applies to has expired everywhere. */
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
}
