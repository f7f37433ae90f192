import { MAX_TOKEN_LENGTH } from "./jws.ts";
import { readBase64url, readForeignJson } from "./strict-json.ts";

/** What may sign client assertions. No shared secrets; FAPI 2.0 clients and DPoP proofs leave out RS256 (section 5.4). */
export type ClientAssertionAlg = "ES256" | "PS256" | "EdDSA" | "RS256";

/** A JWT that a client wrote, taken apart, its signature not yet verified. */
export interface ForeignJwt {
  readonly text: string;
  /** `EdDSA` also where the header has the name `Ed25519` of RFC 9864. */
  readonly alg: ClientAssertionAlg;
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Members that bring or fetch a key, or that change how the rest is read (RFC 8725 section 3.10). */
const refusedHeaders = ["jku", "x5u", "x5c", "crit", "b64", "zip"];

/**
 * @param algs which `alg` the header may have
 * @param typs which `typ` it may have, without `application/` (RFC 7515 section 4.1.9); undefined: none
 * @returns null for what is no compact JWS of JSON without duplicate names, of one of these algorithms and types
 */
export function parseForeignJwt(
  text: string,
  algs: readonly ClientAssertionAlg[],
  typs: readonly unknown[],
): ForeignJwt | null {
  if (text.length > MAX_TOKEN_LENGTH) return null;
  const parts = text.split(".", 4);
  const [head, body, signature] = parts;
  if (parts.length !== 3 || head === undefined || body === undefined || signature === undefined) return null;
  const header = readForeignJson(head);
  const claims = readForeignJson(body);
  if (header === null || claims === null || readBase64url(signature) === null) return null;
  const named = header["alg"] === "Ed25519" ? "EdDSA" : header["alg"];
  const alg = algs.find((each) => each === named);
  if (alg === undefined || !typs.includes(mediaTypeOf(header["typ"]))) return null;
  if (refusedHeaders.some((name) => Object.hasOwn(header, name))) return null;
  return { text, alg, header, claims };
}

/** With or without `application/` it is the same (RFC 7515 section 4.1.9). */
function mediaTypeOf(typ: unknown): unknown {
  return typeof typ === "string" ? typ.replace(/^application\/(?!.*\/)/, "") : typ;
}

/** Seconds since 1970. A NumericDate may have a fraction (RFC 7519 section 2). */
export function isTime(value: unknown): value is number {
  return typeof value === "number" && value > 0 && value <= Number.MAX_SAFE_INTEGER;
}
