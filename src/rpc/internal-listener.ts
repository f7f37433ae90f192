import { lookup } from "node:dns/promises";
import { once } from "node:events";
import type { RequestListener, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { TLSSocket, Server as TlsServer } from "node:tls";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { fastifyConnectPlugin } from "@connectrpc/connect-fastify";
import { type FastifyInstance, type FastifyRequest, fastify } from "fastify";
import type { Config } from "../config/config.ts";
import { networkOf } from "../limits.ts";
import { endOf } from "../net/close-http.ts";
import { oneAtATime } from "../net/connection-guard.ts";
import type { Drainable } from "../net/drainable.ts";
import { createInternalServer, type WaitingServer } from "../net/internal-server.ts";
import { duplicateHeader } from "../net/strict-http.ts";
import type { TlsListener } from "../net/tls-files.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { duringRequest, type RequestInfo } from "../telemetry/request.ts";
import { readMetrics } from "../telemetry/worker-metrics.ts";
import { GATEWAY } from "../token/gateway.ts";
import { Call, CallValues, type Credentials, callOf, certificateSubject, requestInfo } from "./caller.ts";
import { checkMessages } from "./connect-routes.ts";
import { Edge, type EdgeParts, MAX_MESSAGE_BYTES, type Method } from "./edge.ts";
import { addForwardAuth } from "./forward-auth.ts";
import { addMailbox } from "./mailbox.ts";
import { domainParts } from "./services.ts";

const operatorPaths = ["/healthz", "/readyz", "/metrics"];

export interface InternalListenerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly tls: Config["internalTls"];
  readonly ready: () => Promise<{ ready: boolean; reason?: string }>;
  /** The server of this process that listens there already. */
  readonly waiting?: WaitingServer | null;
}

export interface InternalListener extends TlsListener, Drainable {
  readonly port: number;
  /** Takes no new requests, answers those under way for `graceMs` milliseconds, then ends them. */
  close(graceMs: number): Promise<void>;
}

/**
 * Starts the internal HTTP/1.1 listener: the services over Connect and gRPC-Web, what operators ask
 * (`/healthz`, `/readyz`, `/metrics`), and what proxies ask (`/authorize-request`).
 */
export async function startInternalListener(
  ctx: OAuthContext,
  options: InternalListenerOptions,
  parts: EdgeParts = domainParts(ctx),
): Promise<InternalListener> {
  const main = options.waiting?.server ?? createInternalServer(options.tls);
  const { server, answer } = createFastify(main);
  /** Those that listen; a name may stand for several addresses. */
  const listening = [{ server: main, end: endOf(main) }];
  const infos = new WeakMap<FastifyRequest, RequestInfo>();
  server.addHook("onRequest", (request, reply, done) => {
    const info = requestInfo(request.headers["x-request-id"], new RequestCredentials(request));
    infos.set(request, info);
    reply.header("x-request-id", info.id);
    duringRequest(info, done);
  });
  // a body arrives in events of the connection, which belong to no request
  server.addHook("preHandler", (request, _reply, done) => {
    const info = infos.get(request);
    if (info === undefined) done();
    else duringRequest(info, done);
  });
  server.addHook("onRequest", async (request, reply) => {
    reply.header("cache-control", "no-store").header("x-content-type-options", "nosniff");
    if (duplicateHeader(request.raw.rawHeaders) !== null) {
      return reply.code(400).header("connection", "close").send({ error: "Bad Request" });
    }
    const probe = request.url === "/healthz" || request.url === "/readyz";
    // Probes of an orchestrator have no client certificate; everything else needs one where a client CA is set
    if (options.tls?.clientCa && !probe && !(request.raw.socket as TLSSocket).authorized) {
      return reply.code(GATEWAY.unauthorized.status).send({ error: GATEWAY.unauthorized.error });
    }
  });
  server.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: "Not Found" }));
  server.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
    const statusCode = error.statusCode ?? 500;
    if (statusCode >= 500) ctx.log.error({ err: error }, "the internal listener failed");
    return reply.code(statusCode).send({ error: statusCode >= 500 ? "Internal Server Error" : "Bad Request" });
  });
  addOperatorRoutes(server, ctx, options.ready);
  addMailbox(server, ctx);
  await addForwardAuth(server, ctx);
  const shutdown = new AbortController();
  await addServices(server, new Edge("connect", ctx, parts), shutdown.signal);
  await server.ready();
  if (options.waiting) options.waiting.handOver(answer);
  else {
    main.on("request", answer);
    await once(main.listen(options.port, options.host), "listening");
  }
  const { port } = main.address() as AddressInfo;
  for (const host of await otherAddresses(options.host, main)) {
    const other = createInternalServer(options.tls);
    const end = endOf(other);
    other.on("request", answer);
    // as Fastify has it: the first address is enough
    const listens = await once(other.listen(port, host), "listening").catch(() => null);
    if (listens !== null) listening.push({ server: other, end });
  }
  return {
    port,
    useCertificate(material) {
      for (const each of listening) if (each.server instanceof TlsServer) each.server.setSecureContext(material);
    },
    drain(onRequest) {
      for (const { end } of listening) {
        end.drain(({ url }) => {
          if (!operatorPaths.includes(url ?? "")) onRequest();
        });
      }
    },
    async close(graceMs) {
      const grace = setTimeout(
        () => shutdown.abort(new ConnectError("shutting down", Code.Unavailable)),
        graceMs - 100,
      );
      const closed = listening.map(({ server: each, end }) =>
        end.close(() => new Promise((resolve) => each.close(resolve)), graceMs),
      );
      await Promise.all([...closed, server.close()]);
      clearTimeout(grace);
    },
  };
}

