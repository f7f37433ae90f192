import { createServer, request as httpRequest, type IncomingMessage, type RequestListener } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { fastify } from "fastify";
import {
  IntrospectionService,
  type IntrospectRequest,
  IntrospectRequestSchema,
  type IntrospectResponse,
  IntrospectResponseSchema,
} from "../../gen/auth/v1/introspection_pb.ts";
import * as connectMiddleware from "../../src/verifier/connect.ts";
import * as fastifyMiddleware from "../../src/verifier/fastify.ts";
import { protectStream, protectUnary } from "../../src/verifier/grpc.ts";
import * as httpMiddleware from "../../src/verifier/http.ts";
import { createVerifier, type Verifier } from "../../src/verifier/verifier.ts";
import { makeKey, proofOf, type TestKey } from "../support/keys.ts";
import { type Issuer, seconds, startIssuer } from "./issuer.ts";

let issuer: Issuer;
let verifier: Verifier;
/** Its keys cannot be fetched. */
let blind: Verifier;
/** Takes tokens that are bound to a DPoP key. */
let binding: Verifier;
const publicUrl = "https://api.example/v1";
let key: TestKey;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  issuer = await startIssuer();
  const options = { audience: "portal-client", onStreamLost: "accept-until-expiry" } as const;
  verifier = createVerifier({ ...options, issuer: issuer.url });
  blind = createVerifier({ ...options, issuer: issuer.url, jwksUri: `http://127.0.0.1:9/keys`, jwksTimeoutMs: 200 });
  binding = createVerifier({ ...options, issuer: issuer.url, dpop: { publicUrl } });
  key = await makeKey();
  await Promise.all([verifier.ready(), binding.ready()]);
});
afterAll(async () => {
  await Promise.all([
    verifier.close(),
    blind.close(),
    binding.close(),
    issuer.close(),
    ...closing.map((close) => close()),
  ]);
});

const challenge = (text: string) => `Bearer error="invalid_token", error_description="The access token ${text}"`;
/** What is sent, and the row of the table that comes back: status, body, WWW-Authenticate, gRPC code. */
const table = () =>
  [
    ["no header", undefined, 401, "Unauthorized", "Bearer", Code.Unauthenticated],
    ["not a token", "Bearer nonsense", 401, "Invalid Token", challenge("is not valid"), Code.Unauthenticated],
    ["another scheme", "Basic eDp5", 401, "Invalid Token", challenge("is not valid"), Code.Unauthenticated],
    [
      "expired",
      `Bearer ${issuer.token({ exp: seconds() - 1 })}`,
      401,
      "Token Expired",
      challenge("expired"),
      Code.Unauthenticated,
    ],
    [
      "no scope",
      `Bearer ${issuer.token({ scope: "" })}`,
      403,
      "Forbidden",
      'Bearer error="insufficient_scope"',
      Code.PermissionDenied,
    ],
  ] as const;
const good = () => `Bearer ${issuer.token({ sub: "user-9" })}`;
const refusedProof = 'DPoP error="invalid_dpop_proof", algs="ES256 PS256 EdDSA Ed25519"';
/** Of a bound token: its header, and a proof for it. */
function boundToken() {
  const accessToken = issuer.token({ sub: "user-9", cnf: { jkt: key.thumbprint } });
  const prove = (method: string, path: string) => proofOf(key, method, `${publicUrl}${path}`, { accessToken });
  return { accessToken, authorization: `DPoP ${accessToken}`, prove };
}

async function listen(handler: RequestListener): Promise<string> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
/** A chain as Express and connect run it. */
const chainOf = (by: Verifier) => {
  const middleware = httpMiddleware.requireToken(by, { scopes: ["read"] });
  return listen((request: IncomingMessage, response) =>
    middleware(request, response, () => response.end(httpMiddleware.claimsOf(request).sub)),
  );
};
async function fastifyOf(by: Verifier): Promise<string> {
  const app = fastify();
  app.get("/open", async () => "open");
  await app.register(async (scope) => {
    await scope.register(fastifyMiddleware.verifierPlugin(by, { scopes: ["read"] }));
    scope.get("/", async (request) => fastifyMiddleware.claimsOf(request).sub);
  });
  const onRequest = fastifyMiddleware.requireToken(by, { scopes: ["write"] });
  app.get("/write", { onRequest }, async (request) => fastifyMiddleware.claimsOf(request).sub);
  closing.push(() => app.close());
  return app.listen({ port: 0, host: "127.0.0.1" });
}

