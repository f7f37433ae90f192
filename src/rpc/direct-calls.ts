import { constants, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { TLSSocket } from "node:tls";
import { Metadata, status } from "@grpc/grpc-js";
import { networkOf } from "../limits.ts";
import { duringRequest } from "../telemetry/request.ts";
import { Call, type Credentials, certificateSubject, requestInfo } from "./caller.ts";
import { type Edge, MAX_MESSAGE_BYTES, type Method } from "./edge.ts";
import { type AnyCall, GrpcHandlerContext, goneBy, toStatus } from "./grpc-adapter.ts";
import { isTooLong, NO_GRPC, refusedByHeaders } from "./grpc-headers.ts";
import { readMessage } from "./message-reader.ts";
import { encode } from "./message-writer.ts";

type StreamListener = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number) => void;

const frameHeadBytes = 5;

const empty = Buffer.alloc(0);

/** As grpc-js sends them, but for `date`, which gRPC does not know. */
const responseHeaders = {
  ":status": 200,
  "content-type": "application/grpc+proto",
  "grpc-encoding": "identity",
  "grpc-accept-encoding": "identity,deflate,gzip",
} as const;
/** Names and values in turn: Node sends a list as it is, an object it copies first. */
const responseHeaderList = Object.entries(responseHeaders).flat().map(String);
const responseOptions = { sendDate: false, waitForTrailers: true } as const;
const okTrailers = { "grpc-status": status.OK, "grpc-message": "OK" } as const;

const timeoutUnitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/**
 * Serves plain unary calls on Node's HTTP/2 server without grpc-js, which spends more on a small call than introspection does: see
 * docs/decisions/0012. Streams, compressed messages, unknown methods, health and reflection stay with grpc-js. A call whose metadata is too
 * long is refused here, whatever it calls: nobody waits for its message. Both ways use the same
 * edge, so authentication, limits, deadlines, metrics and errors are the same.
 * @param http2Servers bound by grpc-js and not yet given other stream listeners
 * @param opened tells grpc-js that a connection is in use, for its idle timeout
 */
export function serveUnaryDirectly(
  http2Servers: readonly Http2Server[],
  edge: Edge,
  opened: (stream: ServerHttp2Stream) => void,
): void {
  const methods = new Map(edge.methods.map((method) => [`/${method.name}`, method]));
  for (const http2Server of http2Servers) {
    const grpcJs = http2Server.listeners("stream") as StreamListener[];
    http2Server.removeAllListeners("stream");
    http2Server.on("stream", (stream, headers, flags) => {
      // cancelled or cut before anybody saw it: grpc-js would answer it, which throws
      if (stream.destroyed || stream.closed) return void stream.on("error", ignore);
      const method = methods.get(headers[":path"] ?? "");
      if (method === undefined || !(isTooLong(headers) ? isPost(headers) : isUnary(method) && isPlain(headers))) {
        for (const listener of grpcJs) listener.call(http2Server, stream, headers, flags);
        return;
      }
      opened(stream);
      new DirectCall(edge, method, stream, headers).receive();
    });
  }
}

function isUnary({ desc }: Method): boolean {
  return desc.methodKind === "unary";
}

/** Is this a call of gRPC? What is not was marked by `readHeadersStrictly`. */
function isPost(headers: IncomingHttpHeaders): boolean {
  return headers[":method"] === "POST" && headers["content-type"] !== NO_GRPC;
}

/** Is this a call whose messages are not compressed? */
function isPlain(headers: IncomingHttpHeaders): boolean {
  const type = headers["content-type"];
  const encoding = headers["grpc-encoding"];
  return (
    headers[":method"] === "POST" &&
    (type === "application/grpc" || type === "application/grpc+proto") &&
    (encoding === undefined || encoding === "identity")
  );
}

/** One unary call on an HTTP/2 stream, from its headers to its trailers. Also what a handler's context is made of. */
class DirectCall implements AnyCall {
  #cancelled = false;
  readonly #edge: Edge;
  readonly #method: Method;
  readonly #stream: ServerHttp2Stream;
  readonly #headers: IncomingHttpHeaders;
  readonly #deadline: number;
  readonly #onCancelled: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #metadata: Metadata | undefined;
  #answered = false;
  readonly #credentials: Credentials;
  #requestId = "";
  #chunks: Buffer[] = [];
  #length = 0;
  /** Of the message, once its head was read. */
  #size = -1;

  constructor(edge: Edge, method: Method, stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    this.#edge = edge;
    this.#method = method;
    this.#stream = stream;
    this.#headers = headers;
    this.#credentials = new StreamCredentials(stream, headers);
    const timeout = timeoutOf(headers["grpc-timeout"]);
    this.#deadline = timeout === undefined ? Number.POSITIVE_INFINITY : Date.now() + timeout;
    if (timeout !== undefined) this.#timer = setTimeout(this.#expire, timeout);
  }

  // What a handler's context asks for.

  /** A stream may be gone a moment before it says so. */
  get cancelled(): boolean {
    return this.#cancelled || this.#stream.destroyed || this.#stream.closed;
  }

  get metadata(): Metadata {
    this.#metadata ??= Metadata.fromHttp2Headers(this.#headers);
    return this.#metadata;
  }

  getPath(): string {
    return this.#headers[":path"] ?? "";
  }

  getDeadline(): number {
    return this.#deadline;
  }

  on(_event: string, listener: () => void): this {
    this.#onCancelled.push(listener);
    return this;
  }

  // The call.

