import { createHash, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  type CryptoKey,
  calculateJwkThumbprint,
  exportJWK,
  generateKeyPair,
  type JWK,
  type JWTPayload,
  SignJWT,
} from "jose";

/** What clients with keys of their own do: assertions (RFC 7523) and DPoP proofs (RFC 9449), by jose. */

export interface TestKey {
  readonly alg: string;
  readonly privateKey: CryptoKey;
  /** With kid and alg, as a client registers it. */
  readonly jwk: JWK;
  /** As it stands in a proof. */
  readonly bare: JWK;
  readonly thumbprint: string;
}

export async function makeKey(alg = "ES256", kid: string = randomUUID()): Promise<TestKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true, modulusLength: 2048 });
  const bare = await exportJWK(publicKey);
  return {
    alg,
    privateKey,
    jwk: { ...bare, kid, alg, use: "sig" },
    bare,
    thumbprint: await calculateJwkThumbprint(bare),
  };
}

export const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

export const inSeconds = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;

/** Undefined members leave a claim or header out. */
export async function sign(
  key: TestKey,
  claims: Record<string, unknown>,
  header: Record<string, unknown> = {},
): Promise<string> {
  const protectedHeader = { alg: key.alg, kid: key.jwk.kid, ...header };
  const given = Object.entries(protectedHeader).filter(([, value]) => value !== undefined);
  return new SignJWT(claims as JWTPayload)
    .setProtectedHeader(Object.fromEntries(given) as { alg: string })
    .sign(key.privateKey);
}

export function assertionOf(
  key: TestKey,
  clientId: string,
  issuer: string,
  claims: Record<string, unknown> = {},
  header: Record<string, unknown> = {},
): Promise<string> {
  const standard = {
    iss: clientId,
    sub: clientId,
    aud: issuer,
    jti: randomUUID(),
    exp: inSeconds(60),
    iat: inSeconds(0),
  };
  return sign(key, { ...standard, ...claims }, header);
}

/** Parameters of a request that a client with this key authenticates. */
export async function withAssertion(key: TestKey, clientId: string, issuer: string): Promise<Record<string, string>> {
  return { client_assertion_type: assertionType, client_assertion: await assertionOf(key, clientId, issuer) };
}

export function proofOf(
  key: TestKey,
  htm: string,
  htu: string,
  more: {
    accessToken?: string;
    nonce?: string;
    claims?: Record<string, unknown>;
    header?: Record<string, unknown>;
  } = {},
): Promise<string> {
  const { accessToken, nonce, claims, header } = more;
  const ath = accessToken === undefined ? undefined : createHash("sha256").update(accessToken).digest("base64url");
  const standard = { jti: randomUUID(), htm, htu, iat: inSeconds(0), ath, nonce };
  return sign(key, { ...standard, ...claims }, { typ: "dpop+jwt", kid: undefined, jwk: key.bare, ...header });
}

/** A server on this machine that counts who connects. */
export async function listen(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; host: string; connections: () => number; close(): void }> {
  let connections = 0;
  const server = createServer(answer).on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // a test that fails before it closes this does not keep the process
  server.unref();
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: `http://${host}`,
    host,
    connections: () => connections,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
