import type { VerifiedClaims } from "./decision.ts";

export type RevokedBy = "token" | "authorization" | "subject" | "client" | "key";

interface Entry {
  /** Milliseconds since 1970. */
  readonly revokedAt: number;
  /** `performance.now()` from which on it applies to no token: a clock that is set, here or there, forgets nothing early. */
  readonly until: number;
}

/**
 * Milliseconds. A client's `revoked_at` and a token's `iat` may come from replicas whose clocks differ a little, and `iat` counts
 * whole seconds: so long after being disabled and enabled again a client's new tokens are refused too.
 */
const issueTolerance = 2_000;
/** Milliseconds between two looks for what may be forgotten. */
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

  /** @param lastsMs how long after the revocation tokens it applies to may live; counted from when it became known here */
  add(kind: RevokedBy, value: string, revokedAt: number, lastsMs: number): void {
    const until = performance.now() + lastsMs;
    const known = this.#entries[kind].get(value);
    if (known !== undefined && known.revokedAt >= revokedAt) {
      if (known.until < until) this.#entries[kind].set(value, { ...known, until });
      return;
    }
    this.#entries[kind].set(value, { revokedAt, until: Math.max(until, known?.until ?? 0) });
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

  /** Forgets what applies to no token any more. */
  sweep(): void {
    const now = performance.now();
    if (now - this.#sweptAt < sweepEvery) return;
    this.#sweptAt = now;
    for (const map of Object.values(this.#entries)) {
      for (const [value, { until }] of map) if (until < now) map.delete(value);
    }
  }
}