  receive(): void {
    const stream = this.#stream;
    // a stream that breaks is closed too, and that ends the call
    stream.on("error", ignore);
    stream.on("close", this.#end);
    if (isTooLong(this.#headers)) {
      void this.#run();
      // the client need not send the rest (RFC 9113 section 8.1)
      stream.close(constants.NGHTTP2_NO_ERROR);
      return;
    }
    stream.on("data", this.#take);
    stream.on("end", this.#run);
  }

  readonly #take = (chunk: Buffer): void => {
    if (this.#answered || this.cancelled) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#size < 0) {
      if (this.#length < frameHeadBytes) return;
      this.#size = this.#joined().readUInt32BE(1);
      if (this.#size > MAX_MESSAGE_BYTES) {
        const details = `Received message larger than max (${this.#size} vs ${MAX_MESSAGE_BYTES})`;
        this.#refuse(status.RESOURCE_EXHAUSTED, details);
        return;
      }
    }
    if (this.#length > frameHeadBytes + this.#size) {
      this.#refuse(status.UNIMPLEMENTED, "Received a second request message for a unary method");
    }
  };

  #joined(): Buffer {
    const [only = empty, ...others] = this.#chunks;
    if (others.length === 0) return only;
    const joined = Buffer.concat(this.#chunks, this.#length);
    this.#chunks = [joined];
    return joined;
  }

  readonly #run = (): Promise<void> => {
    const info = requestInfo(this.#headers["x-request-id"], this.#credentials);
    this.#requestId = info.id;
    return duringRequest(info, () => this.#serve());
  };

  async #serve(): Promise<void> {
    if (this.#answered || this.cancelled) return;
    const refused = refusedByHeaders(this.#headers);
    if (refused === null && (this.#size < 0 || this.#length < frameHeadBytes + this.#size)) {
      return this.#refuse(status.UNIMPLEMENTED, "Received no request message for a unary method");
    }
    const edge = this.#edge;
    const method = this.#method;
    const call = new Call(this.#credentials);
    try {
      if (refused !== null) throw refused;
      const context = new GrpcHandlerContext(method, this, call);
      const admitted = edge.admit(method, call);
      if (admitted !== undefined) await admitted;
      if (goneBy(this, call)) return;
      const request = readMessage(method.desc.input, this.#joined().subarray(frameHeadBytes));
      const performed = edge.perform(method, request, context);
      const response = performed instanceof Promise ? await performed : performed;
      const bytes = encode(method.desc.output, response);
      if (!goneBy(this, call)) this.#answer(bytes, context.leadingMetadata(), context.trailer());
    } catch (error) {
      if (goneBy(this, call)) return;
      const { code, details, metadata } = toStatus(edge.refuse(method, call, error));
      this.#refuse(code, details, metadata);
    } finally {
      edge.finish(method, call);
    }
  }

  #answer(message: Buffer, leading: Metadata | undefined, trailing: Metadata | undefined): void {
    this.#settle();
    const frame = Buffer.allocUnsafe(frameHeadBytes + message.length);
    frame[0] = 0;
    frame.writeUInt32BE(message.length, 1);
    message.copy(frame, frameHeadBytes);
    const stream = this.#stream;
    const headers =
      leading === undefined
        ? [...responseHeaderList, "x-request-id", this.#requestId]
        : { ...responseHeaders, "x-request-id": this.#requestId, ...leading.toHttp2Headers() };
    const trailers = trailing === undefined ? okTrailers : { ...okTrailers, ...trailing.toHttp2Headers() };
    stream.respond(headers, responseOptions);
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    stream.end(frame);
  }

  #refuse(code: status, details: string, metadata?: Metadata): void {
    this.#settle();
    const trailers = { "grpc-status": code, "grpc-message": encodeURI(details), ...metadata?.toHttp2Headers() };
    const named = this.#requestId === "" ? {} : { "x-request-id": this.#requestId };
    this.#stream.respond({ ...responseHeaders, ...named, ...trailers }, { endStream: true });
    // what still comes in is thrown away
    this.#stream.resume();
  }

  #settle(): void {
    this.#answered = true;
    this.#chunks = [];
    clearTimeout(this.#timer);
  }

  readonly #expire = (): void => {
    if (this.#answered || this.cancelled) return;
    this.#refuse(status.DEADLINE_EXCEEDED, "Deadline exceeded");
    this.#cancel();
  };

  readonly #end = (): void => {
    clearTimeout(this.#timer);
    this.#answered = true;
    this.#cancel();
  };

  #cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    for (const listener of this.#onCancelled) listener();
  }
}

function ignore(): void {}

/** Milliseconds of a `grpc-timeout` that `readHeadersStrictly` let through. */
function timeoutOf(header: string | string[] | undefined): number | undefined {
  if (header === undefined) return undefined;
  const text = String(header);
  return Math.trunc(Number(text.slice(0, -1)) * (timeoutUnitMs[text.slice(-1)] ?? 0));
}

/** Looks at the connection only when the headers do not say who calls. */
class StreamCredentials implements Credentials {
  readonly #stream: ServerHttp2Stream;
  readonly authorization: string | null;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    this.#stream = stream;
    this.authorization = headers.authorization ?? null;
  }

  get certificateSubject(): string | null {
    const socket = this.#stream.session?.socket;
    if (this.authorization !== null || !(socket instanceof TLSSocket) || !socket.authorized) return null;
    const { raw } = socket.getPeerCertificate();
    return raw === undefined ? null : certificateSubject(raw);
  }

  get network(): string {
    return networkOf(this.#stream.session?.socket?.remoteAddress ?? "unknown");
  }
}
