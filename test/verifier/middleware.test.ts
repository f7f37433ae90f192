import { createServer, type IncomingMessage, type RequestListener } from "node:http";
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
import { type Issuer, seconds, startIssuer } from "./issuer.ts";

let issuer: Issuer;
let verifier: Verifier;
/** Its keys cannot be fetched. */
let blind: Verifier;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  issuer = await startIssuer();
  const options = { audience: "portal-client", onStreamLost: "accept-until-expiry" } as const;
  verifier = createVerifier({ ...options, issuer: issuer.url });
  blind = createVerifier({ ...options, issuer: issuer.url, jwksUri: `http://127.0.0.1:9/keys`, jwksTimeoutMs: 200 });
  await verifier.ready();
});
afterAll(async () => {
  await Promise.all([verifier.close(), blind.close(), issuer.close(), ...closing.map((close) => close())]);
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

  test("what cannot be known is 503 with Retry-After", async () => {
    const answer = await ask(await start(blind), good());
    expect([answer.status, await answer.text(), answer.headers.get("retry-after")]).toEqual([
      503,
      '{"error":"Unavailable"}',
      "1",
    ]);
    expect(answer.headers.get("www-authenticate")).toBeNull();
  });
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

  test("what cannot be known is UNAVAILABLE", async () => {
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
    const metadataOf = (header: string | undefined) => {
      const metadata = new grpc.Metadata();
      if (header !== undefined) metadata.set("authorization", header);
      return metadata;
    };
    const request = create(IntrospectRequestSchema);
    const one = (header?: string) =>
      new Promise<unknown[]>((resolve) =>
        client["one"]?.(request, metadataOf(header), (error: grpc.ServiceError | null, answer?: IntrospectResponse) =>
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

  test("what cannot be known is UNAVAILABLE", async () => {
    expect(await (await start(blind)).one(good())).toEqual([14, "Unavailable"]);
  });
});
