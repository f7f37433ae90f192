import type { Revocation, RevocationKind } from "../../store/revocations.ts";
import type { AccessTokenClaims } from "../../token/access-token.ts";
import { isLater, isRevoked, noRevocations } from "../../token/revokes.ts";

/** A revocation to forget at `until`, by the monotonic clock: a wrong wall clock forgets nothing early. */
type Kept = Revocation & { readonly until: number };

/** What is revoked, in memory: every unexpired revocation, by its kind and value. The feed's tail fills it. */
export class RevokedSet {
  readonly #byKind: Record<RevocationKind, Map<string, Kept>> = { ...noRevocations(), client_changed: new Map() };
  readonly #clientListeners = new Set<(clientId: string | null) => void>();
  readonly #keyListeners = new Set<(kid: string) => void>();

  /** Call only while the feed's tail is fresh. @param kid of the key that signed the token */
  isRevoked(claims: AccessTokenClaims, kid: string): boolean {
    return isRevoked(this.#byKind, claims, kid);
  }

  isAuthorizationRevoked(sid: string): boolean {
    return this.#byKind.authorization.has(sid);
  }

  /** Calls the listener when something about a client changed, on any replica; with null when any client may have changed. */
  onClientChange(listener: (clientId: string | null) => void): void {
    this.#clientListeners.add(listener);
  }

  /** Calls the listener for each distrusted key in the set now, and for each one that is added, by any replica. */
  onKeyDistrusted(listener: (kid: string) => void): void {
    this.#keyListeners.add(listener);
    for (const kid of this.#byKind.key.keys()) listener(kid);
  }

  /** @param knownAt when it became known here, by `performance.now()` */
  add(revocation: Revocation, knownAt: number): void {
    const { kind, value } = revocation;
    const known = this.#byKind[kind].get(value);
    if (known === undefined || isLater(revocation, known)) {
      // a later one goes to the end, so that the map stays ordered by age
      if (known !== undefined) this.#byKind[kind].delete(value);
      this.#byKind[kind].set(value, { ...revocation, until: forgottenAt(revocation, knownAt) });
    }
    if (kind === "key" && known === undefined) for (const listener of this.#keyListeners) listener(value);
    if (kind === "client" || kind === "client_changed") {
      for (const listener of this.#clientListeners) listener(value);
    }
  }

  /** Tells the client listeners that any client may have changed: the feed was not read for longer than it keeps such rows. */
  missedClientChanges(): void {
    for (const listener of this.#clientListeners) listener(null);
  }

  /** Forgets what has expired. @param now `performance.now()` */
  forget(now: number): void {
    for (const map of Object.values(this.#byKind)) {
      for (const [value, { until }] of map) {
        if (until > now) break;
        map.delete(value);
      }
    }
  }
}

/**
 * When a revocation is forgotten: it is kept for as long as its writer wanted, from when it became known here.
 * @param knownAt by `performance.now()`, as the result
 */
export function forgottenAt({ revokedAt, expiresAt }: Revocation, knownAt: number): number {
  return knownAt + expiresAt - revokedAt;
}
