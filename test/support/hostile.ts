import {
  constants,
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  sign,
  X509Certificate,
} from "node:crypto";
import { keysFor } from "../../src/crypto/keys-for.ts";
import { Sealer } from "../../src/crypto/sealing.ts";
import { caCertificate, serverCertificate, serverKey } from "../rpc/certificates.ts";
import type { TestApp } from "./app.ts";

/** Tokens that a careless verifier would accept: every one of them is to be refused. */

export interface Signer {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: KeyObject;
}

/** What a token that is accepted looks like, and what its verifier knows. */
export interface Model {
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly signer: Signer;
  /** Keys of other algorithms that may sign the same. */
  readonly siblings: readonly Signer[];
  /** Keys of the service that sign something else. */
  readonly others: readonly Signer[];
  /** Nobody is to be asked there for a key. */
  readonly listener: string;
  /** False where others write the token: their JSON may be spaced, and has no `iat` that it needs. */
  readonly ours: boolean;
}

const b64 = (bytes: string | Uint8Array) => Buffer.from(bytes).toString("base64url");
const part = (json: unknown) => b64(JSON.stringify(json));

export function signatureOf(input: string, alg: string, key: KeyObject): Buffer {
  const bytes = Buffer.from(input);
  if (alg === "EdDSA") return sign(null, bytes, key);
  const hash = `sha${/384|512/.exec(alg)?.[0] ?? "256"}`;
  if (alg.startsWith("ES")) return sign(hash, bytes, { key, dsaEncoding: "ieee-p1363" });
  return sign(
    hash,
    bytes,
    alg.startsWith("PS") ? { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : key,
  );
}

/** What a key can sign with besides its own algorithm. */
export const alsoPossible: Readonly<Record<string, readonly string[]>> = {
  ES256: ["ES384", "ES512"],
  RS256: ["PS256", "RS384", "RS512"],
};

/** What is public of a key: a careless verifier takes it for the secret of an HMAC. */
function publicTexts(key: KeyObject, members: object = {}): Record<string, string | Buffer> {
  const publicKey = createPublicKey(key);
  const jwk = publicKey.export({ format: "jwk" });
  const pem = String(publicKey.export({ type: "spki", format: "pem" }));
  return {
    PEM: pem,
    "PEM without its line end": pem.trim(),
    DER: publicKey.export({ type: "spki", format: "der" }),
    "JWK text": JSON.stringify(jwk),
    "published JWK text": JSON.stringify({ ...jwk, ...members, use: "sig" }),
    "x or n": String(jwk.x ?? jwk.n),
    "bytes of x or n": Buffer.from(String(jwk.x ?? jwk.n), "base64url"),
    nothing: "",
  };
}

/** HS256, HS384 and HS512 keyed with what is public of a key. */
export function keyedWithPublic(
  header: object,
  payload: string,
  { kid, alg, privateKey }: Signer,
): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const [name, secret] of Object.entries(publicTexts(privateKey, { kid, alg }))) {
    for (const bits of [256, 384, 512]) {
      const input = `${part({ ...header, alg: `HS${bits}` })}.${payload}`;
      tokens[`HS${bits} with ${name} of ${alg}`] =
        `${input}.${createHmac(`sha${bits}`, secret).update(input).digest("base64url")}`;
    }
  }
  return tokens;
}

/** A token with a good signature over whatever it says. */
export function signed(
  header: unknown,
  payload: string,
  { alg, privateKey }: Pick<Signer, "alg" | "privateKey">,
): string {
  const input = `${part(header)}.${payload}`;
  return `${input}.${b64(signatureOf(input, alg, privateKey))}`;
}

/** The service's own keys, opened as it opens them. */
export async function signersOf(app: TestApp): Promise<(Signer & { use: string })[]> {
  const sealer = new Sealer(keysFor("sealing", app.secrets.keyEncryptionKeys));
  return (await app.context.store.keys.list()).map(({ kid, use, alg, sealedPrivateJwk }) => {
    const key = JSON.parse(sealer.open(sealedPrivateJwk, kid).toString()) as JsonWebKey;
    return { kid, use, alg, privateKey: createPrivateKey({ key, format: "jwk" }) };
  });
}

