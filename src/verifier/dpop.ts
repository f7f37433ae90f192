import {
  constants,
  createHash,
  createPublicKey,
  type JsonWebKey,
  type KeyObject,
  type VerifyKeyObjectInput,
  verify,
} from "node:crypto";
import { invalidToken, type Refused, unavailable } from "./decision.ts";
import { decodeJson, maxTokenLength } from "./jws.ts";
import type { DpopOptions, VerifierLog } from "./options.ts";

/** The request that a token came with, as its DPoP proof must describe it (RFC 9449 section 4.2). */
export interface SignedRequest {
  /** As received: `GET`. */
  readonly method: string;
  /** Path and query as received, which begin with `/` and stand after `publicUrl`. The query counts for nothing. */
  readonly url: string;
  /** The DPoP header, as node:http or `Headers` gives it; several, joined or in a list, are refused. Nothing: there was none. */
  readonly dpop: string | readonly string[] | null | undefined;
}

interface Proof {
  readonly alg: keyof typeof algorithms;
  readonly jwk: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly signingInput: Buffer;
  readonly signature: Buffer;
}

/** What may sign proofs, the issuer's own list, and with which kind of key. */
const algorithms = {
  ES256: { type: "ec", digest: "sha256", how: { dsaEncoding: "ieee-p1363" } },
  PS256: { type: "rsa", digest: "sha256", how: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } },
  EdDSA: { type: "ed25519", digest: null, how: {} },
} satisfies Record<string, { type: string; digest: string | null; how: Omit<VerifyKeyObjectInput, "key"> }>;
const algs = Object.keys(algorithms).join(" ");

/** Seconds between making a proof and its arrival, and by which the client's clock may be ahead: the issuer's own. */
const longestAge = 60;
const aheadTolerance = 10;
/** Seconds beyond its time that a shared memory keeps a proof: processes have clocks of their own. */
const sharedMargin = 60;
const maxJtiLength = 500;
/** Members that bring or fetch a key in another way, or change how the rest is read (RFC 8725 section 3.10). */
const refusedHeaders = ["jku", "x5u", "x5c", "crit", "b64", "zip"];
/** Milliseconds between two warnings. */
const warnEvery = 10_000;

const invalidProof: Refused = Object.freeze({
  allowed: false,
  status: 401,
  error: "invalid_dpop_proof",
  wwwAuthenticate: `DPoP error="invalid_dpop_proof", algs="${algs}"`,
});

/** A refusal as it is answered to a request with scheme DPoP (RFC 9449 section 7.1). */
export function withDpopChallenge(refused: Refused): Refused {
  if (refused.status === 503 || refused === invalidProof) return refused;
  return { ...refused, wwwAuthenticate: `${refused.wwwAuthenticate.replace("Bearer", "DPoP")}, algs="${algs}"` };
}

/** Checks DPoP proofs as the issuer's own resources do (RFC 9449 sections 4.3 and 7). */
export class DpopCheck {
  readonly #options: DpopOptions;
  readonly #base: string;
  readonly #own: ProofMemory;
  readonly #now: () => number;
  readonly #log: VerifierLog;

  /** @param now milliseconds since 1970 */
  constructor(options: DpopOptions, now: () => number, log: VerifierLog) {
    this.#options = options;
    this.#base = options.publicUrl.replace(/\/+$/, "");
    this.#own = new ProofMemory(options.maxProofs ?? 100_000, now, log);
    this.#now = now;
    this.#log = log;
  }