/** `localhost` is both 127.0.0.1 and ::1, where a machine has both. @returns those at which `listening` does not listen */
async function otherAddresses(host: string, listening: Server): Promise<string[]> {
  if (host !== "localhost") return [];
  const all = await lookup(host, { all: true }).catch(() => []);
  const taken = (listening.address() as AddressInfo).address;
  return all.map(({ address }) => address).filter((address) => address !== taken);
}

/** @returns answer what the server is to answer with once Fastify is ready */
function createFastify(own: Server): { server: FastifyInstance; answer: RequestListener } {
  const made: { answer?: RequestListener } = {};
  const server = fastify({
    bodyLimit: MAX_MESSAGE_BYTES,
    return503OnClosing: true,
    forceCloseConnections: "idle",
    serverFactory: (answer) => {
      made.answer = oneAtATime(answer);
      return own;
    },
  });
  if (made.answer === undefined) throw new Error("Fastify asked for no server");
  return { server, answer: made.answer };
}

function addOperatorRoutes(server: FastifyInstance, ctx: OAuthContext, ready: InternalListenerOptions["ready"]): void {
  const handlerTimeout = 10_000;
  for (const url of operatorPaths) {
    server.route({
      method: ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
      url,
      handler: (_request, reply) => reply.code(405).header("allow", "GET, HEAD").send({ error: "Method Not Allowed" }),
    });
  }
  server.get("/healthz", { handlerTimeout }, async () => ({ status: "ok" }));
  server.get("/readyz", { handlerTimeout }, async (_request, reply) => {
    const state = await ready().catch((error: unknown) => {
      ctx.log.error({ err: error }, "the readiness check failed");
      return { ready: false, reason: "the readiness check failed" };
    });
    return reply.code(state.ready ? 200 : 503).send(state);
  });
  server.get("/metrics", { handlerTimeout }, async (_request, reply) => {
    const text = await readMetrics(ctx.metrics.registry);
    if (text === null) return reply.code(503).header("retry-after", "1").send("a worker process does not answer\n");
    return reply.type(ctx.metrics.registry.contentType).send(text);
  });
}

async function addServices(server: FastifyInstance, edge: Edge, shutdownSignal: AbortSignal): Promise<void> {
  const methods = new Map(edge.methods.map((method) => [method.desc, method]));
  const methodOf = (context: Pick<HandlerContext, "method">): Method => {
    const method = methods.get(context.method);
    if (method === undefined) throw new ConnectError("not served here", Code.Unimplemented);
    return method;
  };
  const calls = new WeakMap<FastifyRequest, Call>();
  const paths = new Map(edge.methods.map((method) => [`/${method.name}`, method]));

  await server.register(async (scope) => {
    scope.addHook("onRequest", async (request, reply) => {
      // Tokens are not accepted in URLs, even for methods without side effects
      const method = paths.get(request.routeOptions.url ?? "");
      if (request.method !== "POST" && method?.scope === "auth.introspect") return reply.code(405).send();
      // fastify's onResponse says nothing of a call whose client hung up
      reply.raw.once("close", () => {
        const call = calls.get(request);
        if (call === undefined || method === undefined) return;
        if (!reply.raw.writableFinished) call.outcome ??= "CANCELLED";
        // Connect answers a message it cannot read without telling us
        call.outcome ??= reply.raw.statusCode === 429 ? "RESOURCE_EXHAUSTED" : "INVALID_ARGUMENT";
        edge.finish(method, call);
      });
    });
    // HTTP/1.0 without a host: Connect could not name the call's URL
    scope.addHook("onRequest", async (request, reply) => {
      if (request.headers.host === undefined) return reply.code(400).send({ error: "Bad Request" });
    });
    await scope.register(fastifyConnectPlugin, {
      // One options object for all methods: a method's own would replace this one, gate and limits included
      routes: (router) => {
        for (const method of edge.methods) {
          const unary = method.desc.methodKind === "unary";
          const serve = (request: unknown, context: HandlerContext) =>
            unary ? edge.perform(method, request, context) : edge.stream(method, request, context);
          router.rpc(method.desc, serve as never);
        }
        checkMessages(router, (method, error) => edge.refuse(methodOf({ method }), null, error));
      },
      grpc: false,
      readMaxBytes: MAX_MESSAGE_BYTES,
      binaryOptions: { readUnknownFields: false },
      // Work ends after MAX_CALL_MS whatever a client asks for; a client that would wait longer is not refused for it
      maxTimeoutMs: 3_600_000,
      // small messages over a short way: nothing to unpack, so nothing to bound
      acceptCompression: [],
      requestGate: (context: HandlerContext) => edge.admit(methodOf(context), callOf(context)),
      shutdownSignal,
      contextValues: (request) => {
        const call = new Call(new RequestCredentials(request));
        calls.set(request, call);
        return new CallValues(call);
      },
    });
  });
}

/** Looks at the connection only when somebody asks. */
class RequestCredentials implements Credentials {
  readonly #request: FastifyRequest;
  constructor(request: FastifyRequest) {
    this.#request = request;
  }

  get authorization(): string | null {
    return this.#request.headers.authorization ?? null;
  }

  /** Not looked at where a header says who calls. */
  get certificateSubject(): string | null {
    if (this.authorization !== null) return null;
    const { socket } = this.#request.raw;
    if (!(socket instanceof TLSSocket) || !socket.authorized) return null;
    const certificate = socket.getPeerX509Certificate();
    return certificate === undefined ? null : certificateSubject(certificate);
  }

  get network(): string {
    return networkOf(this.#request.socket.remoteAddress ?? "");
  }
}
