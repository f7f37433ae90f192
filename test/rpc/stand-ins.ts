import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../gen/auth/v1/token_pb.ts";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { AuthError } from "../../src/errors.ts";
import { CallerLimits } from "../../src/oauth/callers/caller-limits.ts";
import type { OAuthContext } from "../../src/oauth/context.ts";
import type { Authenticate } from "../../src/rpc/caller.ts";
import type { EdgeParts } from "../../src/rpc/edge.ts";
import { startGrpcServer } from "../../src/rpc/grpc-server.ts";
import { startInternalListener } from "../../src/rpc/internal-listener.ts";
import { createLogger } from "../../src/telemetry/log.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";

export const services: readonly DescService[] = [IntrospectionService, TokenService, UserService];
export const allMethods: readonly DescMethod[] = services.flatMap((service) => service.methods);

export type Handler = (request: never, context: never) => unknown;

/** Callers known by a word: `all`, one scope's name, `user` (an end user's token), `expired`. */
export const authenticateByWord: Authenticate = async (_ctx, { authorization }) => {
  if (authorization === null) throw new AuthError("unauthorized", "no credentials");
  const word = authorization.replace(/^Bearer /, "");
  if (word === "expired") throw new AuthError("token_expired", "the token expired");
  if (word === "user") throw new AuthError("forbidden", "user tokens are rejected on this listener");
  const every = ["auth.introspect", "auth.tokens", "auth.keys", "auth.users.read", "auth.users.write"];
  const scopes = word === "all" ? [...every, "auth.users.admin"] : word === "none" ? [] : [word];
  if (word !== "none" && !word.startsWith("auth.") && word !== "all") throw new AuthError("invalid_token", "unknown");
  return { client: { clientId: `client of ${word}` } as never, scopes: new Set(scopes) };
};

/** Every method answers with an empty message and writes down that it was reached, unless `handlers` has it. */
export function standInParts(handlers: Record<string, Handler> = {}): EdgeParts & { reached: string[] } {
  const reached: string[] = [];
  const registrations = services.map((service) => ({
    service,
    implementation: Object.fromEntries(
      service.methods.map((method) => [
        method.localName,
        (request: never, context: never) => {
          reached.push(method.localName);
          const answer = handlers[method.localName]?.(request, context) ?? {};
          return method.methodKind === "server_streaming" ? only(answer) : answer;
        },
      ]),
    ),
  }));
  return { registrations, authenticate: authenticateByWord, reached };
}

/** Both fronts over stand-ins, on free ports, with what they logged. */
export async function startEdges(handlers: Record<string, Handler> = {}) {
  const logged: string[] = [];
  const ctx = {
    config: { jwksMaxAge: 300 },
    callerLimits: new CallerLimits(null),
    log: createLogger("info", { write: (line) => void logged.push(line) }),
    metrics: createMetrics(),
  } as unknown as OAuthContext;
  const parts = standInParts(handlers);
  const host = "127.0.0.1";
  const grpc = await startGrpcServer(ctx, { host, port: 0, tls: null, reflection: "authorized" }, parts);
  const health = { ready: true } as { ready: boolean; reason?: string };
  const http = await startInternalListener(ctx, { host, port: 0, tls: null, ready: async () => health }, parts);
  return {
    ctx,
    logged,
    health,
    reached: parts.reached,
    grpc,
    http,
    transports: transportsTo(grpc.port, http.port),
    async close() {
      await Promise.all([grpc.close(1000), http.close(1000)]);
    },
  };
}

/** The same calls over each protocol. */
export function transportsTo(grpcPort: number, httpPort: number): Record<string, Transport> {
  const baseUrl = `http://127.0.0.1:${httpPort}`;
  return {
    gRPC: createGrpcTransport({ baseUrl: `http://127.0.0.1:${grpcPort}` }),
    "Connect JSON": createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
    "Connect binary": createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
    "gRPC-Web": createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  };
}

export const protocols = ["gRPC", "Connect JSON", "Connect binary", "gRPC-Web"] as const;

type Calls = Record<string, (request: object, options?: object) => Promise<object>>;

async function* only<T>(answer: T) {
  yield await answer;
}

/** A method by its descriptor; of a stream the first response. */
export async function call(transport: Transport, method: DescMethod, request: object, authorization?: string) {
  const client = createClient(method.parent, transport) as Client<DescService> as unknown as Calls;
  const headers = authorization === undefined ? {} : { authorization };
  const answer = (client[method.localName] as Calls[string])(request, { headers });
  if (method.methodKind !== "server_streaming") return await answer;
  for await (const first of answer as unknown as AsyncIterable<object>) return first;
  throw new Error("the stream ended without a response");
}
