import cluster from "node:cluster";
import { AggregatorRegistry, type Registry } from "prom-client";

/**
 * Metrics of a service of several worker processes: whichever worker is asked answers for all of them. It asks the primary, which asks
 * every worker and adds up what they say, each metric as its `aggregator` says.
 */

interface Question {
  readonly type: "metrics?";
  readonly id: number;
}

interface Answer {
  readonly type: "metrics";
  readonly id: number;
  /** Null: a worker did not answer. */
  readonly text: string | null;
}

/** prom-client waits 5 s for the workers (milliseconds). */
const answerMs = 6_000;

/** Called first of all in each worker, which may be asked before it is up. */
export function answerForWorker(): void {
  AggregatorRegistry.setRegistries([]);
  new AggregatorRegistry();
}

/** Called once in the primary. */
export function answerForAllWorkers(): void {
  const all = new AggregatorRegistry();
  cluster.on("message", (worker, message: Partial<Question>) => {
    if (message.type !== "metrics?") return;
    const answer = (text: string | null) => {
      if (worker.isConnected()) worker.send({ type: "metrics", id: message.id ?? 0, text } satisfies Answer);
    };
    all.clusterMetrics().then(answer, () => answer(null));
  });
}

let questions = 0;

/**
 * @param registry of this process
 * @returns the metrics in the form of Prometheus, of all workers where this is one; null: a worker does not answer
 */
export async function readMetrics(registry: Registry): Promise<string | null> {
  if (!cluster.isWorker) return registry.metrics();
  AggregatorRegistry.setRegistries([registry]);
  const id = ++questions;
  return new Promise((resolve) => {
    const end = (text: string | null) => {
      clearTimeout(late);
      process.off("message", listener);
      resolve(text);
    };
    const listener = (message: Partial<Answer>) => {
      if (message.type === "metrics" && message.id === id) end(message.text ?? null);
    };
    const late = setTimeout(() => end(null), answerMs);
    process.on("message", listener);
    process.send?.({ type: "metrics?", id } satisfies Question);
  });
}
