import { pause } from "../deadline.ts";
import { messageOf } from "../errors.ts";
import type { OutboxHeld, OutboxPage, OutboxPosition, OutboxQueue } from "../store/outbox.ts";
import { encodeEvent, type OutboundEvent } from "./encode.ts";
import { NotAsked, PublishError } from "./event-publisher.ts";
import { type Holding, LaneLost, type RelayContext } from "./relay-context.ts";
import { backoff } from "./timing.ts";

const batchEvents = 200;
/** More than these are not remembered: the queue waits, and begins again. */
const heldUsersAtMost = 100_000;
/** Brokers take 1 MiB a batch by default. */
const batchBytes = 512 * 1024;

/**
 * The events of one topic in one lane: a loop that reads pending events, sends them and marks them sent while the lane is held. One
 * batch is in flight at a time, and each user's events go out in order. A topic that is refused holds back this queue alone.
 *
 * Events may be held back one by one too: their partition is short of replicas, or they are sealed under a key that this replica does
 * not have. The queue reads on behind them, and comes back to them after a while.
 */
export class TopicQueue {
  /** Resolves when the loop has ended. */
  readonly ended: Promise<void>;
  readonly #context: RelayContext;
  readonly #queue: OutboxQueue;
  readonly #lane: Holding;
  /** Events that were sent and are not marked yet. */
  readonly #unmarked: Set<string>;
  /** There may be something to send. */
  #isDue = true;
  #wake: () => void = () => {};
  /** When the newest round began, by `performance.now()`. */
  #roundAt = Number.NEGATIVE_INFINITY;
  /** Users whose events are held back since the queue last began at its oldest event. Their later ones wait behind them. */
  readonly #heldUsers = new Set<string>();
  /** The queue reads on from here: what is before it is held back. */
  #end: OutboxPosition | null = null;
  /** When the queue began at its oldest event, by `performance.now()`. */
  #beganAt = performance.now();
  /** When it looks at its oldest events once more although it has not reached its end. */
  #lookBackAt = Number.POSITIVE_INFINITY;
  /** When it begins again at its oldest event. */
  #againAt = Number.POSITIVE_INFINITY;
  /** Rounds in a row that failed, or passes that left something behind. */
  #failures = 0;
  /** The topic refused its events the last time: one event asks whether it still does. */
  #isRefused = false;

  /** @param unmarked outlives the queue, so that a database outage causes no repeats */
  constructor(context: RelayContext, queue: OutboxQueue, lane: Holding, unmarked: Set<string>) {
    this.#context = context;
    this.#queue = queue;
    this.#lane = lane;
    this.#unmarked = unmarked;
    this.ended = this.#run();
  }

  get isDue(): boolean {
    return this.#isDue;
  }

  /** Something was committed to this queue, perhaps. */
  wake(): void {
    this.#isDue = true;
    this.#wake();
  }

