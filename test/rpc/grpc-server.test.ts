import { Agent, get } from "node:http";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema as Any, type AnySchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ErrorDetailSchema } from "../../gen/auth/v1/error_pb.ts";
import { SignUpRequestSchema, UserService } from "../../gen/auth/v1/user_pb.ts";
import { AuthError } from "../../src/errors.ts";
import { startGrpcServer } from "../../src/rpc/grpc-server.ts";
import { pemFile } from "../support/pem-file.ts";
import { caCertificate, clientCertificate, clientKey, serverCertificate, serverKey } from "./certificates.ts";
import { reflect, type Unary } from "./reflection-client.ts";
import { standInParts, startEdges } from "./stand-ins.ts";

let edges: Awaited<ReturnType<typeof startEdges>>;
let address: string;
const all = new grpc.Metadata();
all.set("authorization", "Bearer all");

beforeAll(async () => {
  edges = await startEdges({
    introspect: async () => ({ active: true, scope: "openid", exp: 1_900_000_000n }),
    authorize: () => new Promise((resolve) => setTimeout(resolve, 300, { allowed: true })),
    getUser: async () => {
      throw new AuthError("not_found", "no such user");
    },
  });
  address = `127.0.0.1:${edges.grpc.port}`;
});
afterAll(() => edges.close());

/** One call with exactly these bytes and headers. */
function raw(path: string, body: Buffer, headers: Record<string, string> = {}): Promise<IncomingHttpHeaders> {
  return new Promise((resolve, reject) => {
    const session = connect(`http://${address}`);
    session.on("error", reject);
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      authorization: "Bearer all",
      ...headers,
    });
    let answer: IncomingHttpHeaders = {};
    stream.on("response", (head) => {
      answer = { ...head };
    });
    stream.on("trailers", (trailers) => {
      answer = { ...answer, ...trailers };
    });
    stream.on("error", () => {});
    stream.on("close", () => {
      session.close();
      resolve(answer);
    });
    stream.resume();
    stream.end(body);
  });
}

const frame = (message: Buffer, compressed = 0) => {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed, 0);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
};

const status = async (answer: Promise<IncomingHttpHeaders>) => grpc.status[Number((await answer)["grpc-status"])];

const signUp = "/auth.v1.UserService/SignUp";
const authorize = "/auth.v1.IntrospectionService/Authorize";

describe("messages", () => {
  test("S-184 a message that is no protobuf is INVALID_ARGUMENT, and the handler is not reached", async () => {
    edges.reached.length = 0;
    for (const bytes of ["ffffffff", "0aff", "0b", "0affffffffffffffffffff01", "00"]) {
      expect(await status(raw(signUp, frame(Buffer.from(bytes, "hex"))))).toBe("INVALID_ARGUMENT");
    }
    expect(edges.reached).toEqual([]);
  });

  test.each([
    ["C3 28", "c328"],
    ["overlong C0 80", "c080"],
    ["a lone surrogate", "eda080"],
  ])("S-185 a string of %s is INVALID_ARGUMENT", async (_name, hex) => {
    const text = Buffer.from(hex, "hex");
    const message = Buffer.concat([Buffer.from([0x0a, text.length]), text]);
    expect(await status(raw(signUp, frame(message)))).toBe("INVALID_ARGUMENT");
  });

  test("S-183 a message over the limit is RESOURCE_EXHAUSTED, sent as it is or as a bomb", async () => {
    const limit = 4 * 1024 * 1024;
    expect(await status(raw(signUp, frame(Buffer.alloc(limit + 1))))).toBe("RESOURCE_EXHAUSTED");
    const bomb = gzipSync(Buffer.alloc(64 * limit));
    expect(await status(raw(signUp, frame(bomb, 1), { "grpc-encoding": "gzip" }))).toBe("RESOURCE_EXHAUSTED");
    const unknown = frame(Buffer.from("x"), 1);
    expect(await status(raw(signUp, unknown, { "grpc-encoding": "xyz" }))).toBe("UNIMPLEMENTED");
    expect(await status(raw(signUp, frame(Buffer.alloc(0))))).toBe("OK");
  });

  test("a thousand tokens of just under 2 KiB fit into one batch", async () => {
    const token = "t".repeat(2047);
    const { IntrospectionService } = await import("../../gen/auth/v1/introspection_pb.ts");
    const client = createClient(IntrospectionService, edges.transports["gRPC"]!);
    await client.batchIntrospect({ tokens: Array(1000).fill(token) }, { headers: { authorization: "Bearer all" } });
  });

  test("nothing an unauthenticated peer sends is parsed", async () => {
    const answer = raw(signUp, frame(Buffer.from("ffff", "hex")), { authorization: "Bearer nonsense" });
    expect(await status(answer)).toBe("UNAUTHENTICATED");
  });

  test("an unknown method or service is UNIMPLEMENTED", async () => {
    expect(await status(raw("/auth.v1.UserService/Nothing", frame(Buffer.alloc(0))))).toBe("UNIMPLEMENTED");
    expect(await status(raw("/auth.v1.Nothing/GetUser", frame(Buffer.alloc(0))))).toBe("UNIMPLEMENTED");
  });

  test("grpc-status-details-bin holds a google.rpc.Status with the detail", async () => {
    const answer = await raw("/auth.v1.UserService/GetUser", frame(Buffer.alloc(0)));
    const bytes = Buffer.from(String(answer["grpc-status-details-bin"]), "base64");
    const at = bytes.indexOf(0x1a);
    const any = fromBinary(Any as typeof AnySchema, bytes.subarray(at + 2));
    expect(any.typeUrl).toBe("type.googleapis.com/auth.v1.ErrorDetail");
    expect(fromBinary(ErrorDetailSchema, any.value)).toMatchObject({
      code: "AUTH_NOT_FOUND",
      description: "no such user",
    });
  });
});

