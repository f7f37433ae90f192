import { constants, type Http2Server, type Http2Session, type IncomingHttpHeaders } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Metadata } from "@grpc/grpc-js";
import { AuthError } from "../errors.ts";
import { collectGarbage } from "../garbage.ts";

/** All metadata of a call: an access token and what tracing adds. Bytes. */
export const MAX_METADATA_BYTES = 16 * 1024;

/**
 * Node resets a stream with longer metadata before it becomes an object, but only once its peer has confirmed the settings. What is less
 * too long is refused in words. HTTP/2's way of counting: 32 bytes more for each key.
 */
export const MAX_HEADER_LIST_BYTES = 24 * 1024;

/** So many calls that are longer than that may a peer send before it confirms the settings: then it is sent away. */
const maxUnconfirmed = 3;

/** Headers of calls that are longer than most, since V8 was last made to collect. Bytes. */
const mostLongHeaders = 16 * 1024 * 1024;
const longHeaders = 4 * 1024;

/** In place of a content type that is not gRPC's. */
export const NO_GRPC = "unsupported";

const refusedMark = "refused-by-this-server";

const unitMs: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 };

/** The longest time that grpc-js's timers hold, in whole seconds. */
const maxSeconds = Math.floor((2 ** 31 - 1) / 1000);

/**
 * Checks headers before grpc-js reads them, because grpc-js is not strict. It accepts any number of headers and any content type that
 * begins with gRPC's. It finds digits anywhere in `grpc-timeout` (`-1S` is a second), calculates in 32 bits (`99999999H` overflows) and
 * answers INTERNAL where there are no digits. So long timeouts are shortened, and malformed headers are marked for the adapter to refuse.
 * V8 does not count the bytes of headers, so they pile up: it is made to collect after many long ones, and a peer that never confirms the
 * settings may not send many that are far too long.
 */
export function readHeadersStrictly(http2Servers: readonly Http2Server[]): void {
  const unconfirmed = new WeakMap<Http2Session, number>();
  let longBytes = 0;
  for (const http2Server of http2Servers) {
    http2Server.prependListener("stream", ({ session }, headers: IncomingHttpHeaders, _flags, rawHeaders: string[]) => {
      let size = 0;
      for (const text of rawHeaders) size += text.length;
      if (size > longHeaders) longBytes += size;
      if (longBytes > mostLongHeaders) {
        longBytes = 0;
        collectGarbage("young");
      }
      if (size > MAX_METADATA_BYTES) {
        for (const name of Object.keys(headers)) if (!/^:|^content-type$/.test(name)) delete headers[name];
        headers[refusedMark] = "metadata";
        if (session !== undefined && size + 16 * rawHeaders.length > MAX_HEADER_LIST_BYTES) {
          const count = (unconfirmed.get(session) ?? 0) + 1;
          unconfirmed.set(session, count);
          // closed, it would still read what has come already: megabytes
          if (count >= maxUnconfirmed) session.destroy(tooLong(), constants.NGHTTP2_ENHANCE_YOUR_CALM);
        }
      }
      const type = headers["content-type"];
      // what is not gRPC at all is answered with 415
      if (type !== "application/grpc" && !/^application\/grpc(\+proto)?(;|$)/.test(type ?? "")) {
        headers["content-type"] = NO_GRPC;
      }
      const timeout = headers["grpc-timeout"];
      if (timeout === undefined) return;
      const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(String(timeout)) ?? [];
      if (digits === undefined || unit === undefined) {
        delete headers["grpc-timeout"];
        headers[refusedMark] = "timeout";
      } else if (Number(digits) * (unitMs[unit] ?? 0) > maxSeconds * 1000) {
        headers["grpc-timeout"] = `${maxSeconds}S`;
      }
    });
  }
}

const tooLong = () => new Error("calls whose metadata is far too long");

/** @throws AuthError invalid_request; ConnectError RESOURCE_EXHAUSTED */
export function refuseMarked(metadata: Metadata): void {
  const refused = refusalOf(metadata.get(refusedMark)[0]);
  if (refused !== null) throw refused;
}

/** The same for headers as HTTP/2 has them. @returns null where nothing was marked */
export function refusedByHeaders(headers: IncomingHttpHeaders): AuthError | ConnectError | null {
  return refusalOf(headers[refusedMark]);
}

/** Is the metadata too long? Then nothing of it is left, and the call is not worth waiting for. */
export function isTooLong(headers: IncomingHttpHeaders): boolean {
  return headers[refusedMark] === "metadata";
}

function refusalOf(reason: unknown): AuthError | ConnectError | null {
  if (reason === undefined) return null;
  if (reason !== "metadata") return new AuthError("invalid_request", "grpc-timeout is malformed");
  return new ConnectError("metadata is larger than 16 KiB", Code.ResourceExhausted);
}