/** By its row and what is wrong with it. */
export function hostileTokens(model: Model): Map<string, string> {
  const tokens = new Map<string, string>();
  for (const [row, family] of Object.entries(families)) {
    for (const [name, token] of Object.entries(family(model))) tokens.set(`${row} ${name}`, token);
  }
  return tokens;
}

const families: Record<string, (model: Model) => Record<string, string>> = {
  "S-105": algorithms,
  "S-106": foreignKeys,
  "S-107": criticalHeaders,
  "S-108": signatures,
  "S-109": otherSerializations,
  "S-110": otherSpellings,
  "S-111": requiredClaims,
  "S-112": times,
  "S-113": issuerAndAudience,
};

function algorithms({ header, claims, signer, siblings, others }: Model): Record<string, string> {
  const body = part(claims);
  const tokens: Record<string, string> = {};
  for (const each of [signer, ...siblings]) {
    const head = { ...header, kid: each.kid };
    const names = [
      "none",
      "None",
      "nOnE",
      "NONE",
      "",
      undefined,
      null,
      [each.alg],
      "ES256K",
      "ES384",
      "PS256",
      "HS256",
    ];
    for (const alg of names) {
      const name = `${each.alg} key, alg ${JSON.stringify(alg)}`;
      tokens[name] = signed({ ...head, alg }, body, each);
      tokens[`${name}, unsigned`] = `${part({ ...head, alg })}.${body}.`;
    }
    for (const alg of alsoPossible[each.alg] ?? []) {
      tokens[`${alg} by the ${each.alg} key`] = signed({ ...head, alg }, body, { ...each, alg });
    }
    Object.assign(tokens, keyedWithPublic(head, body, each));
  }
  for (const other of [...siblings, ...others]) {
    tokens[`${other.alg} key under the kid of the right one`] = signed({ ...header, alg: other.alg }, body, other);
    if (other.alg !== signer.alg)
      tokens[`${other.alg} named, right key`] = signed({ ...header, alg: other.alg }, body, signer);
  }
  for (const [alg, namedCurve] of [
    ["ES256K", "secp256k1"],
    ["ES384", "P-384"],
  ] as const) {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve });
    tokens[`${alg} of a key of that curve`] = signed({ ...header, alg }, body, { alg, privateKey });
  }
  return tokens;
}

/** Of the key that signs where the right one should, as x5c holds them. */
export const ownCertificates = [serverCertificate, caCertificate].map((pem) =>
  new X509Certificate(pem).raw.toString("base64"),
);

function foreignKeys({ header, claims, signer, others, listener }: Model): Record<string, string> {
  const body = part(claims);
  const privateKey = createPrivateKey(serverKey);
  const own = { alg: "ES256", privateKey };
  const jwk = createPublicKey(privateKey).export({ format: "jwk" });
  const tokens: Record<string, string> = {};
  const members = { jwk, x5c: ownCertificates, jku: `${listener}/jwks`, x5u: `${listener}/certificate` };
  for (const [name, value] of Object.entries(members)) {
    tokens[`${name} of another key`] = signed({ ...header, alg: "ES256", [name]: value }, body, own);
    tokens[`${name} beside the right signature`] = signed({ ...header, [name]: value }, body, signer);
  }
  tokens["another key under the kid of the right one"] = signed({ ...header, alg: "ES256" }, body, own);
  for (const [name, kid] of Object.entries({
    "a path": "../../etc/passwd",
    SQL: "' OR 1=1 --",
    "a UNION": "x' UNION SELECT public_jwk FROM signing_key --",
    "an object's member": "__proto__",
    "an URL": `${listener}/kid`,
    "a number": 1,
    nothing: "",
    "a list": [signer.kid],
    "6 KB long": "k".repeat(6_000),
    "1 MB long": "k".repeat(1_000_000),
  })) {
    tokens[`kid ${name}`] = signed({ ...header, alg: "ES256", kid }, body, own);
    if (typeof kid !== "string" || kid.length < 1_000_000) continue;
    tokens[`kid ${name}, right key`] = signed({ ...header, kid }, body, signer);
  }
  for (const other of others) {
    tokens[`${other.alg} key of the service that signs something else`] = signed(
      { ...header, alg: other.alg, kid: other.kid },
      body,
      other,
    );
  }
  return tokens;
}

