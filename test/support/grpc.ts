import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { internalBasic } from "./flow.ts";

/** To a service at host:port, as the development client `internal-service`. */
export function internalTransport(grpc: string): Transport {
  return createGrpcTransport({
    baseUrl: `http://${grpc}`,
    idleConnectionTimeoutMs: 100,
    interceptors: [
      (next) => (request) => {
        request.header.set("authorization", internalBasic);
        return next(request);
      },
    ],
  });
}
