import { MAX_TOKEN_LENGTH } from "./jws.ts";
import { readBase64url, readForeignJson } from "./strict-json.ts";

/** What may sign client assertions. No shared secrets; FAPI 2.0 clients and DPoP proofs leave out RS256 (section 5.4). */
export type ClientAssertionAlg = "ES256" | "PS256" | "EdDSA" | "RS256";

/** A JWT that a client wrote, taken apart, its signature not yet verified. */
export interface ForeignJwt {
  readonly text: string;
  readonly alg: ClientAssertionAlg;
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Members that bring or fetch a key, or that change how the rest is read (RFC 8725 section 3.10). */
const refusedHeaders = ["jku", "x5u", "x5c", "crit", "b64", "zip"];

/**
 * @param algs which `alg` the header may have
 * @param typs which `typ` it may have; undefined: none
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
  const alg = algs.find((each) => each === header["alg"]);
  if (alg === undefined || !typs.includes(header["typ"])) return null;
  if (refusedHeaders.some((name) => Object.hasOwn(header, name))) return null;
  return { text, alg, header, claims };
}

/** Whole seconds since 1970, as the claims `exp`, `nbf` and `iat` hold here. */
export function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}