function criticalHeaders({ header, claims, signer }: Model): Record<string, string> {
  const body = part(claims);
  return {
    "an unknown critical member": signed({ ...header, crit: ["x"], x: 1 }, body, signer),
    "exp critical": signed({ ...header, crit: ["exp"], exp: 1 }, body, signer),
    "crit without members": signed({ ...header, crit: [] }, body, signer),
    "b64 false": signed({ ...header, b64: false, crit: ["b64"] }, body, signer),
    "b64 false, not critical": signed({ ...header, b64: false }, body, signer),
    "b64 false, payload as it is": signed({ ...header, b64: false, crit: ["b64"] }, JSON.stringify(claims), signer),
  };
}

function signatures({ header, claims, signer }: Model): Record<string, string> {
  const input = `${part(header)}.${part(claims)}`;
  const good = signatureOf(input, signer.alg, signer.privateKey);
  const [r, s, zero] = [good.subarray(0, 32), good.subarray(32), Buffer.alloc(32)];
  const n = Buffer.from("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", "hex");
  const bad: Record<string, Buffer> = {
    "all zero": Buffer.alloc(good.length),
    "r zero": Buffer.concat([zero, s]),
    "s zero": Buffer.concat([r, zero]),
    "r of the order": Buffer.concat([n, s]),
    "both of the order": Buffer.concat([n, n]),
    ...(signer.alg.startsWith("ES") ? { "in DER": sign("sha256", Buffer.from(input), signer.privateKey) } : {}),
    "a byte short": good.subarray(0, -1),
    "a byte long": Buffer.concat([good, zero.subarray(0, 1)]),
    twice: Buffer.concat([good, good]),
  };
  const tokens = Object.fromEntries(Object.entries(bad).map(([name, bytes]) => [name, `${input}.${b64(bytes)}`]));
  const text = b64(good);
  for (let end = 0; end < text.length; end++) tokens[`its first ${end} characters`] = `${input}.${text.slice(0, end)}`;
  return tokens;
}

function otherSerializations({ header, claims, signer }: Model): Record<string, string> {
  const token = signed(header, part(claims), signer);
  const [head, body, tail] = token.split(".");
  const jwe = (given: object, length = 64) =>
    `${part({ ...header, ...given })}.${"A".repeat(342)}.${"A".repeat(16)}.${"A".repeat(length)}.${"A".repeat(22)}`;
  return {
    JWE: jwe({ alg: "RSA-OAEP", enc: "A256GCM" }),
    "JWE with a bomb": jwe({ alg: "dir", enc: "A256GCM", zip: "DEF" }, 5_000),
    PBES2: jwe({ alg: "PBES2-HS256+A128KW", enc: "A128GCM", p2c: 2 ** 31, p2s: "c2FsdA" }),
    "a nested JWT": signed({ ...header, cty: "JWT" }, b64(token), signer),
    "a nested JWT without cty": signed(header, b64(token), signer),
    "flattened JSON": JSON.stringify({ protected: head, payload: body, signature: tail }),
    "general JSON": JSON.stringify({ payload: body, signatures: [{ protected: head, signature: tail }] }),
    "SD-JWT": `${token}~`,
    "SD-JWT with a disclosure": `${token}~${part(["salt", "sub", "admin"])}~`,
    "a detached payload": `${head}..${tail}`,
  };
}

