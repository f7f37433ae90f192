import type { VerifiedClaims } from "./decision.ts";

export type RevokedBy = "token" | "authorization" | "subject" | "client" | "key";

interface Entry {
  /** Milliseconds since 1970, as the next. */
  readonly revokedAt: number;
  readonly expiresAt: number;
}

/**
 * Milliseconds. A client's `revoked_at` and a token's `iat` may come from replicas whose clocks differ a little, and `iat` counts
 * whole seconds: so long after being disabled and enabled again a client's new tokens are refused too.
 */
const issueTolerance = 2_000;
/** Milliseconds of the issuer's time between two looks for what may be forgotten. */
const sweepEvery = 10_000;

const none: NonNullable<VerifiedClaims["exchanged_from"]> = [];

/** What the stream told. Entries are merged and never taken back: each ends by its own time. */
export class RevokedSet {
  readonly #entries: Readonly<Record<RevokedBy, Map<string, Entry>>> = {
    token: new Map(),
    authorization: new Map(),
    subject: new Map(),
    client: new Map(),
    key: new Map(),
  };
  #sweptAt = 0;
  /** Grows with every entry that says something new. */
  revision = 0;

  get size(): number {
    return Object.values(this.#entries).reduce((sum, { size }) => sum + size, 0);
  }

  add(kind: RevokedBy, value: string, revokedAt: number, expiresAt: number): void {
    const known = this.#entries[kind].get(value);
    if (known !== undefined && known.revokedAt >= revokedAt && known.expiresAt >= expiresAt) return;
    this.#entries[kind].set(value, {
      revokedAt: Math.max(revokedAt, known?.revokedAt ?? 0),
      expiresAt: Math.max(expiresAt, known?.expiresAt ?? 0),
    });
    this.revision++;
  }

  has(claims: VerifiedClaims, kid: string): boolean {
    const { token, authorization, subject, key } = this.#entries;
    if (token.has(claims.jti) || authorization.has(claims.sid) || subject.has(claims.sub) || key.has(kid)) return true;
    for (const from of claims.exchanged_from ?? none) {
      if (token.has(from.jti) || key.has(from.kid) || this.#isClientRevoked(from.client_id, claims.iat)) return true;
    }
    return this.#isClientRevoked(claims.client_id, claims.iat);
  }

  #isClientRevoked(clientId: string, iat: number): boolean {
    const disabled = this.#entries.client.get(clientId);
    return disabled !== undefined && iat * 1000 <= disabled.revokedAt + issueTolerance;
  }

  /** Forgets what applies to no token any more. @param now the issuer's time, milliseconds since 1970 */
  sweep(now: number): void {
    if (now - this.#sweptAt < sweepEvery) return;
    this.#sweptAt = now;
    for (const map of Object.values(this.#entries)) {
      for (const [value, { expiresAt }] of map) if (expiresAt < now) map.delete(value);
    }
  }
}