describe.each([
  ["node:http and Express", chainOf],
  ["Fastify", fastifyOf],
])("%s", (_name, start) => {
  const ask = (url: string, authorization?: string) =>
    fetch(url, authorization === undefined ? {} : { headers: { authorization } });

  test("the table, byte for byte", async () => {
    const url = await start(verifier);
    for (const [name, authorization, status, error, wwwAuthenticate] of table()) {
      const answer = await ask(url, authorization);
      expect([name, answer.status, await answer.text(), answer.headers.get("www-authenticate")]).toEqual([
        name,
        status,
        `{"error":"${error}"}`,
        wwwAuthenticate,
      ]);
      expect(answer.headers.get("content-type")).toBe("application/json; charset=utf-8");
      expect(answer.headers.get("cache-control")).toBe("no-store");
    }
    const answer = await ask(url, good());
    expect([answer.status, await answer.text()]).toEqual([200, "user-9"]);
  });

  test("unknown revocation state is 503 with Retry-After", async () => {
    const answer = await ask(await start(blind), good());
    expect([answer.status, await answer.text(), answer.headers.get("retry-after")]).toEqual([
      503,
      '{"error":"Unavailable"}',
      "1",
    ]);
    expect(answer.headers.get("www-authenticate")).toBeNull();
  });

  test("a token that is bound to a DPoP key comes with a proof of the request, as clients know its URL", async () => {
    const url = await start(binding);
    const { accessToken, authorization, prove } = boundToken();
    const send = async (method: string, headers: Record<string, string>) => {
      const answer = await fetch(`${url}/?page=2`, { method, headers });
      return [answer.status, await answer.text(), answer.headers.get("www-authenticate")];
    };
    const proof = await prove("GET", "/");
    expect(await send("GET", { authorization, dpop: proof })).toEqual([200, "user-9", null]);
    expect(await send("HEAD", { authorization, dpop: await prove("HEAD", "/") })).toEqual([200, "", null]);
    const wrong = [proof, await prove("POST", "/"), await prove("GET", "/x"), "x"];
    wrong.push(await proofOf(key, "GET", `${url}/`, { accessToken }));
    for (const dpop of wrong) {
      expect(await send("GET", { authorization, dpop })).toEqual([401, '{"error":"invalid_dpop_proof"}', refusedProof]);
    }
    const [status, body, header] = await send("GET", { authorization });
    expect([status, body]).toEqual([401, '{"error":"Invalid Token"}']);
    expect(header).toMatch(/^DPoP error="invalid_token", .*algs=/);
    const asBearer = { authorization: `Bearer ${accessToken}`, dpop: await prove("GET", "/") };
    expect(await send("GET", asBearer)).toEqual([401, '{"error":"Invalid Token"}', challenge("is not valid")]);
    expect((await send("GET", { authorization: good() }))[0]).toBe(200);
  });

  test("two DPoP headers are none", async () => {
    const url = await start(binding);
    const { authorization, prove } = boundToken();
    const [one, two] = [await prove("GET", "/"), await prove("GET", "/")];
    const statusOf = (...proofs: string[]) =>
      new Promise((resolve, reject) => {
        const headers = ["authorization", authorization, ...proofs.flatMap((proof) => ["dpop", proof])];
        httpRequest(url, { headers: ["host", new URL(url).host, ...headers] }, ({ statusCode, headers }) =>
          resolve([statusCode, headers["www-authenticate"]]),
        )
          .on("error", reject)
          .end();
      });
    for (const proofs of [
      [one, two],
      [one, one],
    ])
      expect(await statusOf(...proofs)).toEqual([401, refusedProof]);
    expect(await statusOf(one)).toEqual([200, undefined]);
  });
});