describe("deadlines", () => {
  test.each([
    ["1m", "DEADLINE_EXCEEDED"],
    ["100m", "DEADLINE_EXCEEDED"],
    ["99999999H", "OK"],
    ["20S", "OK"],
    ["-1S", "INVALID_ARGUMENT"],
    ["abc", "INVALID_ARGUMENT"],
    ["123456789S", "INVALID_ARGUMENT"],
  ])("S-186 grpc-timeout %s is answered with %s", async (timeout, expected) => {
    expect(await status(raw(authorize, frame(Buffer.alloc(0)), { "grpc-timeout": timeout }))).toBe(expected);
  });

  test("S-186 a call whose deadline passed while its caller was authenticated starts no work", async () => {
    const parts = standInParts();
    const afterDeadline = Promise.withResolvers<void>();
    const authenticated = Promise.withResolvers<void>();
    const slow = await startGrpcServer(
      edges.ctx,
      { host: "127.0.0.1", port: 0, tls: null, reflection: "open" },
      {
        ...parts,
        authenticate: async (ctx, credentials) => {
          const arrivedAt = performance.now();
          await afterDeadline.promise;
          // a call that arrived late has its whole time from then on
          while (performance.now() < arrivedAt + 60) await new Promise((resolve) => setTimeout(resolve, 5));
          setImmediate(authenticated.resolve);
          return parts.authenticate(ctx, credentials);
        },
      },
    );
    const transport = createGrpcTransport({ baseUrl: `http://127.0.0.1:${slow.port}` });
    const client = createClient(UserService, transport);
    const options = { headers: { authorization: "Bearer all" }, timeoutMs: 50 };
    await expect(client.deleteUser({}, options)).rejects.toThrow("deadline_exceeded");
    afterDeadline.resolve();
    await authenticated.promise;
    expect(parts.reached).toEqual([]);
    await slow.close(100);
  });

  test("the handler's signal aborts when the client hangs up", async () => {
    const seen = Promise.withResolvers<AbortSignal>();
    const aborted = Promise.withResolvers<void>();
    const watching = await startEdges({
      getJwks: (_request, context) => {
        const { signal } = context as { signal: AbortSignal };
        seen.resolve(signal);
        signal.addEventListener("abort", () => aborted.resolve());
        return new Promise(() => {});
      },
    });
    const { TokenService } = await import("../../gen/auth/v1/token_pb.ts");
    const client = createClient(TokenService, watching.transports["gRPC"]!);
    const hangUp = new AbortController();
    const calling = client.getJwks({}, { headers: { authorization: "Bearer all" }, signal: hangUp.signal });
    expect((await seen.promise).aborted).toBe(false);
    hangUp.abort();
    await expect(calling).rejects.toThrow();
    await aborted.promise;
    await watching.close();
  });
});

