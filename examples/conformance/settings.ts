import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exportJWK, generateKeyPair, type JWK } from "jose";

export interface ConformanceOptions {
  /** The issuer's name, as the suite and its browser reach it. */
  readonly host: string;
  readonly port: number;
  /** The address that the TLS proxy listens on. */
  readonly listen: string;
  /** The suite's base URL, without a slash at the end. */
  readonly suite: string;
  readonly alias: string;
  /** Database, keys and secrets; kept from one start to the next. */
  readonly data: string;
  /** Where the configurations of the plans are written. */
  readonly out: string;
  /** CA of the suite's certificate, for back-channel logout; null: a public one. */
  readonly suiteCa: string | null;
  /** Has the proxy add PKCE to requests that come without it. */
  readonly addPkce: boolean;
}

/** What must not change between two starts, or the configurations written before would be worth nothing. */
export interface Secrets {
  readonly keyEncryptionKey: string;
  readonly password: string;
  /** Of each client with a secret. */
  readonly clients: Readonly<Record<(typeof clientsWithSecret)[number], string>>;
  /** Private keys of the FAPI clients. */
  readonly fapiKeys: readonly [JWK, JWK, JWK];
}

export const clientsWithSecret = ["basic-1", "basic-2", "post", "logout", "backchannel"] as const;
export const email = "suite@example.test";

export const issuerOf = ({ host, port }: ConformanceOptions) => `https://${host}${port === 443 ? "" : `:${port}`}`;

/** What the suite puts before `/callback` and the rest, for every module of every plan. */
export const suiteBaseOf = ({ suite, alias }: ConformanceOptions) => `${suite}/test/a/${alias}`;

export async function readSecrets(folder: string): Promise<Secrets> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, "secrets.json");
  const kept = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Partial<Secrets>) : {};
  const secret = () => randomBytes(32).toString("base64url");
  const clients = Object.fromEntries(clientsWithSecret.map((id) => [id, kept.clients?.[id] ?? secret()]));
  const [first, second, third] = kept.fapiKeys ?? [];
  const secrets: Secrets = {
    keyEncryptionKey: kept.keyEncryptionKey ?? randomBytes(32).toString("base64"),
    password: kept.password ?? secret(),
    clients: clients as Secrets["clients"],
    fapiKeys: [
      first ?? (await privateKey("fapi-1")),
      second ?? (await privateKey("fapi-2")),
      third ?? (await privateKey("fapi-rejected")),
    ],
  };
  writePrivately(file, secrets);
  return secrets;
}

async function privateKey(kid: string): Promise<JWK> {
  const { privateKey: key } = await generateKeyPair("PS256", { extractable: true });
  return { ...(await exportJWK(key)), kid, alg: "PS256", use: "sig" };
}

export function publicPart({ d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...rest }: JWK): JWK {
  return rest;
}

/** A file that only its owner reads: there are secrets in it. */
export function writePrivately(file: string, content: string | object): void {
  const text = typeof content === "string" ? content : `${JSON.stringify(content, null, 2)}\n`;
  writeFileSync(file, text, { mode: 0o600 });
  chmodSync(file, 0o600);
}
