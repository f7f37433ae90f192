import { hash } from "node:crypto";
import type { Sealer } from "../crypto/sealing.ts";
import { type AuthEvent, EVENT_TYPES } from "../events.ts";
import type { Lease } from "../store/leases.ts";
import {
  OUTBOX_LANES,
  type OutboxEntry,
  type OutboxHeld,
  type OutboxPage,
  type OutboxQueue,
  type OutboxStatus,
  type OutboxStore,
  type ResealedPage,
} from "../store/outbox.ts";
import { HOLDS_LEASE, holdsLease, leaseValues } from "./leases.ts";
import type { MailQueue } from "./mail.ts";
import { resealPage } from "./reseal.ts";
import { type Database, placeholders, type Scalar, type TransactionSql } from "./transaction.ts";

interface OutboxRow {
  event_id: string;
  event_type: AuthEvent["eventType"];
  user_id: string;
  seq: number;
  lane: number;
  status: StoredStatus;
  attempts: number;
  payload: string;
  reason: string | null;
  created_at: number;
  sent_at: number | null;
}

/**
 * `waiting` is `pending` of a type that the previous release does not know: its relay reads what is `pending`, and sets aside what it
 * cannot encode.
 */
type StoredStatus = OutboxStatus | "waiting";
const unknownToPrevious: readonly AuthEvent["eventType"][] = [
  "USER_EMAIL_VERIFICATION",
  "USER_PASSWORD_CHANGED",
  "USER_DELETED",
  "USER_SECURITY",
];
const unsentStatusOf = (eventType: AuthEvent["eventType"]) =>
  unknownToPrevious.includes(eventType) ? "waiting" : "pending";
const isUnsent = "status IN ('pending', 'waiting')";

/** Of events that one statement is about. */
const batchSize = 500;

const entryColumns = "event_id, event_type, user_id, seq, lane, status, attempts, reason, created_at, sent_at";

const allQueues: readonly OutboxQueue[] = Array.from({ length: OUTBOX_LANES }, (_, lane) =>
  EVENT_TYPES.map((eventType) => ({ lane, eventType })),
).flat();

/** One look into the index for each queue: grouping would read every pending event. */
const oldestOfEachQueue = `SELECT ${allQueues
  .map(
    ({ eventType }, index) =>
      `(SELECT MIN(created_at) FROM outbox WHERE status = '${unsentStatusOf(eventType)}' AND lane = ? AND event_type = ?) AS q${index}`,
  )
  .join(", ")}`;

function entryOf(row: Omit<OutboxRow, "payload">): OutboxEntry {
  return {
    eventId: row.event_id,
    eventType: row.event_type,
    userId: row.user_id,
    seq: row.seq,
    lane: row.lane,
    status: row.status === "waiting" ? "pending" : row.status,
    attempts: row.attempts,
    createdAt: row.created_at,
    sentAt: row.sent_at,
    reason: row.reason,
  };
}

/** The same for a user for ever: another lane would let events overtake each other. */
export function laneOf(userId: string): number {
  return hash("sha256", userId, "buffer").readUInt16BE(0) % OUTBOX_LANES;
}

export class Outbox implements OutboxStore {
  readonly #database: Database;
  readonly #sealer: Sealer;
  readonly #mail: MailQueue;
  readonly #listeners = new Set<Parameters<OutboxStore["onAppend"]>[0]>();

  constructor(database: Database, sealer: Sealer, mail: MailQueue) {
    this.#database = database;
    this.#sealer = sealer;
    this.#mail = mail;
  }

  /** Writes an event in the transaction that took `seq` from the user's row. Its commit wakes the relay of the user's lane. */
  async append(sql: TransactionSql, userId: string, seq: number, event: AuthEvent): Promise<void> {
    const lane = laneOf(userId);
    await sql.change(`INSERT INTO outbox (${entryColumns}, payload) VALUES (?, ?, ?, ?, ?, ?, 0, NULL, ?, NULL, ?)`, [
      event.eventId,
      event.eventType,
      userId,
      seq,
      lane,
      unsentStatusOf(event.eventType),
      event.timestamp,
      this.#sealer.seal(JSON.stringify(event), event.eventId),
    ]);
    await this.#mail.append(sql, userId, event);
    sql.afterCommit(() => this.#wake(lane, event.eventType));
  }

  #wake(lane: number, eventType: AuthEvent["eventType"]): void {
    for (const listener of this.#listeners) listener(lane, eventType);
  }

  onAppend(listener: Parameters<OutboxStore["onAppend"]>[0]): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async queues(): Promise<(OutboxQueue & { readonly oldestAt: number })[]> {
    const [oldest = {}] = await this.#database.rows<Record<string, number | null>>(
      oldestOfEachQueue,
      allQueues.flatMap(({ lane, eventType }) => [lane, eventType]),
    );
    return allQueues.flatMap((queue, index) => {
      const oldestAt = oldest[`q${index}`] ?? null;
      return oldestAt === null ? [] : [{ ...queue, oldestAt }];
    });
  }

