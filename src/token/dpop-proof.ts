import { constants, createHash, type KeyObject, type VerifyKeyObjectInput, verify } from "node:crypto";
import { isTime, parseForeignJwt } from "./foreign-jwt.ts";
import { readPublicKey } from "./public-key.ts";
import { normalizedEscapes } from "./uri.ts";

/** What may sign proofs: the algorithms of FAPI 2.0 (section 5.4). */
const proofAlgs = ["ES256", "PS256", "EdDSA"] as const;
type DpopAlg = (typeof proofAlgs)[number];
/** The same as metadata and challenges name them; `Ed25519` is RFC 9864's name of `EdDSA` with such a key. */
export const DPOP_ALGS: readonly string[] = [...proofAlgs, "Ed25519"];

/** The kind of key that each algorithm takes, and how it is verified. */
const algorithms: Record<DpopAlg, { type: string; digest: string | null; how: Omit<VerifyKeyObjectInput, "key"> }> = {
  ES256: { type: "ec", digest: "sha256", how: { dsaEncoding: "ieee-p1363" } },
  PS256: { type: "rsa", digest: "sha256", how: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } },
  EdDSA: { type: "ed25519", digest: null, how: {} },
};

/** Seconds after its `iat` for which a proof is good. */
export const PROOF_LIFETIME = 60;
/** Seconds by which the client's clock may be ahead. */
const aheadTolerance = 10;
/** Characters. */
const maxJtiLength = 500;

/** What a proof must be made for (RFC 9449 section 4.3). */
export interface ProofDemands {
  /** HTTP method as received: `GET`. */
  readonly method: string;
  /** URL of the request as clients know it; query and fragment do not count. */
  readonly url: string;
  /** The access token that it was sent with; null at the token endpoint, where there is none. */
  readonly accessToken: string | null;
}

/** A good proof. Whether it was used before, and whether it needs a nonce, is left to the caller. */
export interface DpopProof {
  /** RFC 7638 thumbprint of the key that signed it. */
  readonly thumbprint: string;
  readonly jti: string;
  /** Whole seconds since 1970, rounded up. */
  readonly iat: number;
  readonly nonce: unknown;
}

/**
 * Checks everything about a DPoP proof that needs no memory (RFC 9449 section 4.3): form, key, `htm`, `htu`, `iat`, `ath` and
 * signature.
 * @param text the DPoP header, which must be one JWT
 * @param now whole seconds since 1970
 * @returns which rule it breaks where it is not good, as a text for the client's developer
 */
export function checkDpopProof(text: string, demands: ProofDemands, now: number): DpopProof | string {
  const jwt = parseForeignJwt(text, proofAlgs, ["dpop+jwt"]);
  if (jwt === null) return `the proof must be one JWT of typ dpop+jwt, signed with ${DPOP_ALGS.join(", ")}`;
  const algorithm = algorithms[jwt.alg as DpopAlg];
  const jwk = jwt.header["jwk"] as Readonly<Record<string, unknown>> | null | undefined;
  const key = jwk !== null && typeof jwk === "object" && !Array.isArray(jwk) ? readPublicKey(jwk) : "is missing";
  if (!jwk || typeof key === "string") return "jwk must be the public key that signed the proof";
  const { jti, htm, htu, iat, ath, nonce } = jwt.claims;
  if (typeof jti !== "string" || jti === "" || jti.length > maxJtiLength) return "jti is missing";
  if (htm !== demands.method) return "htm is not the method of this request";
  if (!isSameUrl(htu, demands.url)) return "htu is not the URL of this request";
  if (!isTime(iat) || iat < now - PROOF_LIFETIME || iat > now + aheadTolerance) return "iat is not now";
  if (demands.accessToken !== null && ath !== sha256(demands.accessToken)) {
    return "ath is not the hash of the access token";
  }
  if (key.asymmetricKeyType !== algorithm.type || !isSigned(jwt.text, key, algorithm)) {
    return "the signature does not fit the key";
  }
  return { thumbprint: thumbprintOf(jwk), jti, iat: Math.ceil(iat), nonce };
}

function isSigned(text: string, key: KeyObject, { digest, how }: (typeof algorithms)[DpopAlg]): boolean {
  const end = text.lastIndexOf(".");
  try {
    const signature = Buffer.from(text.slice(end + 1), "base64url");
    return verify(digest, Buffer.from(text.slice(0, end)), { key, ...how }, signature);
  } catch {
    return false;
  }
}

/** RFC 7638: the required members of the key in lexicographic order, as they are written. */
function thumbprintOf(jwk: Readonly<Record<string, unknown>>): string {
  const { crv, e, kty, n, x, y } = jwk;
  return sha256(JSON.stringify(kty === "EC" ? { crv, kty, x, y } : kty === "RSA" ? { e, kty, n } : { crv, kty, x }));
}

/** Compared after normalization (RFC 3986 sections 6.2.2 and 6.2.3; RFC 9449 section 4.3); query and fragment are left out. */
function isSameUrl(given: unknown, expected: string): boolean {
  if (typeof given !== "string" || !URL.canParse(given) || !URL.canParse(expected)) return false;
  const [a, b] = [new URL(given), new URL(expected)];
  const isSamePath = a.pathname === b.pathname || normalizedEscapes(a.pathname) === normalizedEscapes(b.pathname);
  return a.origin === b.origin && isSamePath && a.username === "" && a.password === "";
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}
