import { createServer as createHttpServer, type RequestListener, type Server } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { Config } from "../config/config.ts";
import { readTlsFiles } from "../net/tls-files.ts";

export interface WaitingRoom {
  /** The reason that `/readyz` gives; null: other workers serve, so that the service is ready. */
  reason: string | null;
  /**
   * Gives the port to another server of this process, whose `listen` takes what this returns: no connection is refused meanwhile. What
   * came before is answered here. Null: nothing was listened at.
   */
  readonly handOver: (() => Server) | null;
  close(): Promise<void>;
}

/** Answers under way at `close` have this long (milliseconds). */
const graceMs = 1_000;

/** Answers health requests on the internal HTTP port until the service listens there: alive, not ready. TLS is as configured. */
export async function openWaitingRoom({
  internalHttp: { host, port },
  internalTls: tls,
}: Pick<Config, "internalHttp" | "internalTls">): Promise<WaitingRoom> {
  const room: Pick<WaitingRoom, "reason"> = { reason: "starting" };
  let handedOver = false;
  const answer: RequestListener = (request, response) => {
    const { reason } = room;
    const [status, body] =
      request.url === "/healthz"
        ? [200, { status: "ok" }]
        : request.url === "/readyz" && reason === null
          ? [200, { ready: true }]
          : [503, { ready: false, reason: reason ?? "starting" }];
    const retry = status === 200 ? {} : { "retry-after": "2" };
    response.writeHead(status, {
      "content-type": "application/json",
      "cache-control": "no-store",
      ...retry,
      connection: "close",
    });
    response.end(JSON.stringify(body));
  };
  const server = tls === null ? createHttpServer(answer) : createHttpsServer(readTlsFiles(tls), answer);
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, host, resolve));
  return Object.assign(room, {
    handOver: () => {
      handedOver = true;
      return server;
    },
    close: async () => {
      if (handedOver) return server.closeAllConnections();
      const cut = setTimeout(() => server.closeAllConnections(), graceMs);
      await new Promise((resolve) => server.close(resolve));
      clearTimeout(cut);
    },
  });
}
