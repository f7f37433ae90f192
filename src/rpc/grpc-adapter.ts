import { once } from "node:events";
import type { DescService } from "@bufbuild/protobuf";
import { Code, ConnectError, type ContextValues, type HandlerContext } from "@connectrpc/connect";
import {
  Metadata,
  type MethodDefinition,
  type Server,
  type ServerUnaryCall,
  type ServerWritableStream,
  type StatusObject,
  type sendUnaryData,
  type status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { networkOf } from "../limits.ts";
import { duringRequest, type RequestInfo } from "../telemetry/request.ts";
import { Call, CallValues, type Credentials, certificateSubject, requestInfo } from "./caller.ts";
import type { Edge, Method } from "./edge.ts";
import { statusDetails } from "./error-table.ts";
import { refuseMarked } from "./grpc-headers.ts";
import { readMessage } from "./message-reader.ts";
import { encode } from "./message-writer.ts";

type UnaryCall = ServerUnaryCall<Buffer, Buffer>;
type StreamingCall = ServerWritableStream<Buffer, Buffer>;
/** What is asked of a call whichever way it is served. */
export type AnyCall = Pick<UnaryCall, "metadata" | "getPath" | "getDeadline" | "cancelled"> & {
  on(event: "cancelled", listener: () => void): unknown;
};

/**
 * Serves the edge's methods of one service. Messages stay bytes until the caller is admitted, so nothing an unauthenticated
 * peer sends is ever parsed, and what cannot be parsed is answered from the same table as everything else.
 */
export function addService(server: Server, edge: Edge, service: DescService): void {
  const definition: Record<string, MethodDefinition<Buffer, Buffer>> = {};
  const handlers: UntypedServiceImplementation = {};
  for (const method of edge.methods) {
    const { desc } = method;
    if (desc.parent !== service) continue;
    const responseStream = desc.methodKind === "server_streaming";
    definition[desc.localName] = {
      path: `/${method.name}`,
      requestStream: false,
      responseStream,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    };
    handlers[desc.localName] = responseStream
      ? (call: StreamingCall) => void serveStream(edge, method, call)
      : (call: UnaryCall, callback: sendUnaryData<Buffer>) => void serveUnary(edge, method, call, callback);
  }
  server.addService(definition, handlers);
}

/** Never rejects: grpc-js would leave the call hanging until its client's deadline. */
function serveUnary(edge: Edge, method: Method, grpc: UnaryCall, callback: sendUnaryData<Buffer>): Promise<void> {
  const credentials = new PeerCredentials(grpc);
  const info = requestInfo(grpc.metadata.get("x-request-id")[0], credentials);
  return duringRequest(info, () => serveUnaryCall(edge, method, { grpc, callback, call: new Call(credentials), info }));
}

interface UnaryParts {
  readonly grpc: UnaryCall;
  readonly callback: sendUnaryData<Buffer>;
  readonly call: Call;
  readonly info: RequestInfo;
}

async function serveUnaryCall(edge: Edge, method: Method, { grpc, callback, call, info }: UnaryParts): Promise<void> {
  try {
    const context = new GrpcHandlerContext(method, grpc, call);
    context.responseHeader.set("x-request-id", info.id);
    refuseMarked(grpc.metadata);
    await edge.admit(method, call);
    if (goneBy(grpc, call)) return;
    const request = readMessage(method.desc.input, grpc.request);
    const response = encode(method.desc.output, await edge.perform(method, request, context));
    if (goneBy(grpc, call)) return;
    context.sendHeader(grpc);
    callback(null, response, context.trailer());
  } catch (error) {
    if (!goneBy(grpc, call)) callback(toStatus(edge.refuse(method, call, error)));
  } finally {
    edge.finish(method, call);
  }
}

function serveStream(edge: Edge, method: Method, grpc: StreamingCall): Promise<void> {
  const credentials = new PeerCredentials(grpc);
  const info = requestInfo(grpc.metadata.get("x-request-id")[0], credentials);
  return duringRequest(info, () => serveStreamingCall(edge, method, grpc, { call: new Call(credentials), info }));
}

async function serveStreamingCall(
  edge: Edge,
  method: Method,
  grpc: StreamingCall,
  { call, info }: Pick<UnaryParts, "call" | "info">,
): Promise<void> {
  try {
    const context = new GrpcHandlerContext(method, grpc, call);
    context.responseHeader.set("x-request-id", info.id);
    refuseMarked(grpc.metadata);
    await edge.admit(method, call);
    const request = readMessage(method.desc.input, grpc.request);
    for await (const message of edge.stream(method, request, context)) {
      if (goneBy(grpc, call)) return;
      context.sendHeader(grpc);
      const room = grpc.write(encode(method.desc.output, message));
      if (!room) await once(grpc, "drain", { signal: context.signal });
    }
    if (!goneBy(grpc, call)) grpc.end(context.trailer());
  } catch (error) {
    if (!goneBy(grpc, call)) grpc.emit("error", toStatus(edge.refuse(method, call, error)));
  } finally {
    edge.finish(method, call);
  }
}

/** Its client hung up or its deadline passed, and grpc-js has answered already. */
export function goneBy(grpc: AnyCall, call: Call): boolean {
  if (!grpc.cancelled) return false;
  call.outcome = (timeLeft(grpc) ?? 1) <= 0 ? "DEADLINE_EXCEEDED" : "CANCELLED";
  return true;
}

/** Milliseconds. By the wall clock, as grpc-js sets deadlines by it. */
function timeLeft(grpc: AnyCall): number | undefined {
  const deadline = Number(grpc.getDeadline());
  return deadline === Number.POSITIVE_INFINITY ? undefined : deadline - Date.now();
}

/** Metadata of a refusal. */
export function toStatus(error: ConnectError): StatusObject {
  const metadata = new Metadata();
  for (const [name, value] of error.metadata) metadata.set(name, value);
  const details = statusDetails(error);
  if (details !== null) metadata.set("grpc-status-details-bin", details);
  // Connect's codes are gRPC's by number
  return { code: error.code as number as status, details: error.rawMessage, metadata };
}

const same = (bytes: Buffer): Buffer => bytes;

/** Looks at the connection only when somebody asks. */
export class PeerCredentials implements Credentials {
  readonly #grpc: Pick<UnaryCall, "metadata" | "getPeer" | "getAuthContext">;
  constructor(grpc: Pick<UnaryCall, "metadata" | "getPeer" | "getAuthContext">) {
    this.#grpc = grpc;
  }

  get authorization(): string | null {
    const value = this.#grpc.metadata.get("authorization")[0];
    return typeof value === "string" ? value : null;
  }

  /** Not looked at where metadata says who calls. */
  get certificateSubject(): string | null {
    if (this.authorization !== null) return null;
    const certificate = this.#grpc.getAuthContext().sslPeerCertificate;
    return certificate === undefined ? null : certificateSubject(certificate.raw);
  }

  get network(): string {
    const peer = this.#grpc.getPeer();
    const port = peer.lastIndexOf(":");
    return networkOf(port < 0 ? peer : peer.slice(0, port));
  }
}

/**
 * Connect's context over a grpc-js call. Headers, signal, values and URL are made when asked for: most handlers ask for none,
 * and making them all costs more than the call.
 */
export class GrpcHandlerContext implements HandlerContext {
  readonly method;
  readonly service;
  readonly requestMethod = "POST";
  readonly protocolName = "grpc";
  readonly #grpc: AnyCall;
  readonly #call: Call;
  #values: ContextValues | null = null;
  #abort: AbortController | null = null;
  #requestHeader: Headers | null = null;
  #responseHeader: Headers | null = null;
  #responseTrailer: Headers | null = null;

  constructor(method: Method, grpc: AnyCall, call: Call) {
    this.method = method.desc;
    this.service = method.desc.parent;
    this.#grpc = grpc;
    this.#call = call;
  }

  get values(): ContextValues {
    this.#values ??= new CallValues(this.#call);
    return this.#values;
  }

  /** grpc-js says `cancelled` at the end of every call, as Connect aborts at the end of every call. */
  get signal(): AbortSignal {
    if (this.#abort === null) {
      const controller = new AbortController();
      this.#abort = controller;
      const end = () => {
        const late = (this.timeoutMs() ?? 1) <= 0;
        controller.abort(
          new ConnectError(
            late ? "the deadline passed" : "the call ended",
            late ? Code.DeadlineExceeded : Code.Canceled,
          ),
        );
      };
      if (this.#grpc.cancelled) end();
      else this.#grpc.on("cancelled", end);
    }
    return this.#abort.signal;
  }

  readonly timeoutMs = (): number | undefined => timeLeft(this.#grpc);

  get requestHeader(): Headers {
    if (this.#requestHeader === null) {
      this.#requestHeader = new Headers();
      for (const [name, value] of Object.entries(this.#grpc.metadata.getMap())) {
        if (typeof value === "string") this.#requestHeader.set(name, value);
      }
    }
    return this.#requestHeader;
  }

  get responseHeader(): Headers {
    this.#responseHeader ??= new Headers();
    return this.#responseHeader;
  }

  get responseTrailer(): Headers {
    this.#responseTrailer ??= new Headers();
    return this.#responseTrailer;
  }

  get url(): string {
    return `grpc:${this.#grpc.getPath()}`;
  }

  /** What the handler put into the response's headers, if anything; grpc-js sends them once. */
  sendHeader(grpc: { sendMetadata(metadata: Metadata): void }): void {
    const leading = this.leadingMetadata();
    if (leading === undefined) return;
    grpc.sendMetadata(leading);
    this.#responseHeader = null;
  }

  leadingMetadata(): Metadata | undefined {
    return this.#responseHeader === null ? undefined : toMetadata(this.#responseHeader);
  }

  trailer(): Metadata | undefined {
    return this.#responseTrailer === null ? undefined : toMetadata(this.#responseTrailer);
  }
}

function toMetadata(headers: Headers): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of headers) metadata.set(name, value);
  return metadata;
}
