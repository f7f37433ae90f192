import type { AccessTokenClaims } from "../token/access-token.ts";
import { isRevoked, type RevokedBy } from "../token/revokes.ts";

interface Entry {
  /** Milliseconds since 1970. */
  readonly revokedAt: number;
  /** `performance.now()` from which on it applies to no token: a clock that is set, here or there, forgets nothing early. */
  readonly until: number;
}

/** Milliseconds between two looks for what may be forgotten. */
const sweepEvery = 10_000;

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

  /** Does a known revocation concern this token? @param kid of the key that signed it */
  has(claims: AccessTokenClaims, kid: string): boolean {
    return isRevoked(this.#entries, claims, kid);
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
