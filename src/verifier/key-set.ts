import { createPublicKey, type JsonWebKey, type KeyObject } from "node:crypto";
import type { JwsAlg } from "../token/jws.ts";
import type { VerifierLog } from "./options.ts";

export interface SigningKey {
  readonly kid: string;
  readonly alg: JwsAlg;
  readonly publicKey: KeyObject;
  /** False once a newer key set does not contain it: then it is no longer trusted. */
  published: boolean;
}

export interface KeySetOptions {
  readonly issuer: string;
  /** Without it: from the discovery document. */
  readonly jwksUri: string | undefined;
  readonly fetchTimeoutMs: number;
  /** Between two fetches that unknown kids cause. */
  readonly cooldownMs: number;
  readonly log: VerifierLog;
}

const maxBytes = 1024 * 1024;
/** Seconds: the age where the answer has no max-age, and the bounds of the one that it has. */
const maxAge = { default: 300, min: 5, max: 86_400 };
/** Milliseconds between two warnings while the issuer is away. */
const warnEvery = 10_000;

/**
 * The issuer's published keys. Keys older than their max-age stay usable while new ones are fetched, so tokens of a known key are
 * verified even when the issuer cannot be reached. One fetch at a time.
 */
export class KeySet {
  readonly #options: KeySetOptions;
  #keys = new Map<string, SigningKey>();
  #jwksUri: string | undefined;
  #loaded = false;
  #staleAt = 0;
  /** `performance.now()` of the end of the newest fetch; whether it failed. */
  #triedAt = Number.NEGATIVE_INFINITY;
  #failed = false;
  #warnedAt = Number.NEGATIVE_INFINITY;
  #fetching: Promise<void> | null = null;
  readonly #closing = new AbortController();

  constructor(options: KeySetOptions) {
    this.#options = options;
    this.#jwksUri = options.jwksUri;
  }

  get loaded(): boolean {
    return this.#loaded;
  }

  get size(): number {
    return this.#keys.size;
  }

  find(kid: string): SigningKey | undefined {
    return this.#keys.get(kid);
  }

