import type { OutboundEvent } from "./encode.ts";
import { type Held, NotAsked, PublishError } from "./event-publisher.ts";
import { isPartitionFailure } from "./kafka-errors.ts";
import { backoff } from "./timing.ts";

/** Longest wait between two tries of a partition (milliseconds). */
const longestWaitMs = 3_000;
/** Of a try of one partition (milliseconds): several fit into the deadline of a send. */
const apartMs = 2_000;

interface Short {
  readonly failures: number;
  /** When one event asks again, by `performance.now()`. */
  readonly retryAt: number;
  readonly error: PublishError;
}

interface Parts {
  /** Stores a batch whole, within `withinMs` milliseconds where that is given. @throws PublishError */
  readonly send: (batch: readonly OutboundEvent[], withinMs?: number) => Promise<void>;
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
    const short: [string, OutboundEvent[]][] = [];
    const others: OutboundEvent[] = [];
    for (const [partition, events] of this.#byPartition(batch)) {
      if (this.#short.has(partition)) short.push([partition, events]);
      else others.push(...events);
    }
    if (others.length > 0) {
      try {
        await this.#parts.send(others);
      } catch (error) {
        if (!(error instanceof PublishError) || error.failure !== "away") throw error;
        await this.#sendApart(others, error, held);
      }
    }
    // after the others, which a partition that does not answer must not keep waiting; one question at a time
    let isAsking = true;
    for (const [partition, events] of short) {
      if (isAsking) isAsking = !(await this.#ask(partition, events, held));
      else this.#holdBack(partition, events, held);
    }
    return held;
  }

  /** Sends one event to a partition that is short, where that is due, and then the rest. @returns whether it was asked */
  async #ask(partition: string, events: OutboundEvent[], held: Map<string, PublishError>): Promise<boolean> {
    const [first, ...rest] = events;
    const due = performance.now() >= (this.#short.get(partition)?.retryAt ?? 0);
    if (first === undefined || !due) {
      this.#holdBack(partition, events, held);
      return false;
    }
    if ((await this.#try(partition, [first], held)) !== null) this.#holdBack(partition, rest, held);
    else if (rest.length > 0) await this.#try(partition, rest, held);
    return true;
  }

  /** Holds back what was not tried. */
  #holdBack(partition: string, events: readonly OutboundEvent[], held: Map<string, PublishError>): void {
    const short = this.#short.get(partition);
    if (short === undefined) return;
    const notAsked = new NotAsked(short.error);
    for (const { event } of events) held.set(event.eventId, notAsked);
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
    const failed: string[] = [];
    for (const [partition, events] of partitions) {
      const error = await this.#try(partition, events, held);
      if (error === null || isPartitionFailure(error)) isReached = true;
      if (error !== null) failed.push(partition);
      // no partition is reached: the others would fail the same way, one after the other
      if (!isReached && failed.length > 1) break;
    }
    if (isReached) return;
    for (const partition of failed) this.#short.delete(partition);
    throw failure;
  }

  /** Sends to one partition; what it does not store is held back. @returns null: stored */
  async #try(
    partition: string,
    events: readonly OutboundEvent[],
    held: Map<string, PublishError>,
  ): Promise<PublishError | null> {
    try {
      await this.#parts.send(events, apartMs);
      this.#short.delete(partition);
      return null;
    } catch (error) {
      if (!(error instanceof PublishError) || error.failure !== "away") throw error;
      this.#hold(partition, events, error, held);
      return error;
    }
  }

  /** Notes that the partition failed once more, and holds back the events that it was sent. */
  #hold(partition: string, events: readonly OutboundEvent[], error: PublishError, held: Map<string, PublishError>) {
    const failures = (this.#short.get(partition)?.failures ?? 0) + 1;
    this.#short.set(partition, { failures, retryAt: performance.now() + backoff(failures, longestWaitMs), error });
    for (const { event } of events) held.set(event.eventId, error);
  }

  #byPartition(batch: readonly OutboundEvent[]): Map<string, OutboundEvent[]> {
    return Map.groupBy(batch, (event) => this.#parts.partitionOf(event) ?? "");
  }
}
