import type { Clock } from "../clock.ts";
import { pause, withDeadline } from "../deadline.ts";
import type { Lease } from "../store/leases.ts";
import type { OutboxStore } from "../store/outbox.ts";
import type { OutboundEvent } from "./encode.ts";
import { encodeEvent } from "./encode.ts";
import type { EventPublisher, Logger } from "./event-publisher.ts";
import { PublishError } from "./event-publisher.ts";
import type { BrokerOutage, DatabaseOutage } from "./outages.ts";
import type { RelayTiming } from "./timing.ts";
import { backoff } from "./timing.ts";

export interface RelayMetrics {
  sent(count: number): void;
  /** Events of failed sends, counted once for each attempt. */
  failed(count: number): void;
  parked(count: number): void;
}

/** What all lanes of one relay share. */
export interface LaneContext {
  readonly outbox: OutboxStore;
  readonly publisher: EventPublisher;
  readonly clock: Pick<Clock, "now">;
  readonly log: Logger;
  readonly metrics: RelayMetrics;
  /** `ce_source` of every event. */
  readonly issuer: string;
  readonly timing: RelayTiming;
  readonly broker: BrokerOutage;
  readonly database: DatabaseOutage;
  /** Gives up every send under way: the relay closes and has waited long enough. */
  readonly cutOff: AbortSignal;
}

const batchEvents = 200;
/** Brokers take 1 MiB a batch by default. */
const batchBytes = 512 * 1024;

/** Another relay holds the lease now. */
class LaneLost extends Error {}

/**
 * One lane of the outbox while this relay holds its lease: a loop that reads pending events, sends them and marks them sent. One batch
 * is in flight at a time, and each user's events go out in order. The lane ends when it is stopped or finds its lease lost.
 */
export class Lane {
  readonly number: number;
  readonly lease: Lease;
  /** Resolves when the loop has ended: the lane does nothing more under its lease. */
  readonly ended: Promise<void>;
  readonly #context: LaneContext;
  readonly #stop = new AbortController();
  #validUntil: number;
  #isLost = false;
  /** There may be something to send. */
  #isDue = true;
  #wake: () => void = () => {};
  /** Events that were sent and are not marked yet. */
  readonly #unmarked: Set<string>;
  /** Suspects: topics that refused their events the last time. One event asks whether they still do. */
  readonly #suspects = new Set<string>();
  /** Events of the current round that wait for a suspect. The next round reads that many more, to find others behind them. */
  #heldBack = 0;

  /**
   * Starts the loop.
   * @param held.validUntil until when the lease is certainly held, by `performance.now()`
   * @param held.unmarked ids of events that an earlier holding of this lane sent and did not mark; the lane updates it. It outlives
   *   the lane, so that a database outage causes no repeats.
   */
  constructor(context: LaneContext, held: { number: number; lease: Lease; validUntil: number; unmarked: Set<string> }) {
    this.#context = context;
    this.number = held.number;
    this.lease = held.lease;
    this.#validUntil = held.validUntil;
    this.#unmarked = held.unmarked;
    this.ended = this.#run();
  }

  /** Until when the lease is certainly held, by `performance.now()`. */
  get validUntil(): number {
    return this.#validUntil;
  }

  /** The lease was renewed. */
  extend(validUntil: number): void {
    this.#validUntil = validUntil;
  }

  get isDue(): boolean {
    return this.#isDue;
  }

  /** Something was committed to this lane, perhaps. */
  wake(): void {
    this.#isDue = true;
    this.#wake();
  }

  /** The lane is ending or has ended. */
  get isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Ends the loop after the send under way. The lease is still held and to be released. */
  stop(): void {
    this.#stop.abort();
  }

