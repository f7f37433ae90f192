import type { Clock } from "../clock.ts";
import { pause, withDeadline } from "../deadline.ts";
import type { Store } from "../store/store.ts";
import type { EventPublisher, Logger } from "./event-publisher.ts";
import { Lane } from "./lane.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { BrokerOutage, DatabaseOutage, SealedEvents } from "./outages.ts";
import { connectOnce, type RelayContext, type RelayMetrics, sendUnderLease } from "./relay-context.ts";
import type { RelayTiming } from "./timing.ts";
import { backoff, DEFAULT_TIMING } from "./timing.ts";

export interface RelayOptions {
  readonly store: Pick<Store, "outbox" | "leases">;
  readonly publisher: EventPublisher;
  readonly clock: Pick<Clock, "now">;
  readonly log: Logger;
  readonly metrics: RelayMetrics;
  /** Name of this process among the relays: unique to its run. */
  readonly owner: string;
  /** Where the publisher publishes: while a relay to Kafka runs, those to files of their machines leave it everything. */
  readonly sink: "kafka" | "file";
  /** Called with the name of every live relay, each time they were looked up. */
  readonly onRelays?: (names: readonly string[]) => void;
  /** `ce_source` of every event. */
  readonly issuer: string;
  readonly timing?: Partial<RelayTiming> | undefined;
}

export interface Relay {
  /** Lanes of the outbox that this relay works on. */
  readonly lanes: number;
  /**
   * Gives the sends under way 1.5 s to finish, then gives them up, and releases the leases, for 0.7 s more at most. Events that are
   * not marked sent stay in the outbox for another relay.
   */
  close(): Promise<void>;
}

/** A send under way may finish within this time when the relay closes (milliseconds). */
const closeGraceMs = 1_500;
const closeReleaseMs = 700;

/**
 * Moves committed events from the outbox to the publisher: one relay at a time works on a lane, each user's events of a topic go out in
 * order, and one batch of a lane and topic is in flight. An event may be sent again (after a kill, a lost lease, a send that timed out), never be skipped.
 */
export function startRelay(options: RelayOptions): Relay {
  const { store, publisher, clock, log, metrics, owner, issuer } = options;
  const { outbox, leases } = store;
  const timing = { ...DEFAULT_TIMING, ...options.timing };
  const closing = new AbortController();
  const cutOff = new AbortController();
  const broker = new BrokerOutage({ log, maxBackoff: timing.maxBackoff, cutOff: cutOff.signal });
  const database = new DatabaseOutage({ log, closing: closing.signal });
  const context: RelayContext = {
    ...{ outbox, clock, log, metrics, issuer, timing, broker, database },
    sealed: new SealedEvents(log),
    send: sendUnderLease(publisher, { broker, timing, cutOff: cutOff.signal }),
    isReached: connectOnce(publisher, { broker, timing, metrics, cutOff: cutOff.signal }),
  };
  const unmarked = new Map<string, Set<string>>();
  const unmarkedOf = (queue: string) => {
    const ids = unmarked.get(queue) ?? new Set<string>();
    unmarked.set(queue, ids);
    return ids;
  };
  const keeper = new LeaseKeeper({
    ...{ leases, owner, timing, database, log },
    sink: options.sink,
    onRelays: options.onRelays ?? (() => undefined),
    startLane: (number, lease, validUntil) =>
      new Lane(context, { number, lease, validUntil }, (eventType) => unmarkedOf(`${number} ${eventType}`)),
  });
  const stopListening = outbox.onAppend((number, eventType) => keeper.lane(number)?.wake(eventType));
  const polling = pollOutbox(context, keeper, closing.signal);

  async function close(): Promise<void> {
    stopListening();
    closing.abort();
    const grace = setTimeout(() => cutOff.abort(), closeGraceMs);
    const released = async () => {
      await Promise.all([keeper.close(), polling]);
    };
    await withDeadline(closeGraceMs + closeReleaseMs, [], released).catch(() => {
      // the database is away: the leases run out by themselves
    });
    clearTimeout(grace);
    cutOff.abort();
  }
  let closed: Promise<void> | null = null;

  return {
    get lanes() {
      return keeper.lanes.length;
    },
    close() {
      closed ??= close();
      return closed;
    },
  };
}

/** Polls follow quickly as long as an event was committed within this time (milliseconds). */
const busyMs = 3_000;

/** Wakes idle queues for what other replicas committed, which tells this process nothing. One query asks for all of them. */
async function pollOutbox(
  { outbox, timing, database, clock }: RelayContext,
  keeper: LeaseKeeper,
  closing: AbortSignal,
): Promise<void> {
  let busyUntil = 0;
  for (let failures = 0; ; ) {
    const usual = clock.now() < busyUntil ? timing.busyPoll : timing.poll;
    const wait = failures === 0 ? usual : Math.max(timing.poll, backoff(failures, timing.maxBackoff));
    await pause(wait, closing);
    if (closing.aborted) return;
    if (keeper.lanes.every((lane) => lane.isDue)) continue;
    try {
      const queues = await outbox.queues();
      failures = 0;
      for (const { lane, eventType, oldestAt } of queues) {
        keeper.lane(lane)?.wake(eventType);
        // not for events that wait for long: they are held back
        busyUntil = Math.max(busyUntil, oldestAt + busyMs);
      }
    } catch (error) {
      failures += 1;
      database.failed(error);
    }
  }
}
