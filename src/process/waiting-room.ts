import { createServer as createHttpServer, type RequestListener, type Server } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { Config } from "../config/config.ts";
import { readTlsFiles } from "../net/tls-files.ts";

export interface WaitingRoom {
  /** The reason that `/readyz` gives. */
  reason: string;
  close(): Promise<void>;
}

/** A waiting room whose port another server of this process can take over. */
export interface OwnWaitingRoom extends WaitingRoom {
  /**
   * Gives the port away: `listen` of the next server takes what this returns, and no connection is refused meanwhile. What came
   * before is answered here.
   */
  handOver(): Server;
}

export type Place = Pick<Config, "internalHttp" | "internalTls">;

/** Answers under way at `close` have this long (milliseconds). */
const graceMs = 1_000;

/** Answers health requests on the internal HTTP port until the service listens there: alive, not ready. TLS is as configured. */
export async function openWaitingRoom({
  internalHttp: { host, port },
  internalTls: tls,
}: Place): Promise<OwnWaitingRoom> {
  const room = { reason: "starting" };
  let handedOver = false;
  const answer: RequestListener = (request, response) => {
    const alive = request.url === "/healthz";
    response.writeHead(alive ? 200 : 503, {
      "content-type": "application/json",
      "cache-control": "no-store",
      "retry-after": "2",
      connection: "close",
    });
    response.end(JSON.stringify(alive ? { status: "ok" } : { ready: false, reason: room.reason }));
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
