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
  /** Removes retired keys that are no longer needed. */
  remove(kids: readonly string[]): Promise<void>;
}
