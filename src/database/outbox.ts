import { createHash } from "node:crypto";
import type { Sealer } from "../crypto/sealing.ts";
import type { AuthEvent } from "../events.ts";
import type { Lease } from "../store/leases.ts";
import { OUTBOX_LANES, type OutboxEntry, type OutboxStatus, type OutboxStore } from "../store/outbox.ts";
import { holdsLease } from "./leases.ts";
import { type Database, placeholders, rollback, type TransactionSql } from "./transaction.ts";

interface OutboxRow {
  event_id: string;
  event_type: AuthEvent["eventType"];
  user_id: string;
  seq: number;
  lane: number;
  status: OutboxStatus;
  attempts: number;
  payload: string;
  reason: string | null;
  created_at: number;
  sent_at: number | null;
}

const entryColumns = "event_id, event_type, user_id, seq, lane, status, attempts, reason, created_at, sent_at";

function entryOf(row: Omit<OutboxRow, "payload">): OutboxEntry {
  return {
    eventId: row.event_id,
    eventType: row.event_type,
    userId: row.user_id,
    seq: row.seq,
    lane: row.lane,
    status: row.status,
    attempts: row.attempts,
    createdAt: row.created_at,
    sentAt: row.sent_at,
    reason: row.reason,
  };
}

/** The same for a user for ever: another lane would let events overtake each other. */
export function laneOf(userId: string): number {
  return createHash("sha256").update(userId).digest().readUInt16BE(0) % OUTBOX_LANES;
}

export class Outbox implements OutboxStore {
  readonly #database: Database;
  readonly #sealer: Sealer;
  readonly #listeners = new Set<(lane: number) => void>();

  constructor(database: Database, sealer: Sealer) {
    this.#database = database;
    this.#sealer = sealer;
  }

  /** Writes an event in the transaction that took `seq` from the user's row. Its commit wakes the relay of the user's lane. */
  async append(sql: TransactionSql, userId: string, seq: number, event: AuthEvent): Promise<void> {
    const lane = laneOf(userId);
    await sql.change(
      `INSERT INTO outbox (${entryColumns}, payload) VALUES (?, ?, ?, ?, ?, 'pending', 0, NULL, ?, NULL, ?)`,
      [
        event.eventId,
        event.eventType,
        userId,
        seq,
        lane,
        event.timestamp,
        this.#sealer.seal(JSON.stringify(event), event.eventId),
      ],
    );
    sql.afterCommit(() => this.#wake(lane));
  }

  #wake(lane: number): void {
    for (const listener of this.#listeners) listener(lane);
  }

  onAppend(listener: (lane: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async pending(lane: number, limit: number): Promise<(OutboxEntry & { readonly event: AuthEvent | Error })[]> {
    // Creation times may be out of order within a user, so they only choose the users; `seq` orders their events.
    const oldest = await this.#database.rows<{ user_id: string; seq: number }>(
      "SELECT user_id, seq FROM outbox WHERE lane = ? AND status = 'pending' ORDER BY created_at, event_id LIMIT ?",
      [lane, limit],
    );
    if (oldest.length === 0) return [];
    const last = new Map<string, number>();
    for (const { user_id, seq } of oldest) last.set(user_id, Math.max(seq, last.get(user_id) ?? 0));
    // statistics that are out of date may prefer the index on the status, which reads every pending event
    const byUser = this.#database.dialect === "mysql" ? " FORCE INDEX (ix_outbox_user)" : "";
    const eachUser = Array.from(last, () => "(user_id = ? AND status = 'pending' AND seq <= ?)").join(" OR ");
    const rows = await this.#database.rows<OutboxRow>(
      `SELECT ${entryColumns}, payload FROM outbox${byUser} WHERE ${eachUser}`,
      [...last].flat(),
    );
    // The user who waits longest comes first. The limit may cut off the last user's later events, but skips none between two events.
    const rank = new Map([...last.keys()].map((user, index) => [user, index]));
    rows.sort((a, b) => (rank.get(a.user_id) ?? 0) - (rank.get(b.user_id) ?? 0) || a.seq - b.seq);
    return rows.slice(0, limit).map((row) => ({ ...entryOf(row), event: this.#open(row) }));
  }

  #open(row: OutboxRow): AuthEvent | Error {
    try {
      return JSON.parse(this.#sealer.open(row.payload, row.event_id).toString("utf8")) as AuthEvent;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  async markSent(lease: Lease, eventIds: readonly string[], now: number): Promise<boolean> {
    return this.#database.transaction(
      async (sql) => {
        if (!(await holdsLease(sql, lease))) rollback(false);
        if (eventIds.length > 0) {
          await sql.change(
            `UPDATE outbox SET status = 'sent', sent_at = ?, payload = '' WHERE status = 'pending' AND event_id IN ${placeholders(eventIds.length)}`,
            [now, ...eventIds],
          );
        }
        return true;
      },
      { repeatable: true },
    );
  }

  async countAttempt(eventIds: readonly string[]): Promise<void> {
    if (eventIds.length === 0) return;
    await this.#database.change(
      `UPDATE outbox SET attempts = attempts + 1 WHERE status = 'pending' AND event_id IN ${placeholders(eventIds.length)}`,
      eventIds,
    );
  }

  async park(lease: Lease, eventId: string, reason: string): Promise<boolean> {
    return this.#database.transaction(
      async (sql) => {
        if (!(await holdsLease(sql, lease))) rollback(false);
        await sql.change("UPDATE outbox SET status = 'parked', reason = ? WHERE event_id = ? AND status = 'pending'", [
          reason.slice(0, 2000),
          eventId,
        ]);
        return true;
      },
      { repeatable: true },
    );
  }

  async list(status: OutboxStatus | null, limit: number): Promise<OutboxEntry[]> {
    const statuses = status === null ? ["pending", "parked", "sent"] : [status];
    const found: OutboxEntry[] = [];
    for (const each of statuses) {
      if (found.length >= limit) break;
      const rows = await this.#database.rows<OutboxRow>(
        `SELECT ${entryColumns} FROM outbox WHERE status = ? ORDER BY created_at LIMIT ?`,
        [each, limit - found.length],
      );
      found.push(...rows.map(entryOf));
    }
    return found;
  }

  async retry(eventIds: readonly string[] | null): Promise<number> {
    if (eventIds?.length === 0) return 0;
    const which = eventIds === null ? "" : ` AND event_id IN ${placeholders(eventIds.length)}`;
    const changed = await this.#database.change(
      `UPDATE outbox SET status = 'pending', reason = NULL, attempts = 0 WHERE status = 'parked'${which}`,
      eventIds ?? [],
    );
    if (changed > 0) for (let lane = 0; lane < OUTBOX_LANES; lane++) this.#wake(lane);
    return changed;
  }

  async stats(): Promise<{ pending: number; parked: number; oldestPendingAt: number | null }> {
    const rows = await this.#database.rows<{ status: OutboxStatus; amount: number; oldest: number }>(
      "SELECT status, COUNT(*) AS amount, MIN(created_at) AS oldest FROM outbox WHERE status IN ('pending', 'parked') GROUP BY status",
    );
    const of = (status: OutboxStatus) => rows.find((row) => row.status === status);
    return {
      pending: Number(of("pending")?.amount ?? 0),
      parked: Number(of("parked")?.amount ?? 0),
      oldestPendingAt: of("pending")?.oldest ?? null,
    };
  }
}
