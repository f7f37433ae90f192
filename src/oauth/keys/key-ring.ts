import { createPrivateKey, createPublicKey, generateKeyPair, type JsonWebKey, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { calculateJwkThumbprint, type JWK } from "jose";
import type { Clock } from "../../clock.ts";
import type { Sealer } from "../../crypto/sealing.ts";
import { AuthError, StartRefused } from "../../errors.ts";
import type { KeyStore, KeyUse, StoredKey } from "../../store/keys.ts";
import { LONGEST_SESSION_MS } from "../../store/sessions.ts";
import type { Logger } from "../../telemetry/log.ts";
import { type JwsHeader, type ParsedJws, signJws, verifyByPrivateKey, verifyJws } from "../../token/jws.ts";

type Alg = StoredKey["alg"];

/** Within this time every replica knows a key that another one added (milliseconds). */
export const KEY_RELOAD_MS = 5_000;
/** A key that a replica cannot open is put off by this time, again and again: the other replicas know it long before (milliseconds). */
const putOffMs = 60_000;
/** Unknown kids cause a reload at most this often (milliseconds). */
const lookupMs = 1_000;
/** Keys stay published for this much longer, for verifiers whose clocks are behind (milliseconds). */
const skewMs = 60_000;
/**
 * The longest lifetime that a token signed by a key may be configured to have (milliseconds): the key is good for so long after the next
 * one began, whatever any replica is configured with now.
 */
const longestTokenMs: Readonly<Record<KeyUse, number>> = { access: 86_400_000, refresh: 31_536_000_000 };
/** For so long a retired key verifies ID tokens that are sent as a hint: as long as the browser session may live. */
const hintMs = LONGEST_SESSION_MS;
/** Signatures verified before other work has its turn: some 4 ms. */
const verifiedInTurn = 32;

const kinds: readonly { use: KeyUse; alg: Alg }[] = [
  { use: "access", alg: "ES256" },
  { use: "access", alg: "RS256" },
  { use: "refresh", alg: "EdDSA" },
];

interface RingKey extends StoredKey {
  /** When the next generation began to sign (epoch milliseconds); infinite while there is none. */
  retiredAt: number;
  readonly publicKey: KeyObject;
  readonly jwk: JWK;
  /** Unsealed when it first signs. */
  privateKey: KeyObject | null;
}

export type KeyState = "pending" | "active" | "retired" | "distrusted";

/**
 * The signing keys of all replicas, read from the store. A key's state follows from times alone: of each use and algorithm
 * the newest key whose `activeFrom` has passed signs; older ones stay published until their last token expires.
 */
export class KeyRing {
  readonly #store: KeyStore;
  readonly #clock: Clock;
  readonly #sealer: Sealer;
  readonly #log: Logger;
  #keys = new Map<string, RingKey>();
  #loadedAt = Number.NEGATIVE_INFINITY;
  /** Keys that were said to be sealed under a KEY_ENCRYPTION_KEY that is not here. */
  readonly #unopened = new Set<string>();
  #reloaded: Promise<void> = Promise.resolve();
  /** The newest reload that an unknown kid caused. */
  #lookup: { readonly at: number; readonly done: Promise<void> } = {
    at: Number.NEGATIVE_INFINITY,
    done: Promise.resolve(),
  };
  #timer: NodeJS.Timeout | undefined;
  /** Verifications of the next turn of the event loop. */
  #waiting: (() => void)[] = [];

  private constructor(options: KeyRingOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#sealer = options.sealer;
    this.#log = options.log;
  }

  /** Loads the keys, creates the first ones where there are none, and reloads them regularly. @throws AuthError unavailable */
  static async open(options: KeyRingOptions): Promise<KeyRing> {
    const ring = new KeyRing(options);
    await ring.reload();
    const missing = kinds.filter(({ use, alg }) => ring.#generations(use, alg).length === 0);
    await Promise.all(
      missing.map(async ({ use, alg }) => options.store.add(await ring.generate(use, alg, options.clock.now()))),
    );
    if (missing.length > 0) await ring.reload();
    ring.#openAll();
    ring.#timer = setInterval(() => {
      const reloaded = ring.reload().then(() => ring.putOffUnopened());
      reloaded.catch((error: unknown) => options.log.warn({ err: error }, "reloading the signing keys failed"));
    }, KEY_RELOAD_MS);
    ring.#timer.unref();
    return ring;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#reloaded;
  }

  /** Opens the newest key of each kind. @throws StartRefused: KEY_ENCRYPTION_KEY is not the one that sealed them */
  #openAll(): void {
    for (const { use, alg } of kinds) {
      const newest = this.#generations(use, alg).at(-1);
      if (newest === undefined) continue;
      try {
        this.#sealer.open(newest.sealedPrivateJwk, newest.kid);
      } catch (cause) {
        throw new StartRefused(
          "KEY_ENCRYPTION_KEY: is not the key that sealed the signing keys in the database. Use the one that the other replicas have, or the backup of it",
          { cause },
        );
      }
    }
  }

  /** Runs one reload at a time, so that an older read never replaces a newer one. */
  reload(): Promise<void> {
    const reloaded = this.#reloaded.then(() => this.#reload());
    this.#reloaded = reloaded.catch(() => {});
    return reloaded;
  }

  async #reload(): Promise<void> {
    const stored = await this.#store.list();
    const keys = new Map<string, RingKey>();
    for (const key of stored) {
      const known = this.#keys.get(key.kid);
      // the read may be older than a distrust that the feed reported
      const distrustedAt = key.distrustedAt ?? known?.distrustedAt ?? null;
      const { activeFrom } = key;
      keys.set(key.kid, known === undefined ? open(key) : { ...known, activeFrom, distrustedAt });
    }
    this.#keys = keys;
    this.#retire();
    this.#loadedAt = performance.now();
  }

  /**
   * Puts off keys that will sign soon and that this replica cannot open: it would sign nothing from then on. A key begins when no replica
   * puts it off any more.
   */
  async putOffUnopened(): Promise<void> {
    const now = this.#clock.now();
    const soon = [...this.#keys.values()].filter(
      ({ activeFrom, distrustedAt }) => activeFrom > now && activeFrom < now + putOffMs / 2 && distrustedAt === null,
    );
    for (const key of soon) {
      if (this.#privateKeyIfOpened(key) !== null) continue;
      await this.#store.postpone(key.kid, now + putOffMs);
      if (this.#unopened.has(key.kid)) continue;
      this.#unopened.add(key.kid);
      const wrong =
        "KEY_ENCRYPTION_KEY does not open a new signing key, which signs only when this replica has ended or opens it";
      this.#log.error({ kid: key.kid }, wrong);
    }
  }

  /** Each key retires when the next one that is trusted begins to sign. */
  #retire(): void {
    for (const key of this.#keys.values()) {
      key.retiredAt = Math.min(
        Number.POSITIVE_INFINITY,
        ...successorsOf(this.#keys, key).map(({ activeFrom }) => activeFrom),
      );
    }
  }

  /** Seals each private key that is sealed under an older KEY_ENCRYPTION_KEY under the first one. */
  async reseal(): Promise<{ readonly resealed: number; readonly unreadable: number }> {
    let [resealed, unreadable] = [0, 0];
    for (const { kid, sealedPrivateJwk } of await this.#store.list()) {
      let sealed: string | null;
      try {
        sealed = this.#sealer.reseal(sealedPrivateJwk, kid);
      } catch {
        unreadable++;
        continue;
      }
      if (sealed !== null && (await this.#store.reseal(kid, sealedPrivateJwk, sealed))) resealed++;
    }
    return { resealed, unreadable };
  }

  /**
   * Generates a key of the next generation. It has no effect before it is added to the store.
   * @param activeFrom when it starts to sign (epoch milliseconds)
   */
  async generate(use: KeyUse, alg: Alg, activeFrom: number): Promise<StoredKey> {
    const { publicKey, privateKey } = await generate(alg);
    const jwk = publicKey.export({ format: "jwk" }) as JWK;
    const kid = await calculateJwkThumbprint(jwk);
    return {
      kid,
      use,
      alg,
      generation: Math.max(0, ...this.#generations(use, alg).map((key) => key.generation)) + 1,
      publicJwk: JSON.stringify(jwk),
      sealedPrivateJwk: this.#sealer.seal(JSON.stringify(privateKey.export({ format: "jwk" })), kid),
      createdAt: this.#clock.now(),
      activeFrom,
      distrustedAt: null,
    };
  }

  /**
   * Signs with the active key. @param typ `typ` of the JWS header @returns the token and the kid of its key
   * @throws AuthError unavailable: the active key was distrusted a moment ago, and the one that replaces it is not loaded yet
   */
  sign(use: KeyUse, alg: Alg, typ: string, claims: object): { token: string; kid: string } {
    const key = this.#activeOf(use, alg);
    if (key === undefined) {
      throw new AuthError("unavailable", `no ${alg} key signs ${use} tokens at the moment`, { retryAfter: 1 });
    }
    return { token: this.#signWith(key, typ, claims), kid: key.kid };
  }

  /**
   * The newest key that has begun to sign. Where none has, because the database's clock was set back or the one that signed was distrusted, it
   * is the one that begins first: there is always one.
   */
  #activeOf(use: KeyUse, alg: Alg): RingKey | undefined {
    const now = this.#clock.now();
    let begun: RingKey | undefined;
    let next: RingKey | undefined;
    for (const each of this.#keys.values()) {
      if (each.use !== use || each.alg !== alg || each.distrustedAt !== null) continue;
      if (each.activeFrom > now) {
        if (next === undefined || each.activeFrom < next.activeFrom) next = each;
      } else if (begun === undefined || each.generation > begun.generation) begun = each;
    }
    return begun ?? next;
  }

  /** Repeats a signature by `kid`: Ed25519 gives the same bytes for the same claims. @returns null when that key is removed or distrusted */
  signAgain(kid: string, typ: string, claims: object): string | null {
    const key = this.#keys.get(kid);
    return key === undefined || key.distrustedAt !== null ? null : this.#signWith(key, typ, claims);
  }

  /**
   * Is it signed by a trusted key of this use? An unknown kid causes a reload, at most once a second for all callers together.
   * @throws AuthError unavailable (by the promise): the reload failed, so nothing is known about the kid
   */
  verify(use: KeyUse, jws: ParsedJws): Promise<boolean> {
    const now = performance.now();
    if (this.#keys.has(jws.header.kid) || now - this.#loadedAt <= lookupMs) return this.#verifyInTurn(use, jws);
    if (now - this.#lookup.at > lookupMs) this.#lookup = { at: now, done: this.reload() };
    return this.#lookup.done.then(() => this.#verifyInTurn(use, jws));
  }

  /**
   * Verifies in the next turn of the event loop, together with what else waits for it: one verification after another finds code
   * and tables in the processor's caches, which makes it up to a fifth cheaper than between other work.
   */
  #verifyInTurn(use: KeyUse, jws: ParsedJws): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => {
        try {
          resolve(this.#verify(use, jws));
        } catch (error) {
          reject(error);
        }
      });
      if (this.#waiting.length === 1) setImmediate(this.#verifyWaiting);
    });
  }

  readonly #verifyWaiting = (): void => {
    const turn = this.#waiting.slice(0, verifiedInTurn);
    this.#waiting = this.#waiting.slice(verifiedInTurn);
    if (this.#waiting.length > 0) setImmediate(this.#verifyWaiting);
    for (const verify of turn) verify();
  };

  /** Is it signed by a published key, or by one retired as long as a browser session may live? For ID tokens sent as a hint. */
  verifyHint(jws: ParsedJws): boolean {
    return this.#verify("access", jws, (key) => key.retiredAt + hintMs);
  }

  #verify(use: KeyUse, jws: ParsedJws, endOf: (key: RingKey) => number = endOfTokens): boolean {
    const key = this.#keys.get(jws.header.kid);
    if (key === undefined || key.use !== use || key.distrustedAt !== null) return false;
    if (this.#clock.now() > endOf(key)) return false;
    const privateKey = key.alg === "EdDSA" ? this.#privateKeyIfOpened(key) : null;
    return privateKey === null ? verifyJws(key.publicKey, key.alg, jws) : verifyByPrivateKey(privateKey, jws);
  }

  /** Another replica distrusts a key, as the feed reports: distrusts it here too, and loads the key that replaces it. */
  distrust(kid: string): void {
    const key = this.#keys.get(kid);
    if (key !== undefined) this.#keys.set(kid, { ...key, distrustedAt: key.distrustedAt ?? this.#clock.now() });
    this.#retire();
    this.reload().catch((error: unknown) => this.#log.warn({ err: error }, "reloading the signing keys failed"));
  }

  /** Is the key known and not distrusted? For tokens whose signature was checked before. */
  isTrusted(kid: string): boolean {
    return this.#keys.get(kid)?.distrustedAt === null;
  }

  /** The published key set (RFC 7517): pending, active and retired keys, never distrusted or refresh keys. */
  jwks(): { keys: JWK[] } {
    const now = this.#clock.now();
    const published = [...this.#keys.values()].filter(
      (key) => key.use === "access" && key.distrustedAt === null && now <= endOfTokens(key),
    );
    return { keys: published.sort((a, b) => a.activeFrom - b.activeFrom).map((key) => key.jwk) };
  }

  list(): (Pick<StoredKey, "kid" | "use" | "alg" | "generation" | "createdAt" | "activeFrom"> & { state: KeyState })[] {
    const now = this.#clock.now();
    const active = new Set(kinds.map(({ use, alg }) => this.#activeOf(use, alg)));
    return [...this.#keys.values()].map((key) => {
      const { kid, use, alg, generation, createdAt, activeFrom, distrustedAt } = key;
      const isPending = activeFrom > now;
      const state =
        distrustedAt !== null ? "distrusted" : active.has(key) ? "active" : isPending ? "pending" : "retired";
      return { kid, use, alg, generation, createdAt, activeFrom, state };
    });
  }

  /** Kids of keys that verify nothing any more, since more than a day ago. */
  outlived(): string[] {
    const dayAgo = this.#clock.now() - 86_400_000;
    return [...this.#keys.values()]
      .filter((key) => Math.max(endOfTokens(key), key.retiredAt + hintMs) < dayAgo)
      .map((key) => key.kid);
  }

  #generations(use: KeyUse, alg: Alg): RingKey[] {
    return generationsOf(this.#keys, use, alg);
  }

  #signWith(key: RingKey, typ: string, claims: object): string {
    const header: JwsHeader = { alg: key.alg, typ, kid: key.kid };
    return signJws(this.#privateKeyOf(key), header, claims);
  }

  #privateKeyOf(key: RingKey): KeyObject {
    if (key.privateKey === null) {
      const jwk = JSON.parse(this.#opened(key)) as JsonWebKey;
      key.privateKey = createPrivateKey({ key: jwk, format: "jwk" });
    }
    return key.privateKey;
  }

  /** @throws AuthError unavailable: a replica with a newer KEY_ENCRYPTION_KEY made the key, and other replicas can sign */
  #opened({ sealedPrivateJwk, kid }: RingKey): string {
    try {
      return this.#sealer.open(sealedPrivateJwk, kid).toString();
    } catch (cause) {
      throw new AuthError("unavailable", "this replica cannot sign at the moment", { cause, retryAfter: 5 });
    }
  }

  /** @returns null: it is sealed under a KEY_ENCRYPTION_KEY that this replica does not have */
  #privateKeyIfOpened(key: RingKey): KeyObject | null {
    try {
      return this.#privateKeyOf(key);
    } catch {
      return null;
    }
  }
}

export interface KeyRingOptions {
  readonly store: KeyStore;
  readonly clock: Clock;
  readonly sealer: Sealer;
  readonly log: Logger;
}

/** When the last token that the key signed has expired. */
function endOfTokens({ use, retiredAt }: RingKey): number {
  return retiredAt + longestTokenMs[use] + skewMs;
}

function generationsOf(keys: ReadonlyMap<string, RingKey>, use: KeyUse, alg: Alg): RingKey[] {
  const same = [...keys.values()].filter((key) => key.use === use && key.alg === alg);
  return same.sort((a, b) => a.generation - b.generation);
}

/** The later generations that may sign. Distrusted keys are left out: the key before them goes on signing. */
function successorsOf(
  keys: ReadonlyMap<string, RingKey>,
  { use, alg, generation }: Pick<StoredKey, "use" | "alg" | "generation">,
): RingKey[] {
  return generationsOf(keys, use, alg).filter((other) => other.generation > generation && other.distrustedAt === null);
}

function open(key: StoredKey): RingKey {
  const publicJwk = JSON.parse(key.publicJwk) as JWK;
  const publicKey = createPublicKey({ key: publicJwk as JsonWebKey, format: "jwk" });
  return {
    ...key,
    publicKey,
    jwk: { ...publicJwk, kid: key.kid, alg: key.alg, use: "sig" },
    privateKey: null,
    retiredAt: Number.POSITIVE_INFINITY,
  };
}

const generatePair = promisify(generateKeyPair);

async function generate(alg: Alg): Promise<{ publicKey: KeyObject; privateKey: KeyObject }> {
  if (alg === "ES256") return generatePair("ec", { namedCurve: "P-256" });
  if (alg === "RS256") return generatePair("rsa", { modulusLength: 2048 });
  return generatePair("ed25519");
}
