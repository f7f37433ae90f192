import type { Http2Server, IncomingHttpHeaders } from "node:http2";
import type { Metadata } from "@grpc/grpc-js";
import { AuthError } from "../errors.ts";

const MALFORMED = "grpc-timeout-malformed";

const unitMs: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 };

/** The longest time that grpc-js's timers hold, in whole seconds. */
const MAX_SECONDS = Math.floor((2 ** 31 - 1) / 1000);

/**
 * Makes a bound server read headers as the protocol writes them, before grpc-js looks at them. It takes any content type that
 * begins like gRPC's for protobuf; and in `grpc-timeout` it finds its numbers anywhere in the text (`-1S` is a second), reckons in
 * 32 bits (`99999999H` is some other time, or none) and answers INTERNAL where there is none: so long times are shortened and
 * malformed ones marked, and the adapter refuses the marked.
 */
export function readHeadersStrictly(http2Servers: readonly Http2Server[]): void {
  for (const http2Server of http2Servers) {
    http2Server.prependListener("stream", (_stream, headers: IncomingHttpHeaders) => {
      const type = headers["content-type"];
      // what is not gRPC at all is answered with 415
      if (type !== "application/grpc" && !/^application\/grpc(\+proto)?(;|$)/.test(type ?? "")) {
        headers["content-type"] = "unsupported";
      }
      const text = headers["grpc-timeout"];
      if (text === undefined) return;
      const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(String(text)) ?? [];
      if (digits === undefined || unit === undefined) {
        delete headers["grpc-timeout"];
        headers[MALFORMED] = "1";
      } else if (Number(digits) * (unitMs[unit] ?? 0) > MAX_SECONDS * 1000) {
        headers["grpc-timeout"] = `${MAX_SECONDS}S`;
      }
    });
  }
}

/** @throws AuthError invalid_request */
export function refuseMalformedTimeout(metadata: Metadata): void {
  if (metadata.get(MALFORMED).length > 0) throw new AuthError("invalid_request", "grpc-timeout is malformed");
}
