import { type AuthEvent, EVENT_TYPES } from "../events.ts";
import type { Lease } from "../store/leases.ts";
import type { Holding, RelayContext } from "./relay-context.ts";
import { TopicQueue } from "./topic-queue.ts";

/** One lane of the outbox while this relay holds its lease: a queue for each topic. It ends when it is stopped or finds its lease lost. */
export class Lane implements Holding {
  readonly number: number;
  readonly lease: Lease;
  /** Resolves when the queues have ended: the lane does nothing more under its lease. */
  readonly ended: Promise<unknown>;
  readonly #queues: ReadonlyMap<AuthEvent["eventType"], TopicQueue>;
  readonly #stop = new AbortController();
  #validUntil: number;
  #isLost = false;

  /**
   * Starts the queues.
   * @param held.validUntil until when the lease is certainly held, by `performance.now()`
   * @param unmarked gives the ids of a queue's events that an earlier holding of this lane sent and did not mark; the queue updates it
   */
  constructor(
    context: RelayContext,
    held: { number: number; lease: Lease; validUntil: number },
    unmarked: (eventType: AuthEvent["eventType"]) => Set<string>,
  ) {
    this.number = held.number;
    this.lease = held.lease;
    this.#validUntil = held.validUntil;
    this.#queues = new Map(
      EVENT_TYPES.map((eventType) => [
        eventType,
        new TopicQueue(context, { lane: held.number, eventType }, this, unmarked(eventType)),
      ]),
    );
    this.ended = Promise.all([...this.#queues.values()].map(({ ended }) => ended));
  }

  get validUntil(): number {
    return this.#validUntil;
  }

  /** The lease was renewed. */
  extend(validUntil: number): void {
    this.#validUntil = validUntil;
  }

  /** Each queue has something to do already. */
  get isDue(): boolean {
    return [...this.#queues.values()].every((queue) => queue.isDue);
  }

  /** Something was committed to a queue, perhaps. */
  wake(eventType: AuthEvent["eventType"]): void {
    this.#queues.get(eventType)?.wake();
  }

  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  /** Ends the queues after the sends under way. The lease is still held and to be released. */
  stop(): void {
    this.#stop.abort();
  }

  lose(): void {
    this.#isLost = true;
    this.#stop.abort();
  }

  get isLost(): boolean {
    return this.#isLost;
  }
}
