import type { Clock } from "../clock.ts";
import type { Lease } from "../store/leases.ts";
import { OUTBOX_LANES } from "../store/outbox.ts";
import type { Store } from "../store/store.ts";
import { pause, withDeadline } from "./deadline.ts";
import type { OutboundEvent } from "./encode.ts";
import { encodeEvent } from "./encode.ts";
import type { EventPublisher, Logger } from "./publisher.ts";
import { PublishError } from "./publisher.ts";

export interface RelayMetrics {
  sent(count: number): void;
  /** Tries that delivered nothing, counted by event. */
  failed(count: number): void;
  parked(count: number): void;
}

export interface RelayOptions {
  readonly store: Pick<Store, "outbox" | "leases">;
  readonly publisher: EventPublisher;
  readonly clock: Pick<Clock, "now">;
  readonly log: Logger;
  readonly metrics: RelayMetrics;
  /** Names this process among the relays: unique to its run. */
  readonly owner: string;
  /** `ce_source` of every event. */
  readonly issuer: string;
  readonly timing?: Partial<RelayTiming> | undefined;
}

/** Milliseconds. */
export interface RelayTiming {
  readonly leaseTtl: number;
  /** How often leases are renewed and lanes shared out. */
  readonly renew: number;
  /** How often events of other replicas are looked for. */
  readonly poll: number;
  /** Deadline of one send, well under `leaseTtl`. */
  readonly send: number;
  readonly maxBackoff: number;
}

export interface Relay {
  close(): Promise<void>;
}

const TIMING: RelayTiming = { leaseTtl: 10_000, renew: 3_000, poll: 1_000, send: 5_000, maxBackoff: 3_000 };
const BATCH_EVENTS = 200;
/** Brokers take 1 MiB a batch unless told otherwise. */
const BATCH_BYTES = 512 * 1024;
/** An in-flight batch may finish for so long when the relay closes. */
const CLOSE_GRACE_MS = 1_500;
const CLOSE_RELEASE_MS = 700;

const LANE_PREFIX = "outbox-lane-";
const RELAY_PREFIX = "relay-";

interface Lane {
  readonly number: number;
  readonly lease: Lease;
  /** Until when the lease is ours for sure, on this process's monotonic clock. */
  validUntil: number;
  /** There may be something to send. */
  isDue: boolean;
  wake: () => void;
  readonly stop: AbortController;
  /** Stopped because the lease is gone: nothing to give back. */
  isLost: boolean;
}

/** The lease went to somebody else. */
class LaneLost extends Error {}

/**
 * Moves committed events from the outbox to the publisher: each lane by one relay at a time, each user's events in order,
 * one batch in flight a lane. An event may be sent again (after a kill, a lost lease, a send that timed out), never be skipped.
 */
