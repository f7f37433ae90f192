import type { AuthEvent } from "../events.ts";
import type { Lease } from "./leases.ts";

export type OutboxStatus = "pending" | "sent" | "parked";

export interface OutboxEntry {
  readonly eventId: string;
  readonly eventType: AuthEvent["eventType"];
  readonly userId: string;
  /** Number of the event among its user's. */
  readonly seq: number;
  readonly lane: number;
  readonly status: OutboxStatus;
  readonly attempts: number;
  readonly createdAt: number;
  readonly sentAt: number | null;
  /** Why it was parked. */
  readonly reason: string | null;
}

/** Number of lanes: events of one user are always in the same. */
export const OUTBOX_LANES = 16;

/** The pending events of one lane and type. */
export interface OutboxQueue {
  readonly lane: number;
  readonly eventType: AuthEvent["eventType"];
}

/** A place in a queue, from the oldest event to the newest. */
export interface OutboxPosition {
  readonly createdAt: number;
  readonly eventId: string;
}

/** What was read and is held back. */
export interface OutboxHeld {
  /** The end of the pages that were read. */
  readonly end: OutboxPosition;
  /** Users whose events there are held back: none of their later ones may overtake those. */
  readonly users: ReadonlySet<string>;
}

export interface OutboxPage {
  /** In `seq` order for each user with no gap. A payload that cannot be opened comes as the error. */
  readonly entries: readonly (OutboxEntry & { readonly event: AuthEvent | Error })[];
  /** Where the next page begins. */
  readonly end: OutboxPosition | null;
  readonly isLast: boolean;
}

/** Of what is sealed at rest, after it was looked at for older keys. */
export interface ResealedPage {
  /** Where to go on; null: this was the end. */
  readonly end: string | null;
  readonly resealed: number;
  /** What no key of this replica opens. */
  readonly unreadable: number;
}

export interface OutboxStore {
  /** Called after every local commit that wrote an event. Returns the way to stop it. */
  onAppend(listener: (lane: number, eventType: AuthEvent["eventType"]) => void): () => void;
  /** Queues in which events wait, with the time of the oldest. Reads a row for each, however many wait. */
  queues(): Promise<(OutboxQueue & { readonly oldestAt: number })[]>;
  /** The oldest pending events of a queue. @param held reads on behind these, and leaves out their users */
  pending(queue: OutboxQueue, limit: number, held: OutboxHeld | null): Promise<OutboxPage>;
  /** Empties the payloads too. False: the lease is no longer ours and nothing was marked. */
  markSent(lease: Lease, eventIds: readonly string[], now: number): Promise<boolean>;
  /** Counts a failed attempt. */
  countAttempt(eventIds: readonly string[]): Promise<void>;
  /** Sets an event aside that no attempt will ever deliver. */
  park(lease: Lease, eventId: string, reason: string): Promise<boolean>;
  list(status: OutboxStatus | null, limit: number): Promise<OutboxEntry[]>;
  /** Puts parked events back; all of them without ids. Returns how many. */
  retry(eventIds: readonly string[] | null): Promise<number>;
  /** Deletes parked events, which no consumer will get; all of them without ids. Returns how many. */
  discard(eventIds: readonly string[] | null): Promise<number>;
  /**
   * Seals the waiting and parked events behind `after` that are sealed under an older key, up to `limit` events, under the first one.
   */
  reseal(after: string | null, limit: number): Promise<ResealedPage>;
  stats(): Promise<{ pending: number; parked: number; oldestPendingAt: number | null }>;
}
