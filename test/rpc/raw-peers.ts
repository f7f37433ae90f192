import { type ClientHttp2Session, type ClientSessionOptions, connect, type IncomingHttpHeaders } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";

/** Peers that speak the wire by hand, well or badly. */

/** A length-prefixed message of gRPC and gRPC-Web. */
export function frame(message: Uint8Array, flags = 0, claimed = message.length): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(claimed, 1);
  return Buffer.concat([head, message]);
}

/** A protobuf field that holds bytes. */
export function bytesField(number: number, value: Uint8Array | string): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

export function varint(value: number): Buffer {
  const bytes = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}

export interface RawAnswer {
  readonly headers: IncomingHttpHeaders;
  /** grpc-status, or -1 where the stream was reset. */
  readonly status: number;
  readonly message: string;
  readonly details: Buffer;
  readonly rstCode: number;
}

/** One HTTP/2 connection to the gRPC listener. */
export class RawGrpc {
  readonly session: ClientHttp2Session;
  readonly goneAway: Promise<number>;

  constructor(address: string, options: ClientSessionOptions = {}) {
    this.session = connect(`http://${address}`, options);
    this.session.on("error", () => {});
    this.goneAway = new Promise((resolve) => this.session.on("goaway", (code) => resolve(code)));
  }

  /** @param end false: the request is never ended */
  call(path: string, body: Uint8Array, headers: Record<string, string | string[]> = {}, end = true) {
    return new Promise<RawAnswer>((resolve) => {
      const stream = this.session.request(
        { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers", ...headers },
        { endStream: false },
      );
      let answer: IncomingHttpHeaders = {};
      const take = (more: IncomingHttpHeaders) => {
        answer = { ...answer, ...more };
        if (!end && answer["grpc-status"] !== undefined) stream.close();
      };
      stream.on("response", take);
      stream.on("trailers", take);
      stream.on("error", () => {});
      stream.on("close", () => {
        resolve({
          headers: answer,
          status: answer["grpc-status"] === undefined ? -1 : Number(answer["grpc-status"]),
          message: decodeURIComponent(String(answer["grpc-message"] ?? "")),
          details: Buffer.from(String(answer["grpc-status-details-bin"] ?? ""), "base64"),
          rstCode: stream.rstCode ?? 0,
        });
      });
      stream.resume();
      if (end) stream.end(body);
      else stream.write(body);
    });
  }

  close(): void {
    this.session.destroy();
  }
}

/** A socket, what it has received, and when the other side closed it. */
export interface Peer {
  readonly socket: Socket;
  readonly received: () => Buffer;
  readonly closed: Promise<void>;
}

export function openPeer(port: number, options: { readonly reads?: boolean } = {}): Promise<Peer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connectTcp({ host: "127.0.0.1", port, noDelay: true }, () => {
      socket.off("error", reject);
      socket.on("error", () => {});
      if (options.reads === false) socket.pause();
      else socket.on("data", (chunk) => chunks.push(chunk));
      const closed = new Promise<void>((done) => socket.once("close", () => done()));
      resolve({ socket, received: () => Buffer.concat(chunks), closed });
    });
    socket.once("error", reject);
  });
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export const frameType = { data: 0, headers: 1, rst: 3, settings: 4, ping: 6, goaway: 7, continuation: 9 } as const;
export const flag = { endStream: 1, endHeaders: 4 } as const;

export function h2Frame(type: number, flags: number, streamId: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

export interface H2Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** The frames that came whole. */
export function framesOf(bytes: Buffer): H2Frame[] {
  const frames: H2Frame[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    const [type = 0, flags = 0] = bytes.subarray(at + 3, at + 5);
    frames.push({ type, flags, streamId: bytes.readUInt32BE(at + 5), payload: bytes.subarray(at + 9, end) });
    at = end;
  }
  return frames;
}

/** Literal header fields without indexing (RFC 7541 section 6.2.2), as they are: the wrong ones too. */
export function hpack(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string) => {
    const bytes = Buffer.from(value, "latin1");
    if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
    return Buffer.concat([Buffer.from([127]), varint(bytes.length - 127), bytes]);
  };
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

export const opening = Buffer.concat([preface, h2Frame(frameType.settings, 0, 0)]);

export const headersOf = (path: string): [string, string][] => [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", path],
  [":authority", "localhost"],
  ["content-type", "application/grpc"],
  ["te", "trailers"],
];

/** A header block in frames of the size that every peer takes. */
export function inFrames(id: number, block: Buffer): Buffer {
  const most = 16_384;
  const parts = Array.from({ length: Math.ceil(block.length / most) }, (_, n) =>
    block.subarray(n * most, (n + 1) * most),
  );
  const frames = parts.map((part, n) =>
    h2Frame(
      n === 0 ? frameType.headers : frameType.continuation,
      n === parts.length - 1 ? flag.endHeaders : 0,
      id,
      part,
    ),
  );
  return Buffer.concat(frames);
}
