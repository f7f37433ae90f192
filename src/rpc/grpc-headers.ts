import type { Http2Server, IncomingHttpHeaders } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Metadata } from "@grpc/grpc-js";
import { AuthError } from "../errors.ts";

/** All metadata of a call: an access token and what tracing adds. Bytes. */
export const MAX_METADATA_BYTES = 16 * 1024;

const refusedMark = "refused-by-this-server";

const unitMs: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 };

/** The longest time that grpc-js's timers hold, in whole seconds. */
const maxSeconds = Math.floor((2 ** 31 - 1) / 1000);

/**
 * Checks headers before grpc-js reads them, because grpc-js is not strict. It accepts any number of headers and any content type that
 * begins with gRPC's. It finds digits anywhere in `grpc-timeout` (`-1S` is a second), calculates in 32 bits (`99999999H` overflows) and
 * answers INTERNAL where there are no digits. So long timeouts are shortened, and malformed headers are marked for the adapter to refuse.
 */
export function readHeadersStrictly(http2Servers: readonly Http2Server[]): void {
  for (const http2Server of http2Servers) {
    http2Server.prependListener("stream", (_stream, headers: IncomingHttpHeaders, _flags, rawHeaders: string[]) => {
      let size = 0;
      for (const text of rawHeaders) size += text.length;
      if (size > MAX_METADATA_BYTES) {
        for (const name of Object.keys(headers)) if (!/^:|^content-type$/.test(name)) delete headers[name];
        headers[refusedMark] = "metadata";
      }
      const type = headers["content-type"];
      // what is not gRPC at all is answered with 415
      if (type !== "application/grpc" && !/^application\/grpc(\+proto)?(;|$)/.test(type ?? "")) {
        headers["content-type"] = "unsupported";
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

/** @throws AuthError invalid_request; ConnectError RESOURCE_EXHAUSTED */
export function refuseMarked(metadata: Metadata): void {
  const refused = refusalOf(metadata.get(refusedMark)[0]);
  if (refused !== null) throw refused;
}

/** The same for headers as HTTP/2 has them. @returns null where nothing was marked */
export function refusedByHeaders(headers: IncomingHttpHeaders): AuthError | ConnectError | null {
  return refusalOf(headers[refusedMark]);
}

function refusalOf(reason: unknown): AuthError | ConnectError | null {
  if (reason === undefined) return null;
  if (reason !== "metadata") return new AuthError("invalid_request", "grpc-timeout is malformed");
  return new ConnectError("metadata is larger than 16 KiB", Code.ResourceExhausted);
}