  async pending(queue: OutboxQueue, limit: number, held: OutboxHeld | null): Promise<OutboxPage> {
    // Creation times may be out of order within a user, so they only choose the users; `seq` orders their events.
    const oldest = await this.#oldest(queue, limit, held?.end ?? null);
    const newest = oldest.at(-1);
    const isLast = oldest.length < limit;
    if (newest === undefined) return { entries: [], end: held?.end ?? null, isLast };
    const end = { createdAt: newest.created_at, eventId: newest.event_id };
    const users = new Map<string, { events: number; lastSeq: number }>();
    for (const { user_id, seq } of oldest) {
      if (held?.users.has(user_id) === true) continue;
      const { events, lastSeq } = users.get(user_id) ?? { events: 0, lastSeq: 0 };
      users.set(user_id, { events: events + 1, lastSeq: Math.max(seq, lastSeq) });
    }
    if (users.size === 0) return { entries: [], end, isLast };
    const eachUser = Array.from(
      users,
      () => `(user_id = ? AND event_type = ? AND status = '${unsentStatusOf(queue.eventType)}' AND seq <= ?)`,
    ).join(" OR ");
    const rows = await this.#database.rows<OutboxRow>(
      `SELECT ${entryColumns}, payload FROM outbox${this.#by("ix_outbox_user_type")} WHERE ${eachUser}`,
      [...users].flatMap(([user, { lastSeq }]) => [user, queue.eventType, lastSeq]),
    );
    // The user who waits longest comes first. Each user gets as many events as were counted above: one user's do not displace another's.
    const byUser = Map.groupBy(rows, ({ user_id }) => user_id);
    const chosen = [...users].flatMap(([user, { events }]) =>
      (byUser.get(user) ?? []).sort((a, b) => a.seq - b.seq).slice(0, events),
    );
    const entries = chosen.map((row) => ({ ...entryOf(row), event: this.#open(row) }));
    return { entries, end, isLast };
  }

  #oldest({ lane, eventType }: OutboxQueue, limit: number, after: OutboxHeld["end"] | null) {
    const behind = after === null ? "" : " AND created_at >= ? AND (created_at > ? OR event_id > ?)";
    return this.#database.rows<Pick<OutboxRow, "user_id" | "seq" | "created_at" | "event_id">>(
      `SELECT user_id, seq, created_at, event_id FROM outbox${this.#by("ix_outbox_queue")}
       WHERE status = '${unsentStatusOf(eventType)}' AND lane = ? AND event_type = ?${behind} ORDER BY created_at, event_id LIMIT ?`,
      [lane, eventType, ...(after === null ? [] : [after.createdAt, after.createdAt, after.eventId]), limit],
    );
  }