test("below the path that Express mounts it at, the URL is still the whole one", async () => {
  const { authorization, prove } = boundToken();
  const middleware = httpMiddleware.requireToken(binding);
  const url = await listen((request, response) => {
    const mounted = Object.assign(request, { originalUrl: request.url, url: "/7" });
    middleware(mounted, response, () => response.end(httpMiddleware.claimsOf(request).sub));
  });
  const ask = async (path: string) =>
    (await fetch(`${url}/orders/7`, { headers: { authorization, dpop: await prove("GET", path) } })).status;
  expect([await ask("/orders/7"), await ask("/7")]).toEqual([200, 401]);
});

test("the Fastify plugin guards its own instance only; a route may ask for more", async () => {
  const url = await fastifyOf(verifier);
  expect((await fetch(`${url}/open`)).status).toBe(200);
  expect((await fetch(`${url}/write`, { headers: { authorization: good() } })).status).toBe(403);
  const writing = `Bearer ${issuer.token({ scope: "write" })}`;
  expect((await fetch(`${url}/write`, { headers: { authorization: writing } })).status).toBe(200);
  expect(() => httpMiddleware.claimsOf({})).toThrow("requireToken");
});

describe("Connect", () => {
  const start = async (by: Verifier) => {
    const interceptor = connectMiddleware.requireToken(by, ({ name }) => ({
      scopes: name === "Introspect" ? ["read"] : [],
    }));
    const adapter = connectNodeAdapter({
      interceptors: [interceptor],
      routes: (router) =>
        router.service(IntrospectionService, {
          introspect: (_request, context) => ({ sub: connectMiddleware.claimsOf(context).sub }),
          async *watchRevocations(_request, context) {
            yield { resumeToken: connectMiddleware.claimsOf(context).sub };
          },
        }),
    });
    const http1 = await listen(adapter);
    const server = createHttp2Server(adapter);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closing.push(() => server.close());
    const http2 = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return [
      createConnectTransport({ baseUrl: http1, httpVersion: "1.1" }),
      createGrpcTransport({ baseUrl: http2, idleConnectionTimeoutMs: 10 }),
    ].map((transport) => createClient(IntrospectionService, transport));
  };
  const headersOf = (authorization: string | undefined) => ({
    headers: authorization === undefined ? {} : { authorization },
  });

  test("the table as statuses, over Connect and gRPC", async () => {
    for (const client of await start(verifier)) {
      for (const [name, authorization, , error, wwwAuthenticate, code] of table()) {
        const refused = await client
          .introspect({}, headersOf(authorization))
          .catch((thrown) => ConnectError.from(thrown));
        if (!(refused instanceof ConnectError)) throw new Error(`${name} was answered`);
        expect([name, refused.code, refused.rawMessage]).toEqual([name, code, error]);
        expect(refused.metadata.get("www-authenticate")).toBe(wwwAuthenticate);
      }
      expect((await client.introspect({}, headersOf(good()))).sub).toBe("user-9");
      for await (const { resumeToken } of client.watchRevocations({}, headersOf(good())))
        expect(resumeToken).toBe("user-9");
      const stream = client.watchRevocations({}, headersOf(undefined))[Symbol.asyncIterator]();
      await expect(stream.next()).rejects.toMatchObject({ code: Code.Unauthenticated });
    }
  });

  test("a token that is bound to a DPoP key comes with a proof of the call's URL", async () => {
    const path = "/auth.v1.IntrospectionService/Introspect";
    for (const client of await start(binding)) {
      const { authorization, prove } = boundToken();
      const send = (dpop: string) => client.introspect({}, { headers: { authorization, dpop } });
      const proof = await prove("POST", path);
      expect((await send(proof)).sub).toBe("user-9");
      for (const wrong of [proof, await prove("GET", path), await prove("POST", `${path}s`)]) {
        const refused = await send(wrong).catch((thrown) => ConnectError.from(thrown));
        if (!(refused instanceof ConnectError)) throw new Error("the proof was taken");
        expect([refused.code, refused.rawMessage]).toEqual([Code.Unauthenticated, "invalid_dpop_proof"]);
        expect(refused.metadata.get("www-authenticate")).toBe(refusedProof);
      }
      await expect(client.introspect({}, headersOf(authorization))).rejects.toMatchObject({
        rawMessage: "Invalid Token",
      });
    }
  });

  test("unknown revocation state is UNAVAILABLE", async () => {
    const [client] = await start(blind);
    await expect(client?.introspect({}, headersOf(good()))).rejects.toMatchObject({
      code: Code.Unavailable,
      rawMessage: "Unavailable",
    });
  });
});

