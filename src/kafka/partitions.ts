import type { OutboundEvent } from "./encode.ts";
import { type Held, PublishError } from "./event-publisher.ts";
import { isPartitionFailure } from "./kafka-errors.ts";
import { backoff } from "./timing.ts";

/** Longest wait between two tries of a partition (milliseconds). */
const longestWaitMs = 3_000;

interface Short {
  readonly failures: number;
  /** When one event asks again, by `performance.now()`. */
  readonly retryAt: number;
  readonly error: PublishError;
}

interface Parts {
  /** Stores a batch whole. @throws PublishError */
  readonly send: (batch: readonly OutboundEvent[]) => Promise<void>;
  /** `topic/partition` that an event goes to; undefined while the topic's partitions are not known. */
  readonly partitionOf: (event: OutboundEvent) => string | undefined;
}

/**
 * Sends batches so that a partition that stores nothing, because it has no leader or too few replicas, holds back its own events
 * alone. Once it failed it is asked again with one event at a time, ever more seldom, so repeats are few.
 */
export class Partitions {
  readonly #parts: Parts;
  readonly #short = new Map<string, Short>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** @returns the events that were not stored while others may be @throws PublishError as `EventPublisher.publish` */
  async send(batch: readonly OutboundEvent[]): Promise<Held> {
    const held = new Map<string, PublishError>();
    const others = await this.#withoutShort(batch, held);
    if (others.length === 0) return held;
    try {
      await this.#parts.send(others);
    } catch (error) {
      if (!(error instanceof PublishError) || error.failure !== "away") throw error;
      await this.#sendApart(others, error, held);
    }
    return held;
  }

  /** Holds back what goes to a partition that is short, after one of its events has asked where that is due. */
  async #withoutShort(batch: readonly OutboundEvent[], held: Map<string, PublishError>): Promise<OutboundEvent[]> {
    if (this.#short.size === 0) return [...batch];
    const stored = new Set<OutboundEvent>();
    for (const [partition, events] of this.#byPartition(batch)) {
      const short = this.#short.get(partition);
      const [first] = events;
      if (short === undefined || first === undefined) continue;
      if (performance.now() >= short.retryAt) {
        const error = await this.#try(partition, [first]);
        if (error === null) stored.add(first);
      }
      const still = this.#short.get(partition);
      if (still !== undefined) for (const { event } of events) held.set(event.eventId, still.error);
    }
    return batch.filter((event) => !stored.has(event) && !held.has(event.event.eventId));
  }

  /** After a failed batch: each partition by itself, to find those that are short. @throws PublishError when nothing is stored */
  async #sendApart(batch: readonly OutboundEvent[], failure: PublishError, held: Map<string, PublishError>) {
    const partitions = this.#byPartition(batch);
    let isReached = isPartitionFailure(failure);
    if (partitions.size === 1 && isReached) {
      for (const [partition, events] of partitions) this.#hold(partition, events, failure, held);
      return;
    }
    if (partitions.size < 2) throw failure;
    const failed: [string, OutboundEvent[], PublishError][] = [];
    for (const [partition, events] of partitions) {
      const error = await this.#try(partition, events);
      if (error === null || isPartitionFailure(error)) isReached = true;
      if (error !== null) failed.push([partition, events, error]);
      // the broker answers nobody: the other partitions would fail the same way, one after the other
      if (!isReached && failed.length > 1) break;
    }
    if (!isReached) {
      for (const [partition] of failed) this.#short.delete(partition);
      throw failure;
    }
    for (const [partition, events, error] of failed) this.#hold(partition, events, error, held);
  }

  /** @returns null: stored */
  async #try(partition: string, events: readonly OutboundEvent[]): Promise<PublishError | null> {
    try {
      await this.#parts.send(events);
      this.#short.delete(partition);
      return null;
    } catch (error) {
      if (!(error instanceof PublishError) || error.failure !== "away") throw error;
      this.#fail(partition, error);
      return error;
    }
  }

  #hold(partition: string, events: readonly OutboundEvent[], error: PublishError, held: Map<string, PublishError>) {
    if (!this.#short.has(partition)) this.#fail(partition, error);
    for (const { event } of events) held.set(event.eventId, error);
  }

  #fail(partition: string, error: PublishError): void {
    const failures = (this.#short.get(partition)?.failures ?? 0) + 1;
    this.#short.set(partition, { failures, retryAt: performance.now() + backoff(failures, longestWaitMs), error });
  }

  #byPartition(batch: readonly OutboundEvent[]): Map<string, OutboundEvent[]> {
    return Map.groupBy(batch, (event) => this.#parts.partitionOf(event) ?? "");
  }
}
