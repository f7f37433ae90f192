import type { Sealer } from "../crypto/sealing.ts";
import type { AuthEvent } from "../events.ts";
import { latestEnd } from "../store/limits.ts";
import { LONGEST_MAIL_PAUSE_MS, MAILED, type MailStore, type QueuedMail } from "../store/mail.ts";
import type { ResealedPage } from "../store/outbox.ts";
import { insert } from "./authorization-records.ts";
import { resealPage } from "./reseal.ts";
import { type Database, deleteSome, type TransactionSql } from "./transaction.ts";

interface MailRow {
  event_id: string;
  attempts: number;
  payload: string;
  created_at: number;
  next_attempt_at: number;
}

/** Of mails that one statement is about. */
const batchSize = 500;

export class MailQueue implements MailStore {
  readonly #database: Database;
  readonly #sealer: Sealer;
  readonly #isOn: boolean;
  readonly #listeners = new Set<() => void>();

  /** @param isOn false: the service sends no mail, and none is written */
  constructor(database: Database, sealer: Sealer, isOn: boolean) {
    this.#database = database;
    this.#sealer = sealer;
    this.#isOn = isOn;
  }

  /** In the transaction of the event. */
  async append(sql: TransactionSql, userId: string, event: AuthEvent): Promise<void> {
    if (!this.#isOn || !MAILED.has(event.eventType)) return;
    await insert(sql, "mail", {
      event_id: event.eventId,
      user_id: userId,
      status: "pending",
      attempts: 0,
      payload: this.#sealer.seal(JSON.stringify(event), event.eventId),
      created_at: event.timestamp,
      // at once, whatever the clock says by then
      next_attempt_at: 0,
    });
    sql.afterCommit(() => {
      for (const listener of this.#listeners) listener();
    });
  }

  onAppend(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async claim(now: number, until: number, limit: number): Promise<QueuedMail[]> {
    const due = await this.#database.rows<MailRow>(
      `SELECT event_id, attempts, payload, created_at, next_attempt_at FROM mail
       WHERE status = 'pending' AND (next_attempt_at <= ? OR next_attempt_at > ?) ORDER BY next_attempt_at LIMIT ?`,
      [now, latestEnd(now, LONGEST_MAIL_PAUSE_MS), limit],
    );
    const claimed: QueuedMail[] = [];
    for (const row of due) {
      // one of several replicas gets it
      const changed = await this.#database.change(
        `UPDATE mail SET next_attempt_at = ?, attempts = attempts + 1
         WHERE event_id = ? AND status = 'pending' AND next_attempt_at = ? AND attempts = ?`,
        [until, row.event_id, row.next_attempt_at, row.attempts],
      );
      if (changed === 1) {
        const { event_id: eventId, attempts, created_at: createdAt } = row;
        claimed.push({ eventId, attempts, createdAt, event: this.#open(row) });
      }
    }
    return claimed;
  }

  #open({ event_id, payload }: Pick<MailRow, "event_id" | "payload">): AuthEvent | Error {
    try {
      return JSON.parse(this.#sealer.open(payload, event_id).toString("utf8")) as AuthEvent;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  async sent(eventId: string, now: number): Promise<void> {
    await this.#database.change(
      "UPDATE mail SET status = 'sent', sent_at = ?, payload = '', reason = NULL WHERE event_id = ?",
      [now, eventId],
    );
  }

  /** One that is set aside has `sent_at` too: the clean-up finds it by that, a week after it was written. */
  async failed(eventId: string, reason: string, nextAttemptAt: number | null): Promise<void> {
    const to =
      nextAttemptAt === null
        ? "status = 'parked', next_attempt_at = 0, sent_at = created_at"
        : "status = 'pending', next_attempt_at = ?";
    await this.#database.change(`UPDATE mail SET ${to}, reason = ? WHERE event_id = ? AND status = 'pending'`, [
      ...(nextAttemptAt === null ? [] : [nextAttemptAt]),
      reason.slice(0, 500),
      eventId,
    ]);
  }

  async leave(before: number): Promise<number> {
    const which = "WHERE status = 'pending' AND created_at < ? LIMIT ?";
    const sql = deleteSome(this.#database, "mail", "event_id", which);
    while ((await this.#database.change(sql, [before, batchSize])) === batchSize);
    const [row] = await this.#database.rows<{ amount: number }>(
      "SELECT COUNT(*) AS amount FROM mail WHERE status = 'pending'",
    );
    return Number(row?.amount ?? 0);
  }

  async stats(): Promise<{ pending: number; parked: number }> {
    if (!this.#isOn) return { pending: 0, parked: 0 };
    const rows = await this.#database.rows<{ status: string; amount: number }>(
      "SELECT status, COUNT(*) AS amount FROM mail WHERE status IN ('pending', 'parked') GROUP BY status",
    );
    const of = (status: string) => Number(rows.find((row) => row.status === status)?.amount ?? 0);
    return { pending: of("pending"), parked: of("parked") };
  }

  reseal(after: string | null, limit: number): Promise<ResealedPage> {
    return resealPage(this.#database, this.#sealer, { table: "mail", after, limit });
  }
}
