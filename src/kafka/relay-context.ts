import type { Clock } from "../clock.ts";
import { withDeadline } from "../deadline.ts";
import type { Lease } from "../store/leases.ts";
import type { OutboxStore } from "../store/outbox.ts";
import type { OutboundEvent } from "./encode.ts";
import type { EventPublisher, Held, Logger } from "./event-publisher.ts";
import { PublishError } from "./event-publisher.ts";
import type { BrokerOutage, DatabaseOutage, SealedEvents } from "./outages.ts";
import type { RelayTiming } from "./timing.ts";

export interface RelayMetrics {
  sent(count: number): void;
  /** Events of failed sends, counted once for each attempt; 1 for a connection that failed. */
  failed(count: number): void;
  parked(count: number): void;
}

/** What all queues of one relay share. */
export interface RelayContext {
  readonly outbox: OutboxStore;
  readonly clock: Pick<Clock, "now">;
  readonly log: Logger;
  readonly metrics: RelayMetrics;
  /** `ce_source` of every event. */
  readonly issuer: string;
  readonly timing: RelayTiming;
  readonly broker: BrokerOutage;
  readonly database: DatabaseOutage;
  readonly sealed: SealedEvents;
  /**
   * Publishes under a lane's lease.
   * @returns what is held back
   * @throws LaneLost, PublishError; another error when the lease would run out during the send
   */
  send(batch: readonly OutboundEvent[], lane: Holding): Promise<Held>;
  /** Whether a send is worth a try. While the broker is away it is asked to connect, once for all queues. */
  isReached(): Promise<boolean>;
}

/** Another relay holds the lease now. */
export class LaneLost extends Error {}

/** The lease of a lane, as its queues use it. */
export interface Holding {
  readonly lease: Lease;
  /** Until when the lease is certainly held, by `performance.now()`. */
  readonly validUntil: number;
  /** The lane is ending or has ended. */
  readonly stopped: AbortSignal;
  readonly isLost: boolean;
  /** Ends the lane because the lease is gone: it must not be released. */
  lose(): void;
}

interface Sending {
  readonly broker: BrokerOutage;
  readonly timing: RelayTiming;
  /** Gives up every send under way: the relay closes and has waited long enough. */
  readonly cutOff: AbortSignal;
}

/**
 * While the broker is away no queue reads the outbox before it is there again: what waits may be much, and reading it over and over
 * would slow the service down.
 */
export function connectOnce(
  publisher: EventPublisher,
  { broker, timing, cutOff, metrics }: Sending & { readonly metrics: RelayMetrics },
): RelayContext["isReached"] {
  let asking: Promise<boolean> | null = null;
  const ask = async () => {
    try {
      await withDeadline(timing.send, [cutOff], async (signal) => publisher.connect?.(signal));
      return true;
    } catch (error) {
      // or the counter would stand still while nothing can be sent
      metrics.failed(1);
      broker.failed(awayOf(error));
      return false;
    }
  };
  return async () => {
    if (!broker.isAway) return true;
    asking ??= ask().finally(() => {
      asking = null;
    });
    return await asking;
  };
}

function awayOf(error: unknown): PublishError {
  return error instanceof PublishError ? error : new PublishError("away", String(error), { cause: error });
}

export function sendUnderLease(publisher: EventPublisher, { broker, timing, cutOff }: Sending): RelayContext["send"] {
  return async (batch, lane) => {
    const left = lane.validUntil - performance.now() - timing.leaseTtl / 10;
    if (lane.isLost || left <= 0) throw new LaneLost();
    if (left < timing.send) throw new Error("the lease is about to run out");
    try {
      const held = await withDeadline(timing.send, [cutOff], (signal) => publisher.publish(batch, signal));
      broker.answered();
      return held;
    } catch (error) {
      const failure = awayOf(error);
      if (failure.failure === "away") broker.failed(failure);
      else broker.answered();
      throw failure;
    }
  };
}