  /** Starts a fetch if the keys are older than their max-age, and does not wait for it. @param now performance.now() */
  keepFresh(now: number): void {
    if (now > this.#staleAt && this.#loaded && !this.#cooling(now)) void this.#fetch();
  }

  /**
   * Looks for a key that is not known.
   * @returns `none`: there is no such key; `unknowable`: the issuer cannot be reached; or a promise after which to look again
   */
  lookUp(now: number): "none" | "unknowable" | Promise<void> {
    if (this.#fetching !== null) return this.#fetching;
    if (!this.#cooling(now)) return this.#fetch();
    return this.#failed || !this.#loaded ? "unknowable" : "none";
  }

  /** Fetches now. Never rejects: failures are logged. */
  load(): Promise<void> {
    return this.#fetch();
  }

  close(): void {
    this.#closing.abort();
  }

  #cooling(now: number): boolean {
    return now - this.#triedAt < this.#options.cooldownMs;
  }

  #fetch(): Promise<void> {
    this.#fetching ??= this.#tryFetch().finally(() => {
      this.#fetching = null;
      this.#triedAt = performance.now();
    });
    return this.#fetching;
  }

  async #tryFetch(): Promise<void> {
    try {
      const uri = this.#jwksUri ?? (await this.#discover());
      const { json, ageSeconds } = await this.#get(uri);
      const keys = readKeys(json);
      if (keys.length === 0) throw new Error(`${uri} holds no key that can be used`);
      this.#jwksUri = uri;
      this.#replace(keys);
      this.#staleAt = performance.now() + ageSeconds * 1000;
      this.#loaded = true;
      this.#failed = false;
    } catch (error) {
      this.#failed = true;
      if (this.#closing.signal.aborted) return;
      const now = performance.now();
      if (now - this.#warnedAt < warnEvery) return;
      this.#warnedAt = now;
      this.#options.log.warn({ err: error, knownKeys: this.#keys.size }, "the issuer's keys were not fetched");
    }
  }

  async #discover(): Promise<string> {
    const { issuer } = this.#options;
    const uri = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
    const { json } = await this.#get(uri);
    const { issuer: named, jwks_uri } = json as { issuer?: unknown; jwks_uri?: unknown };
    if (named !== issuer) throw new Error(`${uri} is about the issuer ${String(named)}, not ${issuer}`);
    if (typeof jwks_uri !== "string" || !URL.canParse(jwks_uri)) throw new Error(`${uri} has no jwks_uri`);
    if (issuer.startsWith("https:") && !jwks_uri.startsWith("https:"))
      throw new Error(`jwks_uri ${jwks_uri} is not https`);
    return jwks_uri;
  }

  async #get(uri: string): Promise<{ json: unknown; ageSeconds: number }> {
    const signal = AbortSignal.any([AbortSignal.timeout(this.#options.fetchTimeoutMs), this.#closing.signal]);
    const response = await fetch(uri, { redirect: "error", signal, headers: { accept: "application/json" } });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new Error(`${uri} answered ${response.status}`);
    }
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of response.body ?? []) {
      bytes += chunk.byteLength;
      if (bytes > maxBytes) throw new Error(`${uri} is larger than 1 MiB`);
      chunks.push(chunk);
    }
    const named = /(?:^|[\s,])max-age=(\d{1,9})/i.exec(response.headers.get("cache-control") ?? "")?.[1];
    const age = named === undefined ? maxAge.default : Number(named);
    const json: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
    if (json === null || typeof json !== "object") throw new Error(`${uri} is no JSON object`);
    return { json, ageSeconds: Math.min(maxAge.max, Math.max(maxAge.min, age)) };
  }

  /** Keys that stay are the same objects as before, so that remembered tokens stay good. */
  #replace(found: readonly SigningKey[]): void {
    const keys = new Map<string, SigningKey>();
    for (const key of found) {
      const known = this.#keys.get(key.kid);
      const same = known !== undefined && known.alg === key.alg && known.publicKey.equals(key.publicKey);
      // of two with one kid the first counts
      if (!keys.has(key.kid)) keys.set(key.kid, same ? known : key);
    }
    for (const [kid, key] of this.#keys) if (keys.get(kid) !== key) key.published = false;
    this.#keys = keys;
  }
}

/** The keys of a set (RFC 7517) that tokens may be signed with. Everything else in it is left out. */
function readKeys(json: unknown): SigningKey[] {
  const { keys } = json as { keys?: unknown };
  return Array.isArray(keys) ? keys.map(readKey).filter((key) => key !== null) : [];
}

function readKey(json: unknown): SigningKey | null {
  if (json === null || typeof json !== "object") return null;
  const { kty, crv, x, y, n, e, kid, use, alg, d } = json as Record<string, unknown>;
  if (use !== "sig" || typeof kid !== "string" || kid === "" || d !== undefined) return null;
  const own: JwsAlg | null =
    kty === "EC" && crv === "P-256"
      ? "ES256"
      : kty === "RSA"
        ? "RS256"
        : kty === "OKP" && crv === "Ed25519"
          ? "EdDSA"
          : null;
  if (own === null || (alg !== undefined && alg !== own && !(own === "EdDSA" && alg === "Ed25519"))) return null;
  const jwk = kty === "EC" ? { kty, crv, x, y } : kty === "RSA" ? { kty, n, e } : { kty, crv, x };
  try {
    const publicKey = createPublicKey({ key: jwk as JsonWebKey, format: "jwk" });
    if (own === "RS256" && (publicKey.asymmetricKeyDetails?.modulusLength ?? 0) < 2048) return null;
    return { kid, alg: own, publicKey, published: true };
  } catch {
    return null;
  }
}