function otherSpellings({ header, claims, signer, ours }: Model): Record<string, string> {
  // a body whose base64 has - and _
  const json = JSON.stringify({ ...claims, x: "???>>>~~~" });
  const token = signed(header, b64(json), signer);
  const [head = "", body = "", tail = ""] = token.split(".");
  const raw = (bytes: string | Uint8Array) => signed(header, b64(bytes), signer);
  const invalid = Buffer.concat([Buffer.from(`${json.slice(0, -1)},"y":"`), Buffer.from([0xff]), Buffer.from('"}')]);
  const doubled = Object.keys(claims).slice(0, 3);
  return {
    "a byte more": `${token}A`,
    "a dot more": `${token}.`,
    "a line end more": `${token}\n`,
    "white space within": `${head}.${body.slice(0, 20)} ${body.slice(20)}.${tail}`,
    "a line end within": `${head}.${body.slice(0, 20)}\n${body.slice(20)}.${tail}`,
    "a padded signature": `${head}.${body}.${tail}==`,
    "a padded body": `${head}.${body}${"=".repeat(-body.length & 3) || "="}.${tail}`,
    "the standard alphabet": `${head}.${Buffer.from(body, "base64url").toString("base64").replaceAll("=", "")}.${tail}`,
    ...Object.fromEntries(doubled.map((name) => [`${name} twice`, raw(json.replace("{", `{"${name}":"admin",`))])),
    "a claim twice, spelled differently": raw(json.replace("{", '{"s\\u0075b":"admin",')),
    "invalid UTF-8": raw(invalid),
    "a byte order mark": raw(`\ufeff${json}`),
    "a list": raw(`[${json}]`),
    null: raw("null"),
    "no JSON": raw(json.slice(0, -1)),
    "8 KB": raw(json.replace("{", `{"y":"${"y".repeat(6_200)}",`)),
    "1 MB": raw(json.replace("{", `{"y":"${"y".repeat(1_000_000)}",`)),
    ...(ours ? { "white space in JSON": raw(json.replace("{", "{ ")) } : {}),
  };
}

function requiredClaims({ header, claims, signer, ours }: Model): Record<string, string> {
  const made = (changes: object) => signed(header, part({ ...claims, ...changes }), signer);
  const tokens: Record<string, string> = {};
  const exp = Number(claims["exp"]);
  const values = {
    missing: undefined,
    null: null,
    "a string": String(exp),
    negative: -exp,
    "a fraction": exp + 0.5,
    "a list": [exp],
    zero: 0,
  };
  for (const [name, value] of Object.entries(values)) {
    tokens[`exp ${name}`] = made({ exp: value });
    // a time that others write may have a fraction (RFC 7519 section 2), and they need no iat
    if (!ours && name === "a fraction") delete tokens[`exp ${name}`];
    const allowed = ["negative", "zero"].includes(name) || (!ours && ["missing", "a fraction"].includes(name));
    if (!allowed) tokens[`iat ${name}`] = made({ iat: name === "a fraction" ? Number(claims["iat"]) - 0.5 : value });
  }
  const text = JSON.stringify({ ...claims, exp: "EXP" });
  for (const huge of ["1e400", "1e308", "9007199254740993"]) {
    tokens[`exp ${huge}`] = signed(header, b64(text.replace('"EXP"', huge)), signer);
  }
  tokens["nbf a string"] = made({ nbf: String(claims["iat"]) });
  return tokens;
}

function times({ header, claims, signer }: Model): Record<string, string> {
  const made = (changes: object) => signed(header, part({ ...claims, ...changes }), signer);
  const later = Math.floor(Date.now() / 1000) + 61;
  return { "iat 61 s ahead": made({ iat: later }), "nbf 61 s ahead": made({ nbf: later }) };
}

function issuerAndAudience({ header, claims, signer }: Model): Record<string, string> {
  const tokens: Record<string, string> = {};
  const { iss, aud } = claims;
  const values = {
    iss: {
      other: "https://other.example",
      "with a slash": `${iss}/`,
      missing: undefined,
      "a list": [iss],
      "in capitals": String(iss).toUpperCase(),
    },
    aud: {
      other: "other",
      "with a slash": `${aud}/`,
      missing: undefined,
      "a list": [aud],
      "a list of others": ["other", "another"],
      empty: "",
    },
  };
  for (const [claim, changes] of Object.entries(values)) {
    for (const [name, value] of Object.entries(changes)) {
      tokens[`${claim} ${name}`] = signed(header, part({ ...claims, [claim]: value }), signer);
    }
  }
  return tokens;
}