describe("reflection", () => {
  test("a client built from reflection alone introspects a token", async () => {
    for (const version of ["v1", "v1alpha"] as const) {
      const definition = await reflect(address, version, "auth.v1.IntrospectionService", all);
      const service = grpc.loadPackageDefinition(definition) as never as {
        auth: { v1: { IntrospectionService: grpc.ServiceClientConstructor } };
      };
      const client = new service.auth.v1.IntrospectionService(address, grpc.credentials.createInsecure());
      const answer = await new Promise((resolve, reject) => {
        (client["Introspect"] as Unary).call(client, { token: "t" }, all, (error, value) =>
          error ? reject(error) : resolve(value),
        );
      });
      expect(answer).toMatchObject({ active: true, scope: "openid", exp: "1900000000" });
      client.close();
    }
  });

  test("S-191 in production it answers callers with an internal scope only", async () => {
    const as = (authorization: string) => {
      const metadata = new grpc.Metadata();
      if (authorization !== "") metadata.set("authorization", authorization);
      return reflect(address, "v1", "auth.v1.UserService", metadata);
    };
    await expect(as("")).rejects.toMatchObject({ code: grpc.status.UNAUTHENTICATED, details: "Unauthorized" });
    await expect(as("Bearer user")).rejects.toMatchObject({ code: grpc.status.PERMISSION_DENIED });
    await expect(as("Bearer none")).rejects.toMatchObject({
      code: grpc.status.PERMISSION_DENIED,
      details: "Forbidden",
    });
    await expect(as("Bearer auth.keys")).resolves.toBeDefined();
  });

  test("in development it answers everybody and names the health service too", async () => {
    const open = await startGrpcServer(
      edges.ctx,
      { host: "127.0.0.1", port: 0, tls: null, reflection: "open" },
      standInParts(),
    );
    const target = `127.0.0.1:${open.port}`;
    await expect(reflect(target, "v1", "auth.v1.UserService", new grpc.Metadata())).resolves.toBeDefined();
    await expect(reflect(target, "v1", "grpc.health.v1.Health", new grpc.Metadata())).resolves.toBeDefined();
    await open.close(100);
  });
});

describe("health", () => {
  const check = async (service: string, address: string) => {
    const { service: definition } = await import("grpc-health-check");
    const Client = grpc.makeGenericClientConstructor(definition, "Health");
    const client = new Client(address, grpc.credentials.createInsecure());
    try {
      return await new Promise((resolve, reject) => {
        (client["check"] as Unary).call(client, { service }, new grpc.Metadata(), (error, value) =>
          error ? reject(error) : resolve((value as { status: string }).status),
        );
      });
    } finally {
      client.close();
    }
  };

  test("each service answers for itself, without credentials", async () => {
    const names = ["", "auth.v1.UserService", "auth.v1.TokenService", "auth.v1.IntrospectionService"];
    for (const serving of [true, false, true]) {
      edges.grpc.setServing(serving);
      for (const name of names) expect(await check(name, address)).toBe(serving ? "SERVING" : "NOT_SERVING");
    }
    await expect(check("auth.v1.Nothing", address)).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  });

  test("F-50 while it drains the server answers, is not serving, and tells of all calls but health checks", async () => {
    const draining = await startEdges();
    let calls = 0;
    draining.grpc.drain(() => calls++);
    // the replica was ready when it was asked last
    draining.grpc.setServing(true);
    expect(await check("", `127.0.0.1:${draining.grpc.port}`)).toBe("NOT_SERVING");
    expect(calls).toBe(0);
    const client = createClient(UserService, draining.transports["gRPC"]!);
    await client.signUp({}, { headers: { authorization: "Bearer all" } });
    expect(calls).toBe(1);
    await draining.close();
  });
});

