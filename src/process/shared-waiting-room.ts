import cluster, { type Worker } from "node:cluster";
import { fileURLToPath } from "node:url";
import { readTlsFiles } from "../net/tls-files.ts";
import type { Place, WaitingRoom } from "./waiting-room.ts";

/** What every worker is told when the service ends. */
export const CLOSE = "close";

export type ToWaitingProcess = typeof CLOSE | "reload" | { readonly reason: string };
export type FromWaitingProcess =
  | { readonly open: true }
  | { readonly open: false; readonly code: string | undefined; readonly message: string };

export interface SharedWaitingRoom extends WaitingRoom {
  /** It is one of the cluster's workers. */
  readonly worker: Worker;
}

/**
 * A waiting room that workers take the place of: a small process of the same cluster, so that the port is listened at by the cluster
 * from the first moment on. It is closed once a worker listens there, and no connection is refused in between.
 * @throws StartRefused: the certificate cannot be used; the error of listening
 */
export async function openSharedWaitingRoom(place: Place): Promise<SharedWaitingRoom> {
  const { internalHttp, internalTls } = place;
  if (internalTls !== null) readTlsFiles(internalTls);
  const [, main = "", ...args] = process.argv;
  const program = fileURLToPath(new URL("./waiting-process.ts", import.meta.url));
  cluster.setupPrimary({ exec: program, args: [JSON.stringify({ internalHttp, internalTls } satisfies Place)] });
  const worker = cluster.fork();
  // as which the others are forked
  cluster.setupPrimary({ exec: main, args });
  // a message to one that has just died: its exit follows
  worker.on("error", () => undefined);
  const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  const opened = new Promise<void>((resolve, reject) => {
    worker.once("message", (said: FromWaitingProcess) => {
      if (said.open) resolve();
      else reject(Object.assign(new Error(said.message), { code: said.code }));
    });
  });
  await Promise.race([opened, ended]);
  let reason = "starting";
  const tell = (message: ToWaitingProcess) => {
    if (worker.isConnected()) worker.send(message);
  };
  return {
    worker,
    get reason() {
      return reason;
    },
    set reason(now) {
      reason = now;
      tell({ reason });
    },
    close: () => {
      tell(CLOSE);
      return ended;
    },
  };
}
