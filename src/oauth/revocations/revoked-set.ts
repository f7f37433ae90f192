import type { Revocation, RevocationKind } from "../../store/revocations.ts";

/**
 * A client's `revokedAt` and a token's `iat` may come from replicas whose clocks differ a little, and `iat` counts whole seconds. A
 * client that is disabled and enabled again has the tokens of this time after its disabling refused too (milliseconds).
 */
const issueToleranceMs = 2_000;

/** The claims by which a token may be revoked. */
export interface Revocable {
  readonly jti: string;
  readonly sid: string;
  readonly sub: string;
  readonly client_id: string;
  /** Seconds. */
  readonly iat: number;
  /** The tokens it was exchanged from: a revocation of one of them concerns it too. */
  readonly exchanged_from?: readonly { readonly jti: string; readonly client_id: string }[];
}

/** A revocation to forget at `until`, by the monotonic clock: a wrong wall clock forgets nothing early. */
type Kept = Revocation & { readonly until: number };

/** What is revoked, in memory: every unexpired revocation, by its kind and value. The feed's tail fills it. */
export class RevokedSet {
  readonly #byKind: Record<RevocationKind, Map<string, Kept>> = {
    token: new Map(),
    authorization: new Map(),
    subject: new Map(),
    client: new Map(),
    key: new Map(),
    client_changed: new Map(),
  };
  readonly #clientListeners = new Set<(clientId: string | null) => void>();
  readonly #keyListeners = new Set<(kid: string) => void>();

  /** Call only while the feed's tail is fresh. */
  isRevoked(claims: Revocable): boolean {
    const { token, authorization, subject } = this.#byKind;
    if (token.has(claims.jti) || authorization.has(claims.sid) || subject.has(claims.sub)) return true;
    if (claims.exchanged_from !== undefined) {
      for (const { jti, client_id } of claims.exchanged_from) {
        if (token.has(jti) || this.#isClientRevoked(client_id, claims.iat)) return true;
      }
    }
    return this.#isClientRevoked(claims.client_id, claims.iat);
  }

  #isClientRevoked(clientId: string, iat: number): boolean {
    const { client } = this.#byKind;
    const disabled = client.size === 0 ? undefined : client.get(clientId);
    return disabled !== undefined && iat * 1000 <= disabled.revokedAt + issueToleranceMs;
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
    if (known === undefined || known.revokedAt < revocation.revokedAt) {
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
