import cluster, { type Worker } from "node:cluster";
import { type App, createApp, prepare } from "../app.ts";
import type { Settings } from "../config/config.ts";
import { createLogger } from "../telemetry/log.ts";
import { answerForAllWorkers, answerForWorker } from "../telemetry/worker-metrics.ts";
import { CLOSE_WITHIN_MS, closeAndExit, exitAtRest } from "./exit.ts";
import { freeStartMemory } from "./start-memory.ts";
import { onStopSignal } from "./stop-signals.ts";
import type { WaitingRoom } from "./waiting-room.ts";

/** In the environment of a worker that starts while another one has the internal port. */
export const BESIDE_OTHERS = "AUTH_WORKER_BESIDE_OTHERS";

/**
 * What a worker tells the primary, in this order. `hears`: it can be told to close. `waits`: it answers health requests, where it is the first; it
 * goes on once the database is prepared. `turn?`: it is about to listen. `up`: it serves.
 */
type FromWorker = "hears" | "waits" | "turn?" | "up";
/** What the primary tells a worker. `reason`: what the preparation of the database waits for. */
type ToWorker = "reload" | "close" | "prepared" | "turn" | { readonly reason: string };

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
  let stopping = false;
  onStopSignal(() => stop(0));
  if (!process.stdin.isTTY) process.on("SIGHUP", () => tellAll("reload"));
  answerForAllWorkers();
  let prepared = false;
  let waiting = config.workers;
  let pause = firstPauseMs;
  /** Those that can be told to close. The others are still being loaded and have accepted nothing. */
  const hearing = new Set<Worker>();
  /**
   * The worker that answers health requests alone until it serves. The listeners are shared, and connections are passed in turn: beside
   * workers that serve, it would refuse calls. So the others listen at nothing before it serves, and it never lets go of its listener, which
   * would be the last one of the port: Node forgets a connection that it was passing then, and leaves it open without an answer.
   */
  let first: Worker | null = null;
  /** That one, and those that listen or were told to. */
  const listening = new Set<Worker>();
  /** Those that will listen, once `first` serves or has ended. */
  const ready = new Set<Worker>();
  const firstWaits = Promise.withResolvers<void>();

  /** What the preparation waits for, as the waiting room says it. */
  let reason = "starting";
  const room = {
    get reason() {
      return reason;
    },
    set reason(now: string) {
      reason = now;
      tellAll({ reason });
    },
  };

  const tellAll = (message: ToWorker) => {
    for (const worker of hearing) if (worker.isConnected()) worker.send(message);
  };

  const letListen = () => {
    for (const worker of ready) {
      if (first !== null && first !== worker) continue;
      ready.delete(worker);
      listening.add(worker);
      if (worker.isConnected()) worker.send("turn" satisfies ToWorker);
    }
  };
  /** It serves, or has ended. */
  const letOthersListen = (worker: Worker) => {
    if (first !== worker) return;
    first = null;
    letListen();
  };

  const start = () => {
    const startedAt = performance.now();
    const isFirst = listening.size === 0;
    const worker = cluster.fork(isFirst ? {} : { [BESIDE_OTHERS]: "1" });
    if (isFirst) {
      first = worker;
      listening.add(worker);
    }
    let wasUp = false;
    worker.on("message", (message: FromWorker) => {
      if (message === "hears") hearing.add(worker);
      if (message === "waits") {
        firstWaits.resolve();
        worker.send((prepared ? "prepared" : { reason }) satisfies ToWorker);
      }
      if (message === "turn?") {
        ready.add(worker);
        letListen();
      }
      if (message !== "up") return;
      wasUp = true;
      letOthersListen(worker);
      if (--waiting === 0) up();
    });
    // a message to one that has just died: its exit follows
    worker.on("error", (error) => log.debug({ err: error, pid: worker.process.pid }, "a worker could not be told"));
    worker.on("exit", (code, signal) => {
      hearing.delete(worker);
      listening.delete(worker);
      ready.delete(worker);
      if (stopping) return;
      // a new worker would fail on the same configuration; once the service was up, the others go on with the one that they have read
      if (code === exitConfig && waiting > 0) return stop(exitConfig);
      if (!wasUp && code === 1 && waiting > 0) return stop(1);
      letOthersListen(worker);
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
    // what waits for nothing else would be taken for an error
    firstWaits.resolve();
    setTimeout(() => process.exit(1), CLOSE_WITHIN_MS + 500).unref();
    const alive = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    const ends = alive.map(async (worker) => {
      const told = hearing.has(worker);
      if (told) worker.send("close" satisfies ToWorker);
      else worker.process.kill("SIGKILL");
      return (await endsWith([0, status], worker)) || !told;
    });
    void Promise.all(ends).then((clean) => exitAtRest(clean.every(Boolean) ? status : 1));
  };

  // the first one alone: what is wrong with the port or the certificate is said once, and before anything is changed
  start();
  await firstWaits.promise;
  if (stopping) return;
  for (let number = 1; number < config.workers; number++) start();
  await prepare(settings, room, { log }).catch((error: unknown) => {
    stopping = true;
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill("SIGKILL");
    throw error;
  });
  prepared = true;
  tellAll("prepared");
}

/** @returns whether the worker exits with one of these */
function endsWith(statuses: readonly number[], worker: Worker): Promise<boolean> {
  if (worker.isDead()) return Promise.resolve(true);
  return new Promise((resolve) => worker.once("exit", (code) => resolve(statuses.includes(code))));
}

/**
 * One of the processes. The primary tells it when to end: it ignores the SIGINT that a terminal's Ctrl-C sends to it too.
 * @param besideOthers another worker has the internal port
 */
export async function serveAsWorker(settings: Settings, besideOthers: boolean): Promise<void> {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
  let app: App | null = null;
  answerForWorker(() => app?.context.metrics.registry ?? null);
  let closing = false;
  let listens = false;
  const close = () => {
    if (closing) return;
    closing = true;
    if (app !== null) closeAndExit(app);
    // nothing was accepted yet; running out of work would count as an error while the start is awaited
    else if (!listens) process.exit(0);
  };
  let room: Pick<WaitingRoom, "reason"> = { reason: "" };
  const prepared = Promise.withResolvers<void>();
  const turn = Promise.withResolvers<void>();
  process.on("message", (message: ToWorker) => {
    if (message === "reload") app?.reload();
    if (message === "close") close();
    if (message === "prepared") prepared.resolve();
    if (message === "turn") {
      listens = true;
      turn.resolve();
    }
    if (typeof message === "object" && "reason" in message) room.reason = message.reason;
  });
  const tell = (message: FromWorker) => process.send?.(message);
  tell("hears");
  // the primary is gone: Node would end this process in the middle of its answers
  process.prependListener("disconnect", () => {
    if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true;
    // who asks to listen now gets no answer: the start would wait for it for ever, and send events meanwhile
    if (app === null) process.exit(0);
    close();
  });
  try {
    app = await createApp(settings, {
      migrate: false,
      applyClients: false,
      waitingRoom: !besideOthers,
      prepared: (opened) => {
        room = opened;
        tell("waits");
        return prepared.promise;
      },
      turn: () => {
        tell("turn?");
        return turn.promise;
      },
    });
  } catch (error) {
    // nothing is left to do: the channel to the primary must not keep this process, which the primary waits for
    process.channel?.unref();
    throw error;
  }
  freeStartMemory();
  if (closing) closeAndExit(app);
  else tell("up");
}