  /**
   * Uses the proof up where it is good. Never rejects.
   * @param token good in all other ways
   * @param cnf of the token: what it is bound to
   * @returns null: the sender holds the key that the token is bound to
   */
  async refusalOf(
    request: SignedRequest | undefined,
    token: string,
    cnf: Readonly<Record<string, unknown>> | undefined,
  ): Promise<Refused | null> {
    if (typeof cnf?.["jkt"] !== "string" || Object.keys(cnf).length > 1) return invalidToken;
    const given = request?.dpop ?? null;
    if (request === undefined || given === null) return invalidToken;
    const proof = parseProof(given);
    if (proof === null || !this.#isOf(proof, request, token)) return invalidProof;
    const key = publicKeyOf(proof);
    if (key === null || !isSignedBy(key, proof)) return invalidProof;
    const thumbprint = thumbprintOf(proof.jwk);
    if (thumbprint !== cnf["jkt"]) return invalidToken;
    try {
      return (await this.#useUp(proof, thumbprint)) ? null : invalidProof;
    } catch (error) {
      this.#log.error({ err: error }, "rememberProof failed: the request is answered as Unavailable");
      return unavailable;
    }
  }

  /** @returns false: it was used before */
  async #useUp({ claims: { jti, iat } }: Proof, thumbprint: string): Promise<boolean> {
    const id = sha256(`${thumbprint}\n${jti}`);
    // times are compared in whole seconds, so it is good until the end of its last one
    const over = (iat as number) + longestAge + 1;
    if (this.#options.rememberProof === undefined) return this.#own.add(id, over * 1000);
    return (await this.#options.rememberProof(id, (over + sharedMargin) * 1000)) === true;
  }

  /** Was the proof made for this request and token, now? */
  #isOf({ claims }: Proof, { method, url }: SignedRequest, token: string): boolean {
    const { jti, htm, htu, iat, ath } = claims;
    if (typeof jti !== "string" || jti === "" || jti.length > maxJtiLength) return false;
    if (htm !== method || !isPlainPath(url) || !isSameUrl(htu, `${this.#base}${url}`)) return false;
    const now = Math.floor(this.#now() / 1000);
    if (!Number.isSafeInteger(iat)) return false;
    if ((iat as number) < now - longestAge || (iat as number) > now + aheadTolerance) return false;
    return ath === sha256(token);
  }
}

/** Used proofs of this process, the last ones; in the order of their use, which is nearly that of their expiry. */
class ProofMemory {
  readonly #max: number;
  readonly #now: () => number;
  readonly #log: VerifierLog;
  readonly #expiries = new Map<string, number>();
  #warnedAt = Number.NEGATIVE_INFINITY;

  constructor(max: number, now: () => number, log: VerifierLog) {
    this.#max = max;
    this.#now = now;
    this.#log = log;
  }

  /** @returns whether it is new */
  add(id: string, expiresAt: number): boolean {
    const now = this.#now();
    for (const [oldest, expiry] of this.#expiries) {
      if (expiry > now && this.#expiries.size < this.#max) break;
      if (expiry > now) this.#warn(now);
      this.#expiries.delete(oldest);
    }
    if (this.#expiries.has(id)) return false;
    this.#expiries.set(id, expiresAt);
    return true;
  }

  #warn(now: number): void {
    if (now - this.#warnedAt < warnEvery) return;
    this.#warnedAt = now;
    this.#log.warn({ maxProofs: this.#max }, "more DPoP proofs than are remembered: the oldest could be used again");
  }
}

/** @returns null for what is no compact JWS of unambiguous JSON, of type and algorithm of a proof, with a key in it */
function parseProof(given: string | readonly string[]): Proof | null {
  const text = typeof given === "string" ? given : given.length === 1 ? given[0] : undefined;
  if (typeof text !== "string" || text.length > maxTokenLength) return null;
  const parts = text.split(".", 4);
  if (parts.length !== 3) return null;
  const [head = "", body = "", tail = ""] = parts;
  const [header, claims] = [readObject(head), readObject(body)];
  const signature = Buffer.from(tail, "base64url");
  if (header === null || claims === null || signature.toString("base64url") !== tail) return null;
  const { alg, typ, jwk } = header;
  if (typ !== "dpop+jwt" || typeof alg !== "string" || !Object.hasOwn(algorithms, alg)) return null;
  if (refusedHeaders.some((name) => Object.hasOwn(header, name))) return null;
  if (jwk === null || typeof jwk !== "object" || Array.isArray(jwk)) return null;
  const signingInput = Buffer.from(`${head}.${body}`);
  return { alg: alg as Proof["alg"], jwk: jwk as Record<string, unknown>, claims, signingInput, signature };
}

function readObject(part: string): Record<string, unknown> | null {
  const read = decodeJson(part);
  return read === null || repeatsName(read.text) ? null : read.json;
}

/** Does any object in this JSON name a member twice? Readers differ on which of the two counts. */
function repeatsName(text: string): boolean {
  const open: Set<string>[] = [];
  let string = "";
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}:]/gs)) {
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (token === ":") {
      const names = open.at(-1);
      const name = JSON.parse(string) as string;
      if (names?.has(name)) return true;
      names?.add(name);
    } else string = token;
  }
  return false;
}

/** The proof's key, where it is public and of the kind that its algorithm takes. */
function publicKeyOf({ alg, jwk }: Proof): KeyObject | null {
  if (["d", "p", "q", "k"].some((member) => jwk[member] !== undefined)) return null;
  try {
    const key = createPublicKey({ key: jwk as JsonWebKey, format: "jwk" });
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
    if (type !== algorithms[alg].type) return null;
    if (type === "ec") return details?.namedCurve === "prime256v1" ? key : null;
    const bits = details?.modulusLength ?? 0;
    return type !== "rsa" || (bits >= 2048 && bits <= 8192) ? key : null;
  } catch {
    return null;
  }
}

function isSignedBy(key: KeyObject, { alg, signingInput, signature }: Proof): boolean {
  const { digest, how } = algorithms[alg];
  try {
    return verify(digest, signingInput, { key, ...how }, signature);
  } catch {
    return false;
  }
}

/** RFC 7638: the members that make the key, by name, as they are written. */
function thumbprintOf(jwk: Readonly<Record<string, unknown>>): string {
  const { crv, e, kty, n, x, y } = jwk;
  return sha256(JSON.stringify(kty === "EC" ? { crv, kty, x, y } : kty === "RSA" ? { e, kty, n } : { crv, kty, x }));
}

/**
 * Neither an absolute request target, which names a host that nobody vouches for, nor a path that normalization would make
 * another one of: routers take it as it is.
 */
function isPlainPath(url: unknown): url is string {
  return typeof url === "string" && url.startsWith("/") && !/^[^?#]*(?:\\|\/(?:\.|%2e){1,2}(?:[/?#]|$))/i.test(url);
}

/** Compared as URLs, so after normalization (RFC 3986 section 6.2); query and fragment are left out. */
function isSameUrl(given: unknown, expected: string): boolean {
  if (typeof given !== "string" || !URL.canParse(given) || !URL.canParse(expected)) return false;
  const [a, b] = [new URL(given), new URL(expected)];
  return a.origin === b.origin && a.pathname === b.pathname && a.username === "" && a.password === "";
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}
