import { createServer as createHttpServer, type RequestListener, type Server } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { guardHttp1, limitConnections, PATIENCE_MS } from "./connection-guard.ts";
import { refuseExpectations } from "./strict-http.ts";
import { readTlsFiles, type TlsFiles } from "./tls-files.ts";

/** One that listens at the internal port while the service starts, and answers by itself. */
export interface WaitingServer {
  readonly server: Server;
  /**
   * From now on the server answers with this, and is no longer closed by who opened it. It goes on listening: no connection is refused, and
   * none that the primary of a cluster is passing to this process at that moment is lost.
   */
  handOver(answer: RequestListener): void;
}

/** An HTTP/1.1 server for the internal port, with limits and TLS, that answers nothing yet. @throws StartRefused: the TLS files cannot be used */
export function createInternalServer(tls: TlsFiles | null): Server {
  const limits = {
    maxHeaderSize: 16 * 1024,
    headersTimeout: PATIENCE_MS,
    // the whole request must have come by then
    requestTimeout: PATIENCE_MS,
    connectionsCheckingInterval: 1_000,
    // above a load balancer's usual minute, so that it is never us who closes a connection in use
    keepAliveTimeout: 75_000,
  };
  const server = tls === null ? createHttpServer(limits) : createTlsServer(tls, limits);
  // silence on the socket: longer than any call
  server.setTimeout(90_000);
  limitConnections(server);
  guardHttp1(server);
  refuseExpectations(server);
  return server;
}

function createTlsServer(tls: TlsFiles, limits: object): Server {
  const mutual = tls.clientCa === null ? {} : { requestCert: true, rejectUnauthorized: false };
  return createHttpsServer({ ...limits, handshakeTimeout: PATIENCE_MS, ...readTlsFiles(tls), ...mutual });
}
