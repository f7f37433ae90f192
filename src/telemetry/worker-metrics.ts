import cluster from "node:cluster";
import { AggregatorRegistry, type MetricObject, type Registry } from "prom-client";

/**
 * Metrics of a service of several worker processes: whichever worker is asked answers for all of them. It asks the primary, which asks
 * every worker and makes one answer of what they say, each metric as its `aggregator` says.
 */
type Message =
  | { readonly type: "all metrics?"; readonly question: number }
  | { readonly type: "all metrics"; readonly question: number; readonly text: string | null }
  | { readonly type: "own metrics?"; readonly collection: number }
  | { readonly type: "own metrics"; readonly collection: number; readonly metrics: MetricObject[] };

/** A worker that has not answered by then is frozen (milliseconds). */
const answerMs = 5_000;

function isMessage(value: unknown): value is Message {
  return typeof value === "object" && value !== null && "type" in value;
}

/** A worker that ends while it is sent to is noticed by its exit. */
const ignore = () => undefined;

/** Of workers that ended: a sum that fell would be taken for a restart of the whole service. */
class EndedCounters {
  /** What each worker said last. */
  readonly #said = new Map<number, MetricObject[]>();
  sum: Promise<MetricObject[]> = Promise.resolve([]);

  note(worker: number, metrics: readonly MetricObject[]): void {
    const counted = metrics.filter(({ type }) => ["counter", "histogram"].includes(String(type)));
    this.#said.set(worker, counted);
  }

  /** What the worker counted after it was asked last is lost. */
  end(worker: number): void {
    const last = this.#said.get(worker);
    if (last === undefined || !this.#said.delete(worker)) return;
    this.sum = this.sum.then((before) => AggregatorRegistry.aggregate([before, last]).getMetricsAsJSON());
  }
}

/** What the primary collects for one question. */
class Collection {
  readonly #left: Set<number>;
  readonly #ended: EndedCounters;
  readonly #metrics = new Map<number, MetricObject[]>();
  readonly #done: (text: string | null) => void;
  readonly #timer: NodeJS.Timeout;

  constructor(workers: readonly number[], ended: EndedCounters, done: (text: string | null) => void) {
    this.#left = new Set(workers);
    this.#ended = ended;
    this.#done = done;
    this.#timer = setTimeout(() => done(null), answerMs);
  }

  /** @param metrics null: the worker ended, and what it counted is counted with those that did */
  add(worker: number, metrics: MetricObject[] | null): void {
    if (metrics === null) this.#metrics.delete(worker);
    if (!this.#left.delete(worker)) return;
    if (metrics !== null) this.#metrics.set(worker, metrics);
    if (this.#left.size === 0) void this.#finish();
  }

  async #finish(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      const metrics = [...this.#metrics.values(), await this.#ended.sum];
      this.#done(await AggregatorRegistry.aggregate(metrics).metrics());
    } catch {
      this.#done(null);
    }
  }
}

/** Called once in the primary. */
export function answerForAllWorkers(): void {
  const collections = new Map<number, Collection>();
  const ended = new EndedCounters();
  /** The others are still being loaded: they have counted nothing, and would answer late. */
  const heardOf = new Set<number>();
  let last = 0;
  cluster.on("message", (worker, message: unknown) => {
    heardOf.add(worker.id);
    if (!isMessage(message)) return;
    if (message.type === "own metrics") {
      ended.note(worker.id, message.metrics);
      collections.get(message.collection)?.add(worker.id, message.metrics);
    }
    if (message.type !== "all metrics?") return;
    const { question } = message;
    const id = ++last;
    const asked = Object.values(cluster.workers ?? {}).filter((each) => each?.isConnected() && heardOf.has(each.id));
    const collection = new Collection(
      asked.map((each) => each?.id ?? 0),
      ended,
      (text) => {
        collections.delete(id);
        const answer: Message = { type: "all metrics", question, text };
        if (worker.isConnected()) worker.send(answer, ignore);
      },
    );
    collections.set(id, collection);
    for (const each of asked) each?.send({ type: "own metrics?", collection: id } satisfies Message, ignore);
  });
  cluster.on("exit", (worker) => {
    heardOf.delete(worker.id);
    ended.end(worker.id);
    for (const collection of collections.values()) collection.add(worker.id, null);
  });
}

/** Called first of all in a worker, which is asked once it has said anything to the primary. @param registry null: nothing is measured yet */
export function answerForWorker(registry: () => Registry | null): void {
  process.on("message", async (message: unknown) => {
    if (!isMessage(message) || message.type !== "own metrics?") return;
    const metrics = ((await registry()?.getMetricsAsJSON()) ?? []) as MetricObject[];
    sendToPrimary({ type: "own metrics", collection: message.collection, metrics });
  });
}

function sendToPrimary(message: Message): void {
  if (process.connected) process.send?.(message, undefined, undefined, ignore);
}

let questions = 0;

/**
 * @param registry of this process
 * @returns the metrics in the form of Prometheus, of all workers where this is one; null: a worker does not answer
 */
export async function readMetrics(registry: Registry): Promise<string | null> {
  if (!cluster.isWorker) return registry.metrics();
  const question = ++questions;
  return new Promise((resolve) => {
    const end = (text: string | null) => {
      clearTimeout(late);
      process.off("message", listener);
      resolve(text);
    };
    const listener = (message: unknown) => {
      if (isMessage(message) && message.type === "all metrics" && message.question === question) end(message.text);
    };
    const late = setTimeout(() => end(null), answerMs + 1_000);
    process.on("message", listener);
    sendToPrimary({ type: "all metrics?", question });
  });
}