export function startRelay(options: RelayOptions): Relay {
  const { store, publisher, clock, log, metrics, owner, issuer } = options;
  const { outbox, leases } = store;
  const timing = { ...TIMING, ...options.timing };
  const closing = new AbortController();
  const cutOff = new AbortController();
  const lanes = new Map<number, Lane>();
  const loops = new Set<Promise<void>>();
  /** Sent, not yet marked, by lane. Outlives a lease, so that a database that was away costs no repeats. */
  const unmarked = Array.from({ length: OUTBOX_LANES }, () => new Set<string>());
  const broker = { failures: 0, retryAt: 0 };
  /** Topics that the log was told refuse. */
  const refusing = new Set<string>();
  let announcement: Lease | null = null;
  /** Fewer lanes than fair are held: look again soon. */
  let isShort = true;
  let sharedOutAt = Number.NEGATIVE_INFINITY;
  let databaseFailures = 0;

  const backoff = (failures: number) =>
    Math.min(timing.maxBackoff, 100 * 2 ** Math.min(failures - 1, 10)) * (0.75 + Math.random() / 4);

  // Lanes

  function hold(number: number, lease: Lease, askedAt: number): void {
    const lane: Lane = {
      number,
      lease,
      validUntil: askedAt + timing.leaseTtl,
      isDue: true,
      wake: () => {},
      stop: new AbortController(),
      isLost: false,
    };
    lanes.set(number, lane);
    const loop = runLane(lane).finally(() => {
      lanes.delete(number);
      loops.delete(loop);
    });
    loops.add(loop);
  }

  function drop(lane: Lane, isLost: boolean): void {
    lane.isLost ||= isLost;
    lane.stop.abort();
  }

  function wake(lane: Lane): void {
    lane.isDue = true;
    lane.wake();
  }

  async function runLane(lane: Lane): Promise<void> {
    const state: LaneState = { suspects: new Set(), heldBack: 0 };
    let failures = 0;
    while (!lane.stop.signal.aborted) {
      if (!lane.isDue) {
        await woken(lane);
        continue;
      }
      const wait = broker.retryAt - performance.now();
      if (wait > 0) {
        await pause(wait, lane.stop.signal);
        continue;
      }
      lane.isDue = false;
      try {
        const isStuck = await relayOnce(lane, state);
        failures = isStuck ? failures + 1 : 0;
      } catch (error) {
        if (error instanceof LaneLost) {
          drop(lane, true);
          break;
        }
        lane.isDue = true;
        if (error instanceof PublishError) continue;
        failures += 1;
        noteDatabaseFailure(error);
      }
      if (failures > 0) {
        lane.isDue = true;
        await pause(backoff(failures), lane.stop.signal);
      }
    }
    if (!lane.isLost) await leases.release(lane.lease).catch(() => {});
  }

  function woken(lane: Lane): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        lane.wake = () => {};
        lane.stop.signal.removeEventListener("abort", done);
        resolve();
      };
      lane.wake = done;
      lane.stop.signal.addEventListener("abort", done, { once: true });
      if (lane.stop.signal.aborted) done();
    });
  }

  /** Sends what is pending of a lane. True: some of it is refused for now. */
  async function relayOnce(lane: Lane, state: LaneState): Promise<boolean> {
    const limit = BATCH_EVENTS + Math.min(state.heldBack, 10 * BATCH_EVENTS);
    const entries = await outbox.pending(lane.number, limit);
    noteDatabaseWorks();
    const sent = unmarked[lane.number] ?? new Set();
    if (entries.length === 0) {
      sent.clear();
      return false;
    }

    const ready: OutboundEvent[] = [];
    for (const { eventId, event } of entries) {
      if (sent.has(eventId)) continue;
      if (event instanceof Error) {
        await park(lane, eventId, `payload cannot be opened: ${event.message}`);
        continue;
      }
      try {
        ready.push(encodeEvent(event, issuer));
      } catch (error) {
        await park(lane, eventId, `cannot be encoded: ${messageOf(error)}`);
      }
    }

    state.heldBack = 0;
    let failure: unknown = null;
    try {
      const { suspects = [], others = [] } = Object.groupBy(ready, ({ topic }) =>
        state.suspects.has(topic) ? "suspects" : "others",
      );
      await sendSuspects(lane, state, suspects, sent);
      for (const chunk of chunksOf(others)) {
        if (lane.stop.signal.aborted) break;
        await sendChunk(lane, state, chunk, sent);
      }
    } catch (error) {
      failure = error;
    }

    const done = entries.map(({ eventId }) => eventId).filter((id) => sent.has(id));
    if (done.length > 0) {
      if (!(await outbox.markSent(lane.lease, done, clock.now()))) throw new LaneLost();
      for (const id of done) sent.delete(id);
      metrics.sent(done.length);
    }
    if (failure !== null) throw failure;
    if (state.heldBack === 0 ? entries.length >= limit : done.length > 0) lane.isDue = true;
    return state.heldBack > 0 && done.length === 0;
  }

  /** A topic that refused is asked with one event before it gets the rest. */
  async function sendSuspects(lane: Lane, state: LaneState, events: OutboundEvent[], sent: Set<string>): Promise<void> {
    for (const [first, ...rest] of Map.groupBy(events, ({ topic }) => topic).values()) {
      if (first === undefined || lane.stop.signal.aborted) continue;
      await sendOne(lane, state, first, sent);
      state.heldBack += rest.length;
    }
  }

  async function sendChunk(lane: Lane, state: LaneState, chunk: OutboundEvent[], sent: Set<string>): Promise<void> {
    if (chunk.length > 1) {
      try {
        await send(lane, chunk);
        for (const { event } of chunk) sent.add(event.eventId);
        return;
      } catch (error) {
        if (!(error instanceof PublishError) || error.failure === "away") {
          await countFailure(chunk);
          throw error;
        }
        log.debug({ err: error, lane: lane.number, events: chunk.length }, "a batch was refused, its events go singly");
      }
    }
    for (const event of chunk) {
      if (lane.stop.signal.aborted) return;
      if (state.suspects.has(event.topic)) state.heldBack += 1;
      else await sendOne(lane, state, event, sent);
    }
  }

  async function sendOne(lane: Lane, state: LaneState, event: OutboundEvent, sent: Set<string>): Promise<void> {
    try {
      await send(lane, [event]);
      sent.add(event.event.eventId);
      state.suspects.delete(event.topic);
      refusing.delete(event.topic);
    } catch (error) {
      if (!(error instanceof PublishError)) throw error;
      await countFailure([event]);
      if (error.failure === "away") throw error;
      if (error.failure === "undeliverable") return await park(lane, event.event.eventId, error.message);
      state.suspects.add(event.topic);
      if (!refusing.has(event.topic)) {
        refusing.add(event.topic);
        log.warn({ err: error, topic: event.topic, lane: lane.number }, "events are refused and wait");
      }
      state.heldBack += 1;
    }
  }

  async function send(lane: Lane, batch: readonly OutboundEvent[]): Promise<void> {
    const left = lane.validUntil - performance.now() - timing.leaseTtl / 10;
    if (lane.isLost || left <= 0) throw new LaneLost();
    if (left < timing.send) throw new Error("the lease is about to run out");
    try {
      await withDeadline(timing.send, [cutOff.signal], (signal) => publisher.publish(batch, signal));
    } catch (error) {
      const failure =
        error instanceof PublishError ? error : new PublishError("away", messageOf(error), { cause: error });
      if (failure.failure === "away") noteBrokerAway(failure);
      else noteBrokerAnswers();
      throw failure;
    }
    noteBrokerAnswers();
  }

  async function park(lane: Lane, eventId: string, reason: string): Promise<void> {
    if (!(await outbox.park(lane.lease, eventId, reason.slice(0, 500)))) throw new LaneLost();
    metrics.parked(1);
    log.error({ eventId, lane: lane.number, reason }, "an event cannot be delivered and was parked");
  }

  async function countFailure(events: readonly OutboundEvent[]): Promise<void> {
    metrics.failed(events.length);
    await outbox.countAttempt(events.map(({ event }) => event.eventId)).catch(() => {});
  }

  // One view of the broker for all lanes: while it is away, one send at a time finds out whether it still is

  function noteBrokerAway(error: PublishError): void {
    if (cutOff.signal.aborted || performance.now() < broker.retryAt) return;
    broker.failures += 1;
    broker.retryAt = performance.now() + backoff(broker.failures);
    if (broker.failures === 2) log.warn({ err: error }, "events cannot be delivered and wait in the outbox");
  }

  function noteBrokerAnswers(): void {
    if (broker.failures >= 2) log.info({ failures: broker.failures }, "events are delivered again");
    broker.failures = 0;
    broker.retryAt = 0;
  }

  function noteDatabaseFailure(error: unknown): void {
    if (closing.signal.aborted) return;
    databaseFailures += 1;
    if (databaseFailures === 1) log.warn({ err: error }, "the event relay cannot reach its outbox and keeps trying");
  }

  function noteDatabaseWorks(): void {
    if (databaseFailures > 0) log.info({ failures: databaseFailures }, "the event relay reaches its outbox again");
    databaseFailures = 0;
  }

  // Leases

  async function keepLeases(): Promise<void> {
    for (let failures = 0; !closing.signal.aborted; ) {
      try {
        const isComplete = await shareOut();
        failures = 0;
        await pause(isComplete ? timing.renew / 3 : timing.poll, closing.signal);
      } catch (error) {
        failures += 1;
        noteDatabaseFailure(error);
        await pause(backoff(failures), closing.signal);
      }
    }
  }

  /** Renews what is due and takes or gives back lanes. False: lanes are still to be had. */
  async function shareOut(): Promise<boolean> {
    const renewed = await Promise.allSettled([...lanes.values()].map(renewLane));
    for (const result of renewed) if (result.status === "rejected") throw result.reason;

    const startedAt = performance.now();
    if (startedAt - sharedOutAt < timing.renew && !isShort) return true;
    sharedOutAt = startedAt;

    if (announcement === null || !(await leases.renew(announcement, timing.leaseTtl))) {
      announcement = await leases.acquire(RELAY_PREFIX + owner, owner, timing.leaseTtl);
    }
    const relays = (await leases.holders(RELAY_PREFIX)).map(({ name }) => name).sort();
    const share = Math.ceil(OUTBOX_LANES / Math.max(1, relays.length));
    const kept = [...lanes.values()].filter(({ stop }) => !stop.signal.aborted);
    for (const surplus of kept.slice(share)) drop(surplus, false);

    let wanted = share - kept.length;
    if (wanted > 0) {
      const held = new Set((await leases.holders(LANE_PREFIX)).map(({ name }) => name));
      const first = Math.max(0, relays.indexOf(RELAY_PREFIX + owner)) * share;
      for (let i = 0; i < OUTBOX_LANES && wanted > 0 && !closing.signal.aborted; i += 1) {
        const number = (first + i) % OUTBOX_LANES;
        const name = `${LANE_PREFIX}${number}`;
        if (held.has(name) || lanes.has(number)) continue;
        const askedAt = performance.now();
        const lease = await leases.acquire(name, owner, timing.leaseTtl);
        if (lease === null) continue;
        hold(number, lease, askedAt);
        wanted -= 1;
      }
    }
    noteDatabaseWorks();
    isShort = share - wanted < Math.floor(OUTBOX_LANES / Math.max(1, relays.length));
    return !isShort;
  }

  async function renewLane(lane: Lane): Promise<void> {
    const now = performance.now();
    if (now >= lane.validUntil) return drop(lane, true);
    if (lane.validUntil - now > timing.leaseTtl - timing.renew) return;
    if (await leases.renew(lane.lease, timing.leaseTtl)) lane.validUntil = now + timing.leaseTtl;
    else drop(lane, true);
  }

  /** One query tells whether any lane needs a look: a commit of another replica wakes nobody here. */
  async function poll(): Promise<void> {
    for (let failures = 0; ; ) {
      await pause(failures === 0 ? timing.poll : Math.max(timing.poll, backoff(failures)), closing.signal);
      if (closing.signal.aborted) return;
      const idle = [...lanes.values()].filter(({ isDue }) => !isDue);
      if (idle.length === 0) continue;
      try {
        const { pending } = await outbox.stats();
        failures = 0;
        if (pending > 0) for (const lane of idle) wake(lane);
      } catch (error) {
        failures += 1;
        noteDatabaseFailure(error);
      }
    }
  }

  const stopListening = outbox.onAppend((number) => {
    const lane = lanes.get(number);
    if (lane !== undefined) wake(lane);
  });
  const background = Promise.all([keepLeases(), poll()]);

  async function close(): Promise<void> {
    stopListening();
    closing.abort();
    const grace = setTimeout(() => cutOff.abort(), CLOSE_GRACE_MS);
    for (const lane of lanes.values()) drop(lane, false);
    const released = async () => {
      await background;
      // A lane taken by the last round.
      for (const lane of lanes.values()) drop(lane, false);
      await Promise.all(loops);
      if (announcement !== null) await leases.release(announcement);
    };
    await withDeadline(CLOSE_GRACE_MS + CLOSE_RELEASE_MS, [], released).catch(() => {
      // The database is away: the leases run out by themselves.
    });
    clearTimeout(grace);
    cutOff.abort();
  }
  let closed: Promise<void> | null = null;

  return {
    close() {
      closed ??= close();
      return closed;
    },
  };
}

interface LaneState {
  /** Topics that refused their events the last time. */
  readonly suspects: Set<string>;
  /** Events that wait for such a topic; more of the lane is read then. */
  heldBack: number;
}

function chunksOf(events: readonly OutboundEvent[]): OutboundEvent[][] {
  const chunks: OutboundEvent[][] = [];
  let bytes = 0;
  for (const event of events) {
    const chunk = chunks.at(-1);
    if (chunk === undefined || chunk.length >= BATCH_EVENTS || bytes + event.value.length > BATCH_BYTES) {
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
