import type { RequestListener } from "node:http";
import type { Config } from "../config/config.ts";
import { createInternalServer, type WaitingServer } from "../net/internal-server.ts";

export interface WaitingRoom {
  /** The reason that `/readyz` gives. */
  reason: string;
  /** Null: nothing is listened at. */
  readonly waiting: WaitingServer | null;
  close(): Promise<void>;
}

/** Answers under way at `close` have this long (milliseconds). */
const graceMs = 1_000;

/** Answers health requests on the internal HTTP port until the service does: alive, not ready. TLS is as configured. */
export async function openWaitingRoom({
  internalHttp: { host, port },
  internalTls: tls,
}: Pick<Config, "internalHttp" | "internalTls">): Promise<WaitingRoom> {
  const room = { reason: "starting" };
  let handedOver = false;
  const answerHealth: RequestListener = (request, response) => {
    const alive = request.url === "/healthz";
    response.writeHead(alive ? 200 : 503, {
      "content-type": "application/json",
      "cache-control": "no-store",
      ...(alive ? {} : { "retry-after": "2" }),
      connection: "close",
    });
    response.end(JSON.stringify(alive ? { status: "ok" } : { ready: false, reason: room.reason }));
  };
  const server = createInternalServer(tls).on("request", answerHealth);
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, host, resolve));
  return Object.assign(room, {
    waiting: {
      server,
      handOver: (answer: RequestListener) => {
        handedOver = true;
        server.off("request", answerHealth).on("request", answer);
      },
    },
    close: async () => {
      if (handedOver) return;
      const cut = setTimeout(() => server.closeAllConnections(), graceMs);
      await new Promise((resolve) => server.close(resolve));
      clearTimeout(cut);
    },
  });
}
