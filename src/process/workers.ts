import cluster, { type Worker } from "node:cluster";
import { type App, createApp, prepare } from "../app.ts";
import type { Settings } from "../config/config.ts";
import { createLogger } from "../telemetry/log.ts";
import { answerForAllWorkers, answerForWorker } from "../telemetry/worker-metrics.ts";
import { CLOSE_WITHIN_MS, closeAndExit, exitAtRest } from "./exit.ts";
import { CLOSE, openSharedWaitingRoom, type SharedWaitingRoom } from "./shared-waiting-room.ts";
import { freeStartMemory } from "./start-memory.ts";
import { onStopSignal } from "./stop-signals.ts";
import type { WaitingRoom } from "./waiting-room.ts";

/** What a worker tells the primary. */
type FromWorker = "up" | { readonly waitsFor: string };

const exitConfig = 78;
const firstPauseMs = 250;
const longestPauseMs = 15_000;
/** After a worker that ran for this long (milliseconds), the next one starts after the shortest pause. */
const settledMs = 60_000;

/**
 * Forks `config.workers` processes that share the three listeners, replaces each that dies, and drains
 * all of them on SIGTERM or SIGINT.
 * @param up called once, when every worker answers
 */
export async function serveWithWorkers(settings: Settings, up: () => void): Promise<void> {
  const { config } = settings;
  const log = createLogger(config.logLevel);
  let preparing = true;
  let stopping = false;
  // before anything is forked, nothing has to be finished
  onStopSignal(() => (preparing ? process.exit(0) : stop(0)));
  if (!process.stdin.isTTY) {
    process.on("SIGHUP", () => {
      for (const worker of Object.values(cluster.workers ?? {})) if (worker?.isConnected()) worker.send("reload");
    });
  }
  // open whenever no worker serves
  let room: SharedWaitingRoom | null = await prepare(settings, () => openSharedWaitingRoom(config), { log });
  preparing = false;
  answerForAllWorkers((worker) => worker !== room?.worker);
  const closeRoom = async () => {
    await room?.close();
    room = null;
  };
  let reopening = false;
  const reopenRoom = async () => {
    if (room !== null || reopening) return;
    reopening = true;
    const opened = await openSharedWaitingRoom(config).catch((error: unknown) => {
      log.warn({ err: error }, "nothing answers /healthz until a worker does");
      return null;
    });
    reopening = false;
    room = opened;
    if (serving.size > 0) await closeRoom();
  };
  let waiting = config.workers;
  let pause = firstPauseMs;
  const serving = new Set<Worker>();

  const start = () => {
    const startedAt = performance.now();
    const worker = cluster.fork();
    let wasUp = false;
    worker.on("message", async (message: FromWorker) => {
      if (typeof message === "object" && "waitsFor" in message && room !== null) room.reason = message.waitsFor;
      if (message !== "up") return;
      wasUp = true;
      serving.add(worker);
      waiting--;
      const isLast = waiting === 0;
      await closeRoom();
      if (isLast) up();
    });
    // a message to one that has just died: its exit follows
    worker.on("error", (error) => log.debug({ err: error, pid: worker.process.pid }, "a worker could not be told"));
    worker.on("exit", (code, signal) => {
      serving.delete(worker);
      if (stopping) return;
      // a new worker would fail on the same configuration
      if (code === exitConfig) return stop(exitConfig);
      if (!wasUp && code === 1 && waiting > 0) return stop(1);
      if (serving.size === 0) void reopenRoom();
      pause = performance.now() - startedAt > settledMs ? firstPauseMs : Math.min(pause * 2, longestPauseMs);
      log.error({ pid: worker.process.pid, exitCode: code, signal }, `a worker died; starting another in ${pause} ms`);
      setTimeout(() => {
        if (!stopping) start();
      }, pause);
    });
  };

  const stop = (status: number) => {
    if (stopping) return;
    stopping = true;
    setTimeout(() => process.exit(1), CLOSE_WITHIN_MS + 500).unref();
    const alive = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    const ends = alive.map((worker) => endsWith([0, status], worker));
    void Promise.all(ends).then((clean) => exitAtRest(clean.every(Boolean) ? status : 1));
    for (const worker of alive) worker.send(CLOSE);
  };
  for (let number = 0; number < config.workers; number++) start();
}

/** @returns whether the worker exits with one of these */
function endsWith(statuses: readonly number[], worker: Worker): Promise<boolean> {
  if (worker.isDead()) return Promise.resolve(true);
  return new Promise((resolve) => worker.once("exit", (code) => resolve(statuses.includes(code))));
}

/** The waiting room as a worker has it: what it waits for is said there. */
class RoomOfPrimary implements WaitingRoom {
  #reason = "starting";

  get reason(): string {
    return this.#reason;
  }

  set reason(waitsFor: string) {
    this.#reason = waitsFor;
    process.send?.({ waitsFor } satisfies FromWorker);
  }

  async close(): Promise<void> {}
}

/** One of the processes. The primary tells it when to end: it ignores the SIGINT that a terminal's Ctrl-C sends to it too. */
export async function serveAsWorker(settings: Settings): Promise<void> {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
  let app: App | null = null;
  answerForWorker(() => app?.context.metrics.registry ?? null);
  let closing = false;
  const close = () => {
    if (closing) return;
    closing = true;
    // nothing was accepted yet; running out of work would count as an error while the start is awaited
    if (app === null) process.exit(0);
    else closeAndExit(app);
  };
  process.on("message", (message) => {
    if (message === "reload") app?.reload();
    if (message === CLOSE) close();
  });
  // the primary is gone: Node would end this process in the middle of its answers
  process.prependListener("disconnect", () => {
    if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true;
    close();
  });
  try {
    app = await createApp(settings, { migrate: false, applyClients: false, room: new RoomOfPrimary() });
  } catch (error) {
    // nothing is left to do: the channel to the primary must not keep this process, which the primary waits for
    process.channel?.unref();
    throw error;
  }
  freeStartMemory();
  if (closing) closeAndExit(app);
  else process.send?.("up" satisfies FromWorker);
}