describe("grpc-js", () => {
  const shape = {
    requestStream: false,
    requestSerialize: (message: IntrospectRequest) => Buffer.from(toBinary(IntrospectRequestSchema, message)),
    requestDeserialize: (bytes: Buffer) => fromBinary(IntrospectRequestSchema, bytes),
    responseSerialize: (message: IntrospectResponse) => Buffer.from(toBinary(IntrospectResponseSchema, message)),
    responseDeserialize: (bytes: Buffer) => fromBinary(IntrospectResponseSchema, bytes),
  };
  const definition = {
    one: { ...shape, path: "/test.Service/One", responseStream: false },
    many: { ...shape, path: "/test.Service/Many", responseStream: true },
  };
  const start = async (by: Verifier) => {
    const server = new grpc.Server();
    server.addService(definition, {
      one: protectUnary(
        by,
        (
          _call: grpc.ServerUnaryCall<IntrospectRequest, IntrospectResponse>,
          callback: grpc.sendUnaryData<IntrospectResponse>,
          { sub },
        ) => callback(null, create(IntrospectResponseSchema, { sub })),
        { scopes: ["read"] },
      ),
      many: protectStream(by, (call: grpc.ServerWritableStream<IntrospectRequest, IntrospectResponse>, { sub }) => {
        call.write(create(IntrospectResponseSchema, { sub }));
        call.end();
      }),
    });
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    const Client = grpc.makeGenericClientConstructor(definition, "test.Service");
    const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
    closing.push(
      () => client.close(),
      () => server.forceShutdown(),
    );
    const metadataOf = (header: string | undefined, dpop?: string) => {
      const metadata = new grpc.Metadata();
      if (dpop !== undefined) metadata.set("dpop", dpop);
      if (header !== undefined) metadata.set("authorization", header);
      return metadata;
    };
    const request = create(IntrospectRequestSchema);
    const one = (header?: string, dpop?: string) =>
      new Promise<unknown[]>((resolve) =>
        client["one"]?.(
          request,
          metadataOf(header, dpop),
          (error: grpc.ServiceError | null, answer?: IntrospectResponse) =>
            resolve(error === null ? [0, answer?.sub] : [error.code, error.details]),
        ),
      );
    const many = (header?: string) =>
      new Promise<unknown[]>((resolve) => {
        const stream: grpc.ClientReadableStream<IntrospectResponse> = client["many"]?.(request, metadataOf(header));
        stream.on("data", ({ sub }: IntrospectResponse) => resolve([0, sub]));
        stream.on("error", (error: Error & Partial<grpc.ServiceError>) => resolve([error.code, error.details]));
      });
    return { one, many };
  };

  test("the table as statuses, for unary and streaming methods", async () => {
    const { one, many } = await start(verifier);
    for (const [name, authorization, , error, , code] of table()) {
      expect([name, ...(await one(authorization))]).toEqual([name, code, error]);
      if (name !== "no scope") expect([name, ...(await many(authorization))]).toEqual([name, code, error]);
    }
    expect([await one(good()), await many(good())]).toEqual([
      [0, "user-9"],
      [0, "user-9"],
    ]);
    const twice = { metadata: { get: () => [good(), good()] } };
    const refused = await new Promise((resolve) => protectUnary(verifier, () => resolve("answered"))(twice, resolve));
    expect(refused).toEqual({ code: 16, details: "Invalid Token" });
  });

  test("a token that is bound to a DPoP key is refused, with any proof", async () => {
    const { one } = await start(binding);
    const { authorization, prove } = boundToken();
    const proof = await prove("POST", "/test.Service/One");
    expect([await one(authorization, proof), await one(good())]).toEqual([
      [16, "Invalid Token"],
      [0, "user-9"],
    ]);
  });

  test("unknown revocation state is UNAVAILABLE", async () => {
    expect(await (await start(blind)).one(good())).toEqual([14, "Unavailable"]);
  });
});
