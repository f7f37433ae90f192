import { type CryptoKey, compactVerify } from "jose";

/** What signs client assertions and DPoP proofs here: no RSA with PKCS #1 padding in FAPI's sense, no shared secrets. */
export type ClientAssertionAlg = "ES256" | "PS256" | "EdDSA" | "RS256";

/** A JWT that somebody else wrote, taken apart: nothing in it is true before its signature was checked. */
export interface ForeignJwt {
  readonly text: string;
  readonly alg: ClientAssertionAlg;
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
}

const maxLength = 8192;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Members that would have us trust or fetch a key that the token brings, or read it in another way (RFC 8725 section 3.10). */
const refusedHeaders = ["jku", "x5u", "x5c", "crit", "b64", "zip"];

/** @returns null for what is no compact JWS of unambiguous JSON, signed by one of these algorithms and typed as one of these */
export function parseForeignJwt(
  text: string,
  algs: readonly ClientAssertionAlg[],
  typs: readonly unknown[],
): ForeignJwt | null {
  if (text.length > maxLength) return null;
  const parts = text.split(".");
  const [head, body, signature] = parts;
  if (parts.length !== 3 || head === undefined || body === undefined || signature === undefined) return null;
  const header = readObject(head);
  const claims = readObject(body);
  if (header === null || claims === null || bytesOf(signature) === null) return null;
  const alg = algs.find((each) => each === header["alg"]);
  if (alg === undefined || !typs.includes(header["typ"])) return null;
  if (refusedHeaders.some((name) => Object.hasOwn(header, name))) return null;
  return { text, alg, header, claims };
}

/** @param key as jose resolves it: of the type that the algorithm takes, or it fails */
export async function isSignedWith(jwt: ForeignJwt, key: CryptoKey): Promise<boolean> {
  return compactVerify(jwt.text, key, { algorithms: [jwt.alg] }).then(
    () => true,
    () => false,
  );
}

/** Whole seconds since 1970, as the claims `exp`, `nbf` and `iat` hold here. */
export function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function bytesOf(part: string): Buffer | null {
  const bytes = Buffer.from(part, "base64url");
  return bytes.length > 0 && bytes.toString("base64url") === part ? bytes : null;
}

function readObject(part: string): Record<string, unknown> | null {
  const bytes = bytesOf(part);
  if (bytes === null) return null;
  try {
    const text = utf8.decode(bytes);
    const json: unknown = JSON.parse(text);
    if (json === null || typeof json !== "object" || Array.isArray(json) || repeatsName(text)) return null;
    return json as Record<string, unknown>;
  } catch {
    return null;
  }
}

/** Does any object in this JSON name a member twice? Readers differ on which of the two counts (RFC 8725bis). */
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
