import type { Http2Server, SecureServerOptions, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import { Server as TlsServer } from "node:tls";
import type { DescFile, DescService } from "@bufbuild/protobuf";
import { toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  setLogger,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { HealthImplementation, service as healthService } from "grpc-health-check";
import type { Config } from "../config/config.ts";
import { addressOf } from "../net/address.ts";
import { guardHttp2, limitConnections, PATIENCE_MS } from "../net/connection-guard.ts";
import type { Drainable } from "../net/drainable.ts";
import { readTlsFiles, type TlsListener } from "../net/tls-files.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { Call } from "./caller.ts";
import { serveUnaryDirectly } from "./direct-calls.ts";
import { Edge, type EdgeParts, MAX_CALL_MS, MAX_MESSAGE_BYTES } from "./edge.ts";
import { addService, PeerCredentials, toStatus } from "./grpc-adapter.ts";
import { MAX_HEADER_LIST_BYTES, readHeadersStrictly } from "./grpc-headers.ts";
import { domainParts } from "./services.ts";
import { admitFloodersSlowly } from "./slow-entry.ts";

export interface GrpcServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly tls: Config["internalTls"];
  /** `authorized`: only for callers with one of the internal scopes. */
  readonly reflection: "open" | "authorized";
}

export interface GrpcServer extends TlsListener, Drainable {
  readonly port: number;
  /** What the health service answers, for the server and each of its services; SERVING from the start, NOT_SERVING once it drains. */
  setServing(serving: boolean): void;
  /** Takes no new calls, lets those under way finish for `graceMs`, then ends them. */
  close(graceMs: number): Promise<void>;
}

const minute = 60_000;

const maxStreams = 200;

const limits = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  // MiB that a connection may make Node's HTTP/2 hold
  "grpc-node.max_session_memory": 32,
  // a peer that does not answer is gone after 14 seconds, calls and all
  "grpc.keepalive_time_ms": 8_000,
  "grpc.keepalive_timeout_ms": 6_000,
  "grpc.max_connection_idle_ms": 15 * minute,
  // connections are renewed, so that clients find new replicas and certificates; grace for the longest call
  "grpc.max_connection_age_ms": 30 * minute,
  "grpc.max_connection_age_grace_ms": 2 * MAX_CALL_MS,
  "grpc.enable_channelz": 0,
};

/** What grpc-js has no options for, given to Node's HTTP/2 server. */
const http2Options: SecureServerOptions & { streamResetBurst: number; streamResetRate: number } = {
  settings: {
    maxConcurrentStreams: maxStreams,
    maxHeaderListSize: MAX_HEADER_LIST_BYTES,
  },
  maxHeaderListPairs: 100,
  // every stream may be cancelled at once, twice; a peer that goes on like that loses the connection (CVE-2023-44487)
  streamResetBurst: 2 * maxStreams,
  streamResetRate: 30,
  maxSessionInvalidFrames: 100,
  // those that follow at once are refused, because for Node the cancelled ones are not gone yet
  maxSessionRejectedStreams: 2 * maxStreams,
  maxSettings: 16,
  handshakeTimeout: PATIENCE_MS,
};

