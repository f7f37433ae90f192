import { generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import {
  createServer as createHttp2Server,
  createSecureServer,
  type Http2Session,
  type SecureServerOptions,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { IntrospectionService, RevocationKind } from "../../gen/auth/v1/introspection_pb.ts";

type Alg = "ES256" | "RS256" | "EdDSA";
export const seconds = () => Math.floor(Date.now() / 1000);
export const encode = (json: unknown): string => Buffer.from(JSON.stringify(json)).toString("base64url");

/** Keys, tokens of every kind, right and wrong, and a place that publishes the keys. */
export async function startIssuer() {
  const pairs = {
    ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
    RS256: generateKeyPairSync("rsa", { modulusLength: 2048 }),
    EdDSA: generateKeyPairSync("ed25519"),
  };
  const jwkOf = (key: KeyObject, kid: string, alg: string) => ({
    ...key.export({ format: "jwk" }),
    kid,
    alg,
    use: "sig",
  });
  const published = (["ES256", "RS256", "EdDSA"] as const).map(
    (alg): Record<string, unknown> => jwkOf(pairs[alg].publicKey, alg, alg),
  );
  const issuer = {
    url: "",
    pairs,
    jwkOf,
    /** What the key set holds; changed by tests. */
    keys: published,
    /** `status` instead of an answer. */
    failWith: null as number | null,
    maxAge: 300,
    fetched: [] as string[],
    /** Called in place of the key set, when set. */
    answer: null as ((request: IncomingMessage, response: ServerResponse) => void) | null,
    claims: (claims: Record<string, unknown> = {}): Record<string, unknown> => ({
      iss: issuer.url,
      sub: "user-1",
      aud: "portal-client",
      exp: seconds() + 120,
      iat: seconds(),
      jti: randomUUID(),
      client_id: "portal-client",
      sid: randomUUID(),
      scope: "openid profile read",
      roles: ["ROLE_USER"],
      nickname: "nick",
      ...claims,
    }),
    /** Signed with the key of its alg, whatever it says. */
    token(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}, alg: Alg = "ES256"): string {
      return issuer.raw(encode({ alg, typ: "at+jwt", kid: alg, ...header }), encode(issuer.claims(claims)), alg);
    },
    raw(head: string, body: string, alg: Alg = "ES256"): string {
      const input = `${head}.${body}`;
      const key = pairs[alg].privateKey;
      const signature =
        alg === "EdDSA"
          ? sign(null, Buffer.from(input), key)
          : sign("sha256", Buffer.from(input), alg === "ES256" ? { key, dsaEncoding: "ieee-p1363" } : key);
      return `${input}.${signature.toString("base64url")}`;
    },
    close: async () => {},
  };
  const server = createServer((request, response) => {
    issuer.fetched.push(request.url ?? "");
    if (issuer.answer !== null) return issuer.answer(request, response);
    if (issuer.failWith !== null) return void response.writeHead(issuer.failWith).end();
    const json =
      request.url === "/.well-known/openid-configuration"
        ? { issuer: issuer.url, jwks_uri: `${issuer.url}/oauth2/jwks` }
        : { keys: issuer.keys };
    response.writeHead(200, {
      "content-type": "application/json",
      "cache-control": `public, max-age=${issuer.maxAge}`,
    });
    response.end(JSON.stringify(json));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  issuer.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  issuer.close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return issuer;
}

export type Issuer = Awaited<ReturnType<typeof startIssuer>>;
export interface Told {
  kind: RevocationKind;
  value: string;
  revokedAt?: number;
  expiresAt?: number;
}

/** A stand-in for the issuer's internal listener: follows the contract, and breaks it on demand. */
export async function startService(port = 0, tls?: SecureServerOptions) {
  const told: Told[] = [];
  const service = {
    baseUrl: "",
    port: 0,
    told,
    heartbeatMs: 50,
    /** Milliseconds since 1970, as complete_until. */
    time: () => Date.now(),
    /** Snapshot responses before the last one; `holdSnapshot` keeps the last one back. */
    page: 2,
    holdSnapshot: false,
    /** Nothing is sent any more, the stream stays open. */
    frozen: false,
    /** Streams answer with it. */
    refuse: null as ConnectError | null,
    refuseResume: null as ConnectError | null,
    resumeTokens: [] as string[],
    authorizations: [] as string[],
    standing: { allowed: true, httpStatus: 200, error: "" } as { allowed: boolean; httpStatus: number; error: string },
    introspecting: async () => {},
    introspectionAway: false,
    watchers: 0,
    revoke(kind: RevocationKind, value: string, revokedAt = Date.now(), expiresAt = Date.now() + 720_000) {
      told.push({ kind, value, revokedAt, expiresAt });
    },
    breakStreams() {
      for (const session of sessions) session.destroy();
    },
    close: async () => {},
  };
  const implementation: ServiceImpl<typeof IntrospectionService> = {
    introspect: async () => ({}),
    batchIntrospect: async () => ({}),
    async authorize({ token }, { requestHeader }) {
      service.authorizations.push(`${requestHeader.get("authorization")} ${token}`);
      await service.introspecting();
      if (service.introspectionAway) throw new ConnectError("away", Code.Unavailable);
      return service.standing;
    },
    async *watchRevocations({ resumeToken }, { signal }) {
      service.resumeTokens.push(resumeToken);
      if (service.refuse !== null) throw service.refuse;
      if (resumeToken !== "" && service.refuseResume !== null) throw service.refuseResume;
      service.watchers++;
      try {
        let at = Number(resumeToken || 0);
        const end = told.length;
        while (!signal.aborted) {
          if (!service.frozen) {
            const revocations = told.slice(at, at + service.page).map(({ kind, value, revokedAt, expiresAt }) => ({
              kind,
              value,
              revokedAt: timestampFromMs(revokedAt ?? 0),
              expiresAt: timestampFromMs(expiresAt ?? 0),
            }));
            const snapshot = at + revocations.length < end || service.holdSnapshot;
            at += revocations.length;
            yield {
              revocations,
              resumeToken: String(at),
              snapshot,
              completeUntil: timestampFromMs(snapshot ? 0 : service.time()),
            };
            if (at < end) continue;
          }
          const heartbeat = Date.now() + service.heartbeatMs;
          while (!signal.aborted && Date.now() < heartbeat && (told.length === at || service.frozen)) {
            await new Promise((resolve) => setTimeout(resolve, 2));
          }
        }
      } finally {
        service.watchers--;
      }
    },
  };
  const sessions = new Set<Http2Session>();
  const adapter = connectNodeAdapter({ routes: (router) => router.service(IntrospectionService, implementation) });
  const server = tls === undefined ? createHttp2Server(adapter) : createSecureServer(tls, adapter);
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
    session.once("close", () => sessions.delete(session));
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  service.port = (server.address() as AddressInfo).port;
  service.baseUrl = `http${tls === undefined ? "" : "s"}://127.0.0.1:${service.port}`;
  service.close = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    service.breakStreams();
    await closed;
  };
  return service;
}

export type Service = Awaited<ReturnType<typeof startService>>;
export { RevocationKind };

export const credentials = { clientId: "internal-service", clientSecret: "internal-service-secret" };

/** Waits until it holds. @returns milliseconds that it took */
export async function until(holds: () => boolean | Promise<boolean>, ms = 20_000): Promise<number> {
  const from = performance.now();
  while (!(await holds())) {
    if (performance.now() - from > ms) throw new Error(`did not happen within ${ms} ms: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return performance.now() - from;
}