  /** Names the index: statistics that are out of date may prefer one that reads every pending event. */
  #by(index: string): string {
    return this.#database.dialect === "mysql" ? ` FORCE INDEX (${index})` : "";
  }

  #open(row: OutboxRow): AuthEvent | Error {
    try {
      return JSON.parse(this.#sealer.open(row.payload, row.event_id).toString("utf8")) as AuthEvent;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  reseal(after: string | null, limit: number): Promise<ResealedPage> {
    return resealPage(this.#database, this.#sealer, { table: "outbox", after, limit });
  }

  markSent(lease: Lease, eventIds: readonly string[], now: number): Promise<boolean> {
    const which = `event_id IN ${placeholders(eventIds.length)}`;
    return this.#settle(lease, which, eventIds, { status: "sent", sent_at: now, payload: "" });
  }

  async countAttempt(eventIds: readonly string[]): Promise<void> {
    if (eventIds.length === 0) return;
    await this.#database.change(
      `UPDATE outbox SET attempts = attempts + 1 WHERE ${isUnsent} AND event_id IN ${placeholders(eventIds.length)}`,
      eventIds,
    );
  }

  park(lease: Lease, eventId: string, reason: string): Promise<boolean> {
    return this.#settle(lease, "event_id = ?", [eventId], { status: "parked", reason: reason.slice(0, 2000) });
  }

  /**
   * One statement, without a lock on the lease. What it writes is true even if another replica holds the lane by now, and the result tells this one.
   * @returns false: the lease is lost
   */
  async #settle(
    lease: Lease,
    which: string,
    eventIds: readonly string[],
    to: Readonly<Record<string, Scalar>>,
  ): Promise<boolean> {
    const changed = await this.#database.change(
      `UPDATE outbox SET ${Object.keys(to)
        .map((column) => `${column} = ?`)
        .join(", ")}
       WHERE ${isUnsent} AND ${which} AND ${HOLDS_LEASE}`,
      [...Object.values(to), ...eventIds, ...leaseValues(lease)],
    );
    return changed > 0 || holdsLease(this.#database, lease);
  }

  async list(status: OutboxStatus | null, limit: number): Promise<OutboxEntry[]> {
    const statuses = (status === null ? (["pending", "parked", "sent"] as const) : [status]).flatMap(
      (each): StoredStatus[] => (each === "pending" ? [each, "waiting"] : [each]),
    );
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
    const unsent = `CASE WHEN event_type IN ${placeholders(unknownToPrevious.length)} THEN 'waiting' ELSE 'pending' END`;
    const changed = await this.#changeParked(eventIds, (which, ids) =>
      this.#database.change(`UPDATE outbox SET status = ${unsent}, reason = NULL, attempts = 0 WHERE ${which}`, [
        ...unknownToPrevious,
        ...ids,
      ]),
    );
    if (changed > 0) for (const { lane, eventType } of await this.queues()) this.#wake(lane, eventType);
    return changed;
  }

  async discard(eventIds: readonly string[] | null): Promise<number> {
    return this.#changeParked(eventIds, (which, ids) =>
      this.#database.change(`DELETE FROM outbox WHERE ${which}`, ids),
    );
  }

  /** Hundreds of thousands may be parked: no one statement is about all of them. @param eventIds null: all that are parked by now */
  async #changeParked(
    eventIds: readonly string[] | null,
    change: (which: string, eventIds: readonly string[]) => Promise<number>,
  ): Promise<number> {
    let changed = 0;
    for await (const ids of eventIds === null ? this.#parked() : inBatches(eventIds)) {
      changed += await change(`status = 'parked' AND event_id IN ${placeholders(ids.length)}`, ids);
    }
    return changed;
  }

  /** The ids of parked events, the oldest first; one that is parked again meanwhile does not come again. */
  async *#parked(): AsyncGenerator<readonly string[]> {
    let last = { created_at: 0, event_id: "" };
    for (;;) {
      const rows = await this.#database.rows<typeof last>(
        `SELECT created_at, event_id FROM outbox WHERE status = 'parked' AND created_at >= ? AND (created_at > ? OR event_id > ?)
         ORDER BY created_at, event_id LIMIT ?`,
        [last.created_at, last.created_at, last.event_id, batchSize],
      );
      if (rows.length > 0) yield rows.map(({ event_id }) => event_id);
      const end = rows.at(-1);
      if (end === undefined || rows.length < batchSize) return;
      last = end;
    }
  }

  async stats(): Promise<{ pending: number; parked: number; oldestPendingAt: number | null }> {
    const rows = await this.#database.rows<{ status: StoredStatus; amount: number; oldest: number }>(
      "SELECT status, COUNT(*) AS amount, MIN(created_at) AS oldest FROM outbox WHERE status IN ('pending', 'waiting', 'parked') GROUP BY status",
    );
    const of = (status: StoredStatus) => rows.filter((row) => row.status === status);
    const unsent = [...of("pending"), ...of("waiting")];
    return {
      pending: unsent.reduce((sum, { amount }) => sum + Number(amount), 0),
      parked: Number(of("parked")[0]?.amount ?? 0),
      oldestPendingAt: unsent.length === 0 ? null : Math.min(...unsent.map(({ oldest }) => oldest)),
    };
  }
}

function* inBatches(eventIds: readonly string[]): Generator<readonly string[]> {
  for (let from = 0; from < eventIds.length; from += batchSize) yield eventIds.slice(from, from + batchSize);
}