  async #run(): Promise<void> {
    while (!this.#lane.stopped.aborted) {
      const { wait } = this.#context.broker;
      if (!this.#isDue) {
        await this.#woken();
        const left = this.#roundAt + this.#context.timing.pace - performance.now();
        if (left > 0) await pause(left, this.#lane.stopped);
      } else if (wait > 0) await pause(wait, this.#lane.stopped);
      else if (await this.#context.isReached()) await this.#round();
    }
  }

  /** Waits until the queue is woken, it is time to begin again, or the lane ends. */
  #woken(): Promise<void> {
    const { stopped } = this.#lane;
    return new Promise((resolve) => {
      const done = () => {
        this.#wake = () => {};
        clearTimeout(timer);
        stopped.removeEventListener("abort", done);
        resolve();
      };
      const beginAgain = () => {
        this.#beginAgain();
        this.#isDue = true;
        done();
      };
      const timer = Number.isFinite(this.#againAt)
        ? setTimeout(beginAgain, Math.max(0, this.#againAt - performance.now()))
        : undefined;
      this.#wake = done;
      stopped.addEventListener("abort", done, { once: true });
      if (stopped.aborted) done();
    });
  }

  #beginAgain(): void {
    this.#end = null;
    this.#heldUsers.clear();
    this.#beganAt = performance.now();
    this.#lookBackAt = this.#beganAt + this.#context.timing.maxBackoff;
    this.#againAt = Number.POSITIVE_INFINITY;
  }

  /** One page, and the wait after a failed one. */
  async #round(): Promise<void> {
    const { database, timing } = this.#context;
    this.#isDue = false;
    this.#roundAt = performance.now();
    try {
      await this.#relayPage();
      return;
    } catch (error) {
      if (error instanceof LaneLost) return this.#lane.lose();
      this.#isDue = true;
      if (error instanceof PublishError) {
        // the wait for the broker is the same for all queues
        if (error.failure === "away") return;
      } else {
        database.failed(error);
      }
    }
    this.#failures += 1;
    await pause(backoff(this.#failures, timing.maxBackoff), this.#lane.stopped);
  }

  /** Sends the next page, and decides where the queue goes on. */
  async #relayPage(): Promise<void> {
    const { timing } = this.#context;
    if (performance.now() >= this.#againAt) this.#beginAgain();
    else if (this.#end !== null && performance.now() >= this.#lookBackAt) await this.#lookBack();
    const page = await this.#sendPage(this.#end === null ? null : { end: this.#end, users: this.#heldUsers });
    const isHolding = this.#heldUsers.size > 0;
    if (isHolding) {
      if (this.#end === null) this.#lookBackAt = performance.now() + timing.maxBackoff;
      this.#end = page.end;
    }
    if (!page.isLast && this.#heldUsers.size < heldUsersAtMost) {
      this.#isDue = true;
    } else if (!isHolding) {
      this.#failures = 0;
      this.#unmarked.clear();
    } else if (!Number.isFinite(this.#againAt)) {
      this.#failures += 1;
      // reading what is held back again and again takes a tenth of the time at the most
      const pass = performance.now() - this.#beganAt;
      this.#againAt = performance.now() + Math.max(backoff(this.#failures, timing.maxBackoff), 10 * pass);
    }
  }

  /** In the middle of a long queue: tries the oldest events once more. When they go out, the queue begins again with them. */
  async #lookBack(): Promise<void> {
    const [end, users] = [this.#end, [...this.#heldUsers]];
    this.#beginAgain();
    await this.#sendPage(null);
    if (this.#heldUsers.size === 0) return;
    this.#end = end;
    for (const user of users) this.#heldUsers.add(user);
  }

  /** Reads a page, sends what can be sent and marks what was stored. */
  async #sendPage(held: OutboxHeld | null): Promise<OutboxPage> {
    const { outbox, database } = this.#context;
    const page = await outbox.pending(this.#queue, this.#isRefused ? 1 : batchEvents, held);
    database.answered();
    const { ready, sealed } = await this.#encode(page.entries);
    let failure: unknown = null;
    try {
      await this.#send(ready);
    } catch (error) {
      failure = error;
    }
    for (const user of sealed) this.#heldUsers.add(user);
    await this.#mark(page.entries);
    if (failure !== null) throw failure;
    return page;
  }

  /**
   * The events to send, encoded. One that no message fits is parked. One that cannot be opened waits, and the user's later ones behind
   * it: a replica with the key that sealed it can send it.
   * @returns `sealed`: users who have one of those
   */
  async #encode(entries: OutboxPage["entries"]): Promise<{ ready: OutboundEvent[]; sealed: Set<string> }> {
    const ready: OutboundEvent[] = [];
    const sealed = new Set<string>();
    for (const { eventId, userId, event } of entries) {
      if (this.#unmarked.has(eventId)) continue;
      if (event instanceof Error) {
        this.#context.sealed.cannotOpen(eventId, event);
        sealed.add(userId);
      }
      if (event instanceof Error || sealed.has(userId)) continue;
      try {
        ready.push(encodeEvent(event, this.#context.issuer));
      } catch (error) {
        await this.#park(eventId, `cannot be encoded: ${messageOf(error)}`);
      }
    }
    return { ready, sealed };
  }

  /** Marks what was sent of these. @throws LaneLost */
  async #mark(entries: OutboxPage["entries"]): Promise<void> {
    const { outbox, clock, metrics } = this.#context;
    const sent = entries.map(({ eventId }) => eventId).filter((id) => this.#unmarked.has(id));
    if (sent.length === 0) return;
    if (!(await outbox.markSent(this.#lane.lease, sent, clock.now()))) throw new LaneLost();
    for (const id of sent) this.#unmarked.delete(id);
    metrics.sent(sent.length);
  }

  async #send(events: readonly OutboundEvent[]): Promise<void> {
    for (const chunk of chunksOf(events)) {
      if (this.#lane.stopped.aborted) return;
      const sendable = chunk.filter(({ key }) => !this.#heldUsers.has(key));
      if (sendable.length > 0) await this.#sendChunk(sendable);
    }
  }

  /** Sends a batch, and its events one by one when the broker refuses the batch: only what is refused is held back. */
  async #sendChunk(chunk: readonly OutboundEvent[]): Promise<void> {
    if (chunk.length > 1) {
      try {
        return await this.#publish(chunk);
      } catch (error) {
        if (!(error instanceof PublishError) || error.failure === "away") {
          await this.#countFailure(chunk);
          throw error;
        }
        const fields = { err: error, ...this.#queue, events: chunk.length };
        this.#context.log.debug(fields, "a batch was refused; its events are sent one by one");
      }
    }
    for (const event of chunk) {
      if (this.#lane.stopped.aborted) return;
      // held back by one before it
      if (!this.#heldUsers.has(event.key)) await this.#sendOne(event);
    }
  }

  async #sendOne(event: OutboundEvent): Promise<void> {
    const { broker } = this.#context;
    try {
      await this.#publish([event]);
    } catch (error) {
      if (!(error instanceof PublishError)) throw error;
      await this.#countFailure([event]);
      if (error.failure === "undeliverable") return await this.#park(event.event.eventId, error.message);
      if (error.failure === "refused") {
        this.#isRefused = true;
        broker.refused(event.topic, this.#queue.lane, error);
      }
      throw error;
    }
  }

  /** @throws LaneLost, PublishError; another error when the lease would run out during the send */
  async #publish(batch: readonly OutboundEvent[]): Promise<void> {
    const { broker, send } = this.#context;
    const held = await send(batch, this.#lane);
    const stored = batch.filter(({ event }) => !held.has(event.eventId));
    for (const { event } of stored) this.#unmarked.add(event.eventId);
    if (stored[0] !== undefined) {
      this.#isRefused = false;
      broker.accepted(stored[0].topic);
    }
    if (held.size === 0) return;
    const waiting = batch.filter(({ event }) => held.has(event.eventId));
    for (const { key } of waiting) this.#heldUsers.add(key);
    await this.#countFailure(waiting.filter(({ event }) => !(held.get(event.eventId) instanceof NotAsked)));
  }

  /** Sets an event aside that no attempt can deliver. @throws LaneLost */
  async #park(eventId: string, reason: string): Promise<void> {
    const { outbox, metrics, log } = this.#context;
    if (!(await outbox.park(this.#lane.lease, eventId, reason.slice(0, 500)))) throw new LaneLost();
    metrics.parked(1);
    log.error({ eventId, ...this.#queue, reason }, "an event cannot be delivered and was parked");
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