  /** Ends the loop because the lease is gone: it must not be released. */
  lose(): void {
    this.#isLost = true;
    this.#stop.abort();
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  async #run(): Promise<void> {
    for (let failures = 0; !this.isStopped; ) {
      const { wait } = this.#context.broker;
      if (!this.#isDue) await this.#woken();
      else if (wait > 0) await pause(wait, this.#stop.signal);
      else failures = await this.#round(failures);
    }
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#wake = () => {};
        this.#stop.signal.removeEventListener("abort", done);
        resolve();
      };
      this.#wake = done;
      this.#stop.signal.addEventListener("abort", done, { once: true });
      if (this.isStopped) done();
    });
  }

  /** One round, and the wait after a failed one. @returns how many rounds in a row have failed */
  async #round(failuresBefore: number): Promise<number> {
    const { database, timing } = this.#context;
    let failures = failuresBefore + 1;
    this.#isDue = false;
    try {
      const isStuck = await this.#relayPending();
      if (!isStuck) failures = 0;
    } catch (error) {
      if (error instanceof LaneLost) {
        this.lose();
        return failuresBefore;
      }
      this.#isDue = true;
      // the wait for the broker is the same for all lanes
      if (error instanceof PublishError) return failuresBefore;
      database.failed(error);
    }
    if (failures > 0) {
      this.#isDue = true;
      await pause(backoff(failures, timing.maxBackoff), this.#stop.signal);
    }
    return failures;
  }

  /** Sends what is pending. @returns whether everything that was tried is refused for now */
  async #relayPending(): Promise<boolean> {
    const { outbox, database } = this.#context;
    const limit = batchEvents + Math.min(this.#heldBack, 10 * batchEvents);
    const entries = await outbox.pending(this.number, limit);
    database.answered();
    if (entries.length === 0) {
      this.#unmarked.clear();
      return false;
    }
    const ready = await this.#encode(entries);
    this.#heldBack = 0;
    let failure: unknown = null;
    try {
      await this.#send(ready);
    } catch (error) {
      failure = error;
    }
    const marked = await this.#mark(entries);
    if (failure !== null) throw failure;
    const mayBeMore = this.#heldBack === 0 ? entries.length >= limit : marked > 0;
    if (mayBeMore) this.#isDue = true;
    return this.#heldBack > 0 && marked === 0;
  }

  /** The events to send, encoded. Those that cannot be opened or encoded are parked. */
  async #encode(entries: Awaited<ReturnType<OutboxStore["pending"]>>): Promise<OutboundEvent[]> {
    const ready: OutboundEvent[] = [];
    for (const { eventId, event } of entries) {
      if (this.#unmarked.has(eventId)) continue;
      if (event instanceof Error) {
        await this.#park(eventId, `payload cannot be opened: ${event.message}`);
        continue;
      }
      try {
        ready.push(encodeEvent(event, this.#context.issuer));
      } catch (error) {
        await this.#park(eventId, `cannot be encoded: ${messageOf(error)}`);
      }
    }
    return ready;
  }

  /** Marks what was sent of these. @returns how many @throws LaneLost */
  async #mark(entries: readonly { readonly eventId: string }[]): Promise<number> {
    const { outbox, clock, metrics } = this.#context;
    const sent = entries.map(({ eventId }) => eventId).filter((id) => this.#unmarked.has(id));
    if (sent.length === 0) return 0;
    if (!(await outbox.markSent(this.lease, sent, clock.now()))) throw new LaneLost();
    for (const id of sent) this.#unmarked.delete(id);
    metrics.sent(sent.length);
    return sent.length;
  }

  async #send(events: readonly OutboundEvent[]): Promise<void> {
    const { suspects = [], others = [] } = Object.groupBy(events, ({ topic }) =>
      this.#suspects.has(topic) ? "suspects" : "others",
    );
    await this.#sendSuspects(suspects);
    for (const chunk of chunksOf(others)) {
      if (this.isStopped) break;
      await this.#sendChunk(chunk);
    }
  }

  /** Asks each topic that refused with one event before it gets the rest, in a later round. */
  async #sendSuspects(events: readonly OutboundEvent[]): Promise<void> {
    for (const [first, ...rest] of Map.groupBy(events, ({ topic }) => topic).values()) {
      if (first === undefined || this.isStopped) continue;
      await this.#sendOne(first);
      this.#heldBack += rest.length;
    }
  }

  /** Sends a batch, and its events one by one when the broker refuses the batch: only what is refused is held back. */
  async #sendChunk(chunk: readonly OutboundEvent[]): Promise<void> {
    if (chunk.length > 1) {
      try {
        await this.#publish(chunk);
        for (const { event } of chunk) this.#unmarked.add(event.eventId);
        return;
      } catch (error) {
        if (!(error instanceof PublishError) || error.failure === "away") {
          await this.#countFailure(chunk);
          throw error;
        }
        const fields = { err: error, lane: this.number, events: chunk.length };
        this.#context.log.debug(fields, "a batch was refused; its events are sent one by one");
      }
    }
    for (const event of chunk) {
      if (this.isStopped) return;
      if (this.#suspects.has(event.topic)) this.#heldBack += 1;
      else await this.#sendOne(event);
    }
  }

  async #sendOne(event: OutboundEvent): Promise<void> {
    const { broker } = this.#context;
    try {
      await this.#publish([event]);
      this.#unmarked.add(event.event.eventId);
      this.#suspects.delete(event.topic);
      broker.accepted(event.topic);
    } catch (error) {
      if (!(error instanceof PublishError)) throw error;
      await this.#countFailure([event]);
      if (error.failure === "away") throw error;
      if (error.failure === "undeliverable") return await this.#park(event.event.eventId, error.message);
      this.#suspects.add(event.topic);
      broker.refused(event.topic, this.number, error);
      this.#heldBack += 1;
    }
  }

  /** @throws LaneLost, PublishError; another error when the lease would run out during the send */
  async #publish(batch: readonly OutboundEvent[]): Promise<void> {
    const { publisher, broker, timing, cutOff } = this.#context;
    const left = this.#validUntil - performance.now() - timing.leaseTtl / 10;
    if (this.#isLost || left <= 0) throw new LaneLost();
    if (left < timing.send) throw new Error("the lease is about to run out");
    try {
      await withDeadline(timing.send, [cutOff], (signal) => publisher.publish(batch, signal));
    } catch (error) {
      const failure =
        error instanceof PublishError ? error : new PublishError("away", messageOf(error), { cause: error });
      if (failure.failure === "away") broker.failed(failure);
      else broker.answered();
      throw failure;
    }
    broker.answered();
  }

  /** Sets an event aside that no attempt can deliver. @throws LaneLost */
  async #park(eventId: string, reason: string): Promise<void> {
    const { outbox, metrics, log } = this.#context;
    if (!(await outbox.park(this.lease, eventId, reason.slice(0, 500)))) throw new LaneLost();
    metrics.parked(1);
    log.error({ eventId, lane: this.number, reason }, "an event cannot be delivered and was parked");
  }

  async #countFailure(events: readonly OutboundEvent[]): Promise<void> {
    this.#context.metrics.failed(events.length);
    await this.#context.outbox.countAttempt(events.map(({ event }) => event.eventId)).catch(() => {});
  }
}

/** Batches of at most `batchEvents` events and `batchBytes` bytes, in order. */
function chunksOf(events: readonly OutboundEvent[]): OutboundEvent[][] {
  const chunks: OutboundEvent[][] = [];
  let bytes = 0;
  for (const event of events) {
    const chunk = chunks.at(-1);
    if (chunk === undefined || chunk.length >= batchEvents || bytes + event.value.length > batchBytes) {
      chunks.push([event]);
      bytes = event.value.length;
    } else {
      chunk.push(event);
      bytes += event.value.length;
    }
  }
  return chunks;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
