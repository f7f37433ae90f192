import cluster, { type Worker } from "node:cluster";

/** What Node's primary and its workers tell each other about connections (lib/internal/cluster). */
interface Internal {
  readonly act?: string;
  readonly seq?: number;
  readonly ack?: number;
}

/**
 * Gives the connections of a worker that ends to another one, those that it had not taken yet. Node's primary accepts each connection, passes it to a
 * worker and waits for the answer that it was taken: without an answer it would keep the connection open for ever, and nobody would answer on it.
 * Where Node tells its workers in another way than is known here, nothing is changed.
 */
export function takeBackConnections(worker: Worker): void {
  const { process: child } = worker;
  /** Those that were passed and not taken yet, by the number of the message. */
  const passed = new Set<number>();
  const send = child.send.bind(child) as (...message: unknown[]) => boolean;
  child.send = (...message: unknown[]) => {
    const { act, seq } = (message[0] ?? {}) as Internal;
    if (act === "newconn" && seq !== undefined) passed.add(seq);
    return send(...message);
  };
  child.on("internalMessage", ({ ack }: Internal) => {
    if (ack !== undefined) passed.delete(ack);
  });
  const takeBack = () => {
    const others = Object.values(cluster.workers ?? {}).some((other) => other !== worker && other?.isConnected());
    // "accepted" closes the connection: there is nobody to give it to
    for (const ack of passed) child.emit("internalMessage", { cmd: "NODE_CLUSTER", ack, accepted: !others });
    passed.clear();
  };
  // Once everything that the worker said has been read, and Node passes nothing more to it. A worker that was killed is not always said to have
  // disconnected.
  child.on("disconnect", takeBack);
  child.on("exit", () => {
    if (!child.connected) takeBack();
  });
}
