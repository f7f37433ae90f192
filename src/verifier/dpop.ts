import { createHash } from "node:crypto";
import { checkDpopProof, type DpopProof, PROOF_LIFETIME } from "../token/dpop-proof.ts";
import { INVALID_PROOF, INVALID_TOKEN, type Refused, UNAVAILABLE, type VerifiedClaims } from "./decision.ts";
import type { DpopOptions, VerifierLog } from "./options.ts";

/** The request that a token came with, as its DPoP proof must describe it (RFC 9449 section 4.2). */
export interface SignedRequest {
  /** As received: `GET`. */
  readonly method: string;
  /** Path and query as received, from the `/` on; `publicUrl` is put before it. The query is ignored. */
  readonly url: string;
  /** The DPoP header, as node:http or `Headers` gives it; null or undefined: there was none. More than one is refused. */
  readonly dpop: string | readonly string[] | null | undefined;
}

/** Seconds that a shared memory keeps a proof after it ended: the clocks of processes differ. */
const sharedMargin = 60;
/** Milliseconds between two warnings. */
const warnEvery = 10_000;

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
    cnf: VerifiedClaims["cnf"],
  ): Promise<Refused | null> {
    if (cnf?.jkt === undefined || Object.keys(cnf).length > 1) return INVALID_TOKEN;
    const given = request?.dpop ?? null;
    if (request === undefined || given === null) return INVALID_TOKEN;
    const text = typeof given === "string" ? given : given.length === 1 ? given[0] : undefined;
    if (typeof text !== "string" || !isPlainPath(request.url)) return INVALID_PROOF;
    const demands = { method: request.method, url: `${this.#base}${request.url}`, accessToken: token };
    const proof = checkDpopProof(text, demands, Math.floor(this.#now() / 1000));
    if (typeof proof === "string") return INVALID_PROOF;
    if (proof.thumbprint !== cnf.jkt) return INVALID_TOKEN;
    try {
      return (await this.#useUp(proof)) ? null : INVALID_PROOF;
    } catch (error) {
      this.#log.error({ err: error }, "rememberProof failed: the request is answered as Unavailable");
      return UNAVAILABLE;
    }
  }

  /** @returns whether it is used for the first time */
  async #useUp({ thumbprint, jti, iat }: DpopProof): Promise<boolean> {
    const id = createHash("sha256").update(`${thumbprint}\n${jti}`).digest("base64url");
    // times are compared in whole seconds, so it is good until the end of its last one
    const over = iat + PROOF_LIFETIME + 1;
    if (this.#options.rememberProof === undefined) return this.#own.add(id, over * 1000);
    return (await this.#options.rememberProof(id, (over + sharedMargin) * 1000)) === true;
  }
}

/** The proofs that were used in this process, in the order of their use, which is nearly that of their expiry. The oldest go. */
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

/**
 * Is this a path that normalization leaves as it is? An absolute request target names a host that was not checked, and routers
 * do not normalize dot segments as a URL does.
 */
function isPlainPath(url: unknown): url is string {
  return typeof url === "string" && url.startsWith("/") && !/^[^?#]*(?:\\|\/(?:\.|%2e){1,2}(?:[/?#]|$))/i.test(url);
}
