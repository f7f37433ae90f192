import { createHash, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { calculateJwkThumbprint, importJWK, type JWK } from "jose";
import { hashOf } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import { FAPI_ALGS, publicKeyProblem } from "../../store/client-metadata.ts";
import type { Client } from "../../store/clients.ts";
import { isSignedWith, isTime, parseForeignJwt } from "../../token/foreign-jwt.ts";
import type { OAuthContext } from "../context.ts";

/** What may sign proofs. */
export const DPOP_ALGS = FAPI_ALGS;

/** A DPoP header (RFC 9449 section 4.1) and the request it came with. */
export interface PresentedProof {
  /** As received; where there were several they are joined, which is no JWT. */
  readonly proof: string;
  readonly method: string;
  /** Of the resource as clients know it, below the issuer; without query. */
  readonly url: string;
}

/** Seconds between making a proof and its arrival, and by which the client's clock may be ahead. */
const longestAge = 60;
const aheadTolerance = 10;
const maxJtiLength = 500;
/** Nonces change so often (milliseconds); one is good until the next but one. */
const nonceWindow = 150_000;

const invalid = (description: string) => new AuthError("invalid_dpop_proof", description);

/**
 * Checks a proof (RFC 9449 section 4.3) and uses it up, over all replicas.
 * @param demands accessToken: that it must be bound to; nonce: whether it must hold one of ours
 * @returns the thumbprint of its key (RFC 7638)
 * @throws AuthError invalid_dpop_proof, use_dpop_nonce
 */
export async function checkProof(
  ctx: OAuthContext,
  presented: PresentedProof,
  demands: { accessToken: string | null; nonce: boolean },
): Promise<string> {
  const jwt = parseForeignJwt(presented.proof, DPOP_ALGS, ["dpop+jwt"]);
  if (jwt === null) throw invalid(`the proof must be one JWT of typ dpop+jwt, signed with ${DPOP_ALGS.join(", ")}`);
  const jwk = publicJwk(jwt.header["jwk"]);
  if (jwk === null) throw invalid("jwk must be the public key that signed the proof");
  const { jti, htm, htu, iat, ath, nonce } = jwt.claims;
  if (typeof jti !== "string" || jti === "" || jti.length > maxJtiLength) throw invalid("jti is missing");
  if (htm !== presented.method) throw invalid("htm is not the method of this request");
  if (typeof htu !== "string" || !isSameUrl(htu, presented.url)) throw invalid("htu is not the URL of this request");
  const now = ctx.clock.seconds();
  if (!isTime(iat) || iat < now - longestAge || iat > now + aheadTolerance) throw invalid("iat is not now");
  const { accessToken } = demands;
  if (accessToken !== null && ath !== createHash("sha256").update(accessToken).digest("base64url")) {
    throw invalid("ath is not the hash of the access token");
  }
  const key = await importJWK(jwk, jwt.alg).catch(() => null);
  if (key === null || key instanceof Uint8Array || !(await isSignedWith(jwt, key))) {
    throw invalid("the signature does not fit the key");
  }
  if (nonce === undefined ? demands.nonce : !isNonce(ctx, nonce)) {
    throw new AuthError("use_dpop_nonce", "use the nonce of the DPoP-Nonce header");
  }
  const thumbprint = await calculateJwkThumbprint(jwk);
  const expiresAt = (iat + longestAge + 60) * 1000;
  if (await ctx.store.usedOnce.use(hashOf(`dpop proof\n${thumbprint}\n${jti}`), expiresAt)) return thumbprint;
  throw invalid("the proof was used before");
}

/**
 * The key that a token request proves to hold, which its tokens will be bound to; null where they are bound to none.
 * @throws AuthError invalid_dpop_proof, use_dpop_nonce
 */
export async function provenKey(
  ctx: OAuthContext,
  client: Client,
  presented: PresentedProof | null,
): Promise<string | null> {
  if (presented !== null) return checkProof(ctx, presented, { accessToken: null, nonce: needsNonce(client) });
  if (!client.metadata.dpop_bound_access_tokens) return null;
  throw invalid("the tokens of this client are bound to a key: send a DPoP proof");
}

/** Must this client's proofs hold a nonce of ours? */
export function needsNonce(client: Client): boolean {
  return client.metadata.profile === "fapi2";
}

/** What a client puts into its next proof. Made of the time and KEY_ENCRYPTION_KEY: every replica knows it, none keeps it. */
export function dpopNonce(ctx: OAuthContext): string {
  return nonceOf(ctx, Math.floor(ctx.clock.now() / nonceWindow));
}

function isNonce(ctx: OAuthContext, given: unknown): boolean {
  const current = Math.floor(ctx.clock.now() / nonceWindow);
  // the next one too: a replica's clock may be a moment ahead of ours
  return [current, current - 1, current + 1].some((window) => {
    const nonce = Buffer.from(nonceOf(ctx, window));
    const bytes = Buffer.from(String(given));
    return bytes.length === nonce.length && timingSafeEqual(bytes, nonce);
  });
}

function nonceOf({ config }: OAuthContext, window: number): string {
  const key = Buffer.from(hkdfSync("sha256", config.keyEncryptionKey, "", "auth-service dpop nonce v1", 32));
  return createHmac("sha256", key).update(String(window)).digest("base64url");
}

/** The members that make the key and no others: what else the header says about it counts for nothing. */
function publicJwk(given: unknown): JWK | null {
  if (given === null || typeof given !== "object" || Array.isArray(given)) return null;
  const members = given as Record<string, unknown>;
  if (publicKeyProblem(members) !== null) return null;
  const named = ["kty", "crv", "x", "y", "n", "e"].filter((name) => typeof members[name] === "string");
  return Object.fromEntries(named.map((name) => [name, members[name]])) as JWK;
}

/** Compared as URLs, so after normalization (RFC 3986 section 6.2); query and fragment are left out. */
function isSameUrl(given: string, expected: string): boolean {
  if (!URL.canParse(given)) return false;
  const [a, b] = [new URL(given), new URL(expected)];
  return a.origin === b.origin && a.pathname === b.pathname && a.username === "" && a.password === "";
}
