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

export interface OutboxStore {
  /** Called after every local commit that wrote an event. Returns the way to stop it. */
  onAppend(listener: (lane: number) => void): () => void;
  /** Oldest pending events of a lane, in `seq` order for each user with no gap. A payload that cannot be opened comes as the error. */
  pending(lane: number, limit: number): Promise<(OutboxEntry & { readonly event: AuthEvent | Error })[]>;
  /** Empties the payloads too. False: the lease is no longer ours and nothing was marked. */
  markSent(lease: Lease, eventIds: readonly string[], now: number): Promise<boolean>;
  /** Counts a failed attempt. */
  countAttempt(eventIds: readonly string[]): Promise<void>;
  /** Sets an event aside that no attempt will ever deliver. */
  park(lease: Lease, eventId: string, reason: string): Promise<boolean>;
  list(status: OutboxStatus | null, limit: number): Promise<OutboxEntry[]>;
  /** Puts parked events back; all of them without ids. Returns how many. */
  retry(eventIds: readonly string[] | null): Promise<number>;
  stats(): Promise<{ pending: number; parked: number; oldestPendingAt: number | null }>;
}
