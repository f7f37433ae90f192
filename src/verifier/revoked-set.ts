import type { AccessTokenClaims } from "../token/access-token.ts";
import { isLater, isRevoked, type KnownRevocation, noRevocations, type RevokedBy } from "../token/revokes.ts";

interface Entry extends KnownRevocation {
  /** `performance.now()` after which it concerns no token. Monotonic, so a change of the wall clock forgets nothing early. */
  readonly until: number;
}

/** Milliseconds between two removals of old entries. */
const sweepEvery = 10_000;

/** The revocations that the stream sent. Entries are merged and removed only at their own end. */
export class RevokedSet {
  readonly #entries: Readonly<Record<RevokedBy, Map<string, Entry>>> = noRevocations();
  #sweptAt = 0;
  /** Increases with every entry that is new or later than the known one. */
  revision = 0;

  get size(): number {
    return Object.values(this.#entries).reduce((sum, { size }) => sum + size, 0);
  }

  /** @param lastsMs milliseconds for which the tokens that it concerns may live, counted from now */
  add(kind: RevokedBy, value: string, revocation: KnownRevocation, lastsMs: number): void {
    const until = performance.now() + lastsMs;
    const known = this.#entries[kind].get(value);
    if (known !== undefined && !isLater(revocation, known)) {
      if (known.until < until) this.#entries[kind].set(value, { ...known, until });
      return;
    }
    this.#entries[kind].set(value, { ...revocation, until: Math.max(until, known?.until ?? 0) });
    this.revision++;
  }

  /** Does a known revocation concern this token? @param kid of the key that signed it */
  has(claims: AccessTokenClaims, kid: string): boolean {
    return isRevoked(this.#entries, claims, kid);
  }

  /** Removes the entries that concern no token any more. */
  sweep(): void {
    const now = performance.now();
    if (now - this.#sweptAt < sweepEvery) return;
    this.#sweptAt = now;
    for (const map of Object.values(this.#entries)) {
      for (const [value, { until }] of map) if (until < now) map.delete(value);
    }
  }
}
