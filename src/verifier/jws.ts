import { type KeyObject, verify } from "node:crypto";

export type Algorithm = "ES256" | "RS256" | "EdDSA";

/** A compact JWS taken apart, its signature not yet looked at. */
export interface Jws {
  readonly alg: string;
  readonly typ: string;
  readonly kid: string;
  readonly claims: Record<string, unknown>;
  readonly signingInput: string;
  readonly signature: Buffer;
}

/** Characters. The issuer's tokens have some hundred. */
export const maxTokenLength = 8192;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads as strictly as the issuer writes: three parts of canonical unpadded base64url, JSON without white space or repeated
 * names, and exactly the header members alg, typ and kid: no jku, jwk, x5u, x5c, crit or b64 (RFC 8725 sections 3.10, 2.6).
 * @returns null for anything else
 */
export function parseJws(token: string): Jws | null {
  if (typeof token !== "string" || token.length > maxTokenLength) return null;
  const parts = token.split(".", 4);
  if (parts.length !== 3) return null;
  const [head = "", body = "", tail = ""] = parts;
  const header = decode(head);
  if (header === null || Object.keys(header).length !== 3) return null;
  const { alg, typ, kid } = header;
  if (typeof alg !== "string" || typeof typ !== "string" || typeof kid !== "string") return null;
  const claims = decode(body);
  const signature = Buffer.from(tail, "base64url");
  if (claims === null || signature.length === 0 || signature.toString("base64url") !== tail) return null;
  return { alg, typ, kid, claims, signingInput: `${head}.${body}`, signature };
}

/** The key decides the algorithm, never the token (RFC 8725 section 3.1). Synchronous: 0.05 to 0.15 ms. */
export function isSignedBy(key: KeyObject, alg: Algorithm, jws: Jws): boolean {
  if (jws.alg !== alg) return false;
  const input = Buffer.from(jws.signingInput);
  try {
    if (alg === "EdDSA") return verify(null, input, key, jws.signature);
    if (alg === "RS256") return verify("sha256", input, key, jws.signature);
    return jws.signature.length === 64 && verify("sha256", input, { key, dsaEncoding: "ieee-p1363" }, jws.signature);
  } catch {
    return false;
  }
}

function decode(part: string): Record<string, unknown> | null {
  const read = decodeJson(part);
  // what the issuer wrote reads back to the same text; repeated names and white space do not
  return read !== null && JSON.stringify(read.json) === read.text ? read.json : null;
}

/** A JSON object in canonical unpadded base64url, and its text. */
export function decodeJson(part: string): { json: Record<string, unknown>; text: string } | null {
  const bytes = Buffer.from(part, "base64url");
  if (bytes.length === 0 || bytes.toString("base64url") !== part) return null;
  try {
    const text = utf8.decode(bytes);
    const json: unknown = JSON.parse(text);
    if (json === null || typeof json !== "object" || Array.isArray(json)) return null;
    return { json: json as Record<string, unknown>, text };
  } catch {
    return null;
  }
}