describe("life of the server", () => {
  const work = (ms: number) =>
    startEdges({ getJwks: () => new Promise((resolve) => setTimeout(resolve, ms, { jwks: "done" }).unref()) });
  const path = async (edgesOf: Awaited<ReturnType<typeof startEdges>>, protocol: string) => {
    const { TokenService } = await import("../../gen/auth/v1/token_pb.ts");
    const client = createClient(TokenService, edgesOf.transports[protocol]!);
    return client.getJwks({}, { headers: { authorization: "Bearer all" } });
  };

  test("closing lets the call under way finish, on both fronts", async () => {
    const closing = await work(300);
    const calls = [path(closing, "gRPC"), path(closing, "Connect binary")];
    while (closing.reached.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await Promise.all([closing.grpc.close(5000), closing.http.close(5000)]);
    expect((await Promise.all(calls)).map(({ jwks }) => jwks)).toEqual(["done", "done"]);
  });

  test("closing ends what does not finish within the grace", async () => {
    const closing = await work(20_000);
    const calling = path(closing, "gRPC");
    calling.catch(() => {});
    while (closing.reached.length < 1) await new Promise((resolve) => setTimeout(resolve, 5));
    const startedAt = performance.now();
    await closing.grpc.close(100);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    await expect(calling).rejects.toThrow();
    await closing.http.close(1000);
  });

  test("F-50 a listener that drains ends HTTP connections with their next answer, and tells of all but the operators' requests", async () => {
    const draining = await startEdges();
    const base = `http://127.0.0.1:${draining.http.port}`;
    const agent = new Agent({ keepAlive: true });
    const connectionOf = (path: string) =>
      new Promise<string | undefined>((resolve, reject) => {
        get(`${base}${path}`, { agent }, (response) => {
          response.resume().on("end", () => resolve(response.headers.connection));
        }).on("error", reject);
      });
    expect(await connectionOf("/nothing")).toBe("keep-alive");
    let requests = 0;
    draining.http.drain(() => requests++);
    for (const path of ["/healthz", "/readyz", "/metrics"]) expect(await connectionOf(path)).toBe("close");
    expect(requests).toBe(0);
    expect(await connectionOf("/nothing")).toBe("close");
    expect(requests).toBe(1);
    agent.destroy();
    await draining.close();
  });

  test("a port in use is an error at start", async () => {
    const options = { host: "127.0.0.1", port: edges.grpc.port, tls: null, reflection: "open" } as const;
    await expect(startGrpcServer(edges.ctx, options, standInParts())).rejects.toThrow();
  });
});

describe("TLS", () => {
  test("a client certificate brings its subject as RFC 4514 writes it, and none gets no connection", async () => {
    const seen: (string | null)[] = [];
    const parts = standInParts();
    const server = await startGrpcServer(
      edges.ctx,
      {
        host: "127.0.0.1",
        port: 0,
        tls: { cert: pemFile(serverCertificate), key: pemFile(serverKey), clientCa: pemFile(caCertificate) },
        reflection: "open",
      },
      {
        ...parts,
        authenticate: async (ctx, credentials) => {
          seen.push(credentials.certificateSubject, credentials.network);
          return parts.authenticate(ctx, { ...credentials, authorization: "Bearer all" });
        },
      },
    );
    const baseUrl = `https://localhost:${server.port}`;
    const trusted = createGrpcTransport({
      baseUrl,
      nodeOptions: { ca: caCertificate, cert: clientCertificate, key: clientKey },
    });
    await createClient(UserService, trusted).deleteUser({});
    expect(seen).toEqual(["CN=orders,O=Example\\, Inc.,C=DE", "127.0.0.1"]);
    const stranger = createGrpcTransport({ baseUrl, nodeOptions: { ca: caCertificate } });
    await expect(createClient(UserService, stranger).deleteUser({})).rejects.toThrow();
    await server.close(100);
  });
});

test("S-188 large metadata is refused and the server goes on", async () => {
  const answer = await raw(signUp, frame(Buffer.from(toBinary(SignUpRequestSchema, create(SignUpRequestSchema)))), {
    "x-large": "x".repeat(64 * 1024),
  }).catch(() => ({}));
  expect(answer).not.toMatchObject({ "grpc-status": "0" });
  expect(await status(raw(signUp, frame(Buffer.alloc(0))))).toBe("OK");
});
