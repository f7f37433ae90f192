/** `access`: in the published key set; `refresh`: in none. */
export type KeyUse = "access" | "refresh";

export interface StoredKey {
  readonly kid: string;
  readonly use: KeyUse;
  readonly alg: "ES256" | "RS256" | "EdDSA";
  /** 1, 2, ... for each use and alg. */
  readonly generation: number;
  /** Public JWK, JSON. */
  readonly publicJwk: string;
  /** Private JWK, sealed for the context `kid`. */
  readonly sealedPrivateJwk: string;
  readonly createdAt: number;
  /** It signs from here until the next generation does. */
  readonly activeFrom: number;
  readonly distrustedAt: number | null;
}

/** The most that JWKS_MAX_AGE may be (milliseconds). */
export const LONGEST_MAX_AGE_MS = 86_400_000;

export interface KeyStore {
  list(): Promise<StoredKey[]>;
  /** `conflict`: another replica made that generation first. */
  add(key: StoredKey): Promise<"added" | "conflict">;
  /**
   * Never trusted again, anywhere, with a row in the feed; the replacement is added with it, as the newest generation.
   * False: there is no such key, or it was distrusted before; nothing was done.
   */
  distrust(kid: string, now: number, replacement: StoredKey | null): Promise<boolean>;
  /** Replaces a key's sealed form. False: it changed meanwhile, or the key is gone. */
  reseal(kid: string, from: string, to: string): Promise<boolean>;
  /** Lets a key that does not sign yet sign later than was said. */
  postpone(kid: string, activeFrom: number): Promise<void>;
  /**
   * Says that verifiers may be told to keep the key set for so long, from now on, by a process that says so again every hour.
   * @param maxAge milliseconds
   */
  declareMaxAge(maxAge: number, now: number): Promise<void>;
  /** When no verifier may keep a key set any more that it was given by now, whichever process gave it (epoch milliseconds). */
  keptUntil(now: number): Promise<number>;
  /** Removes retired keys that are no longer needed. */
  remove(kids: readonly string[]): Promise<void>;
}