/** Starts the gRPC listener: the services of auth.v1, grpc.health.v1.Health and server reflection. */
export async function startGrpcServer(
  ctx: OAuthContext,
  options: GrpcServerOptions,
  parts: EdgeParts = domainParts(ctx),
): Promise<GrpcServer> {
  // it writes to stderr by itself; what concerns callers reaches them as a status
  setLogger({
    debug() {},
    info() {},
    error: (...parts: unknown[]) => ctx.log.debug({ grpc: parts.join(" ") }, "grpc-js"),
  });
  const edge = new Edge("grpc", ctx, parts);
  const server = new Server(limits);
  addHttp2Options(server);
  const services = parts.registrations.map(({ service }) => service);
  for (const service of services) addService(server, edge, service);

  const health = new HealthImplementation();
  health.addToServer(server);
  let ends = false;
  const setServing = (serving: boolean) => {
    for (const name of ["", ...services.map(({ typeName }) => typeName)]) {
      health.setStatus(name, serving && !ends ? "SERVING" : "NOT_SERVING");
    }
  };
  setServing(true);

  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(addressOf(options), credentialsFor(options.tls), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  const http2Servers = http2ServersOf(server);
  serveUnaryDirectly(http2Servers, edge, openedIn(server));
  readHeadersStrictly(http2Servers);
  for (const http2Server of http2Servers) {
    limitConnections(http2Server);
    guardHttp2(http2Server);
    admitFloodersSlowly(http2Server, (network) =>
      ctx.log.warn({ network }, "connections that break HTTP/2 come from this network: further ones are let in slowly"),
    );
  }
  const sessions = sessionsOf(http2Servers);
  // it takes a while to load: calls are answered meanwhile
  await addReflection(server, edge, services, options.reflection);
  return {
    port,
    setServing,
    useCertificate(material) {
      for (const http2Server of http2Servers) {
        if (http2Server instanceof TlsServer) http2Server.setSecureContext(material);
      }
    },
    drain(onRequest) {
      // no GOAWAY yet: Node's HTTP/2 leaves calls that come after one without an answer, also those that were on their way
      ends = true;
      setServing(false);
      for (const http2Server of http2Servers) {
        http2Server.prependListener("stream", (_stream, headers) => {
          if (!headers[":path"]?.startsWith("/grpc.health.v1.Health/")) onRequest();
        });
      }
    },
    async close(graceMs) {
      ends = true;
      setServing(false);
      const finished = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      // Watches of the health service end with the server only
      const grace = setTimeout(() => {
        server.forceShutdown();
        // with channelz off grpc-js forgets to end the sessions
        for (const session of sessions) session.destroy();
      }, graceMs);
      await finished;
      clearTimeout(grace);
    },
  };
}

function addHttp2Options(server: Server): void {
  const { commonServerOptions } = server as unknown as { commonServerOptions?: object };
  if (commonServerOptions === undefined) throw new Error("this version of grpc-js keeps its HTTP/2 options elsewhere");
  Object.assign(commonServerOptions, http2Options);
}

/** Tells grpc-js, which sees no direct call, that a connection is in use. */
function openedIn(server: Server): (stream: ServerHttp2Stream) => void {
  const { onStreamOpened } = server as unknown as { onStreamOpened?: (stream: ServerHttp2Stream) => void };
  if (onStreamOpened === undefined) throw new Error("this version of grpc-js notes its streams elsewhere");
  return (stream) => onStreamOpened.call(server, stream);
}

/** grpc-js has no way to reach them once bound. */
function http2ServersOf(server: Server): Http2Server[] {
  return [...(server as unknown as { http2Servers: ReadonlyMap<Http2Server, unknown> }).http2Servers.keys()];
}

function sessionsOf(http2Servers: readonly Http2Server[]): ReadonlySet<ServerHttp2Session> {
  const sessions = new Set<ServerHttp2Session>();
  for (const http2Server of http2Servers) {
    http2Server.on("session", (session) => {
      sessions.add(session);
      session.once("close", () => sessions.delete(session));
    });
  }
  return sessions;
}

function credentialsFor(tls: Config["internalTls"]): ServerCredentials {
  if (tls === null) return ServerCredentials.createInsecure();
  const { cert, key, ca = null } = readTlsFiles(tls);
  return ServerCredentials.createSsl(ca, [{ cert_chain: cert, private_key: key }], ca !== null);
}

/** Reflection v1 and v1alpha of the services and of the health service. */
async function addReflection(
  server: Server,
  edge: Edge,
  services: readonly DescService[],
  mode: "open" | "authorized",
): Promise<void> {
  const { ReflectionService } = await import("@grpc/reflection");
  const files = new Map<string, Uint8Array>();
  const add = (file: DescFile) => {
    if (files.has(file.proto.name)) return;
    file.dependencies.forEach(add);
    files.set(file.proto.name, toBinary(FileDescriptorProtoSchema, file.proto));
  };
  for (const service of services) add(service.file);
  // proto-loader's method definitions bring the files they were made from
  const { Check: check } = healthService as unknown as { Check: { requestType: { fileDescriptorProtos: Buffer[] } } };
  const fileDescriptorProtos = [...files.values(), ...check.requestType.fileDescriptorProtos].map((bytes) =>
    Buffer.from(bytes),
  );
  new ReflectionService({ all: { fileDescriptorProtos } } as never).addToServer({
    addService(definition: never, handlers: UntypedServiceImplementation) {
      server.addService(definition, mode === "open" ? handlers : authorized(edge, handlers));
    },
  });
}

/** The same streams, opened only for callers who may make some internal call. */
function authorized(edge: Edge, handlers: UntypedServiceImplementation): UntypedServiceImplementation {
  const guard =
    (handler: (stream: ServerDuplexStream<unknown, unknown>) => void) =>
    (stream: ServerDuplexStream<unknown, unknown>): void => {
      edge.admitAny(new Call(new PeerCredentials(stream))).then(
        () => handler(stream),
        (error) => stream.emit("error", toStatus(error)),
      );
    };
  return Object.fromEntries(
    Object.entries(handlers).map(([name, handler]) => [
      name,
      typeof handler === "function" ? guard(handler as never) : handler,
    ]),
  ) as UntypedServiceImplementation;
}
