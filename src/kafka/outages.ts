import type { Logger, PublishError } from "./event-publisher.ts";
import { backoff } from "./timing.ts";

/**
 * What all lanes of a relay know about the broker. While it is away every lane waits for the same `retryAt`. The log gets one line when an
 * outage begins and one when it ends, not one for each lane.
 */
export class BrokerOutage {
  readonly #log: Logger;
  readonly #maxBackoff: number;
  readonly #cutOff: AbortSignal;
  #failures = 0;
  #retryAt = 0;
  /** Topics whose refusal was logged. */
  readonly #refusing = new Set<string>();

  /** @param cutOff once aborted, failures say nothing about the broker: the relay itself gave the sends up */
  constructor({ log, maxBackoff, cutOff }: { log: Logger; maxBackoff: number; cutOff: AbortSignal }) {
    this.#log = log;
    this.#maxBackoff = maxBackoff;
    this.#cutOff = cutOff;
  }

  /** Milliseconds until the next send may be tried; 0 or less: now. */
  get wait(): number {
    return this.#retryAt - performance.now();
  }

  /** The last send or connection failed. */
  get isAway(): boolean {
    return this.#failures > 0;
  }

  /** A send failed because the broker is away. Failures of sends that were already under way do not lengthen the wait. */
  failed(error: PublishError): void {
    if (this.#cutOff.aborted || this.wait > 0) return;
    this.#failures += 1;
    this.#retryAt = performance.now() + backoff(this.#failures, this.#maxBackoff);
    if (this.#failures === 2) this.#log.warn({ err: error }, "events cannot be delivered and wait in the outbox");
  }

  /** The broker answered a send, even if only to refuse it. */
  answered(): void {
    if (this.#failures >= 2) this.#log.info({ failures: this.#failures }, "events are delivered again");
    this.#failures = 0;
    this.#retryAt = 0;
  }

  /** The broker refused an event of this topic. */
  refused(topic: string, lane: number, error: PublishError): void {
    if (this.#refusing.has(topic)) return;
    this.#refusing.add(topic);
    this.#log.warn({ err: error, topic, lane }, "events are refused and wait");
  }

  /** The broker stored an event of this topic. */
  accepted(topic: string): void {
    this.#refusing.delete(topic);
  }
}

/** Events that this replica cannot open: they were sealed under another KEY_ENCRYPTION_KEY. The log gets one line for each. */
export class SealedEvents {
  readonly #log: Logger;
  readonly #said = new Set<string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  cannotOpen(eventId: string, error: Error): void {
    if (this.#said.has(eventId) || this.#said.size >= 1_000) return;
    this.#said.add(eventId);
    const what = "an event was sealed under another KEY_ENCRYPTION_KEY and waits for a replica that has it";
    this.#log.error({ err: error, eventId }, what);
  }
}

/** What the relay knows about the database. The log gets one line when an outage begins and one when it ends. */
export class DatabaseOutage {
  readonly #log: Logger;
  readonly #closing: AbortSignal;
  #failures = 0;

  /** @param closing once aborted, failures are no longer logged */
  constructor({ log, closing }: { log: Logger; closing: AbortSignal }) {
    this.#log = log;
    this.#closing = closing;
  }

  failed(error: unknown): void {
    if (this.#closing.aborted) return;
    this.#failures += 1;
    if (this.#failures === 1) {
      this.#log.warn({ err: error }, "the event relay cannot reach its outbox and keeps trying");
    }
  }

  answered(): void {
    if (this.#failures > 0) this.#log.info({ failures: this.#failures }, "the event relay reaches its outbox again");
    this.#failures = 0;
  }
}
