import { randomUUID } from "node:crypto";
import type { ClientMetadata } from "../store/client-metadata.ts";
import { latestEnd } from "../store/limits.ts";
import { LONGEST_NOTICE_PAUSE_MS, type LogoutNotice, type LogoutNoticeStore } from "../store/logout-notices.ts";
import { type Database, placeholders, type TransactionSql } from "./transaction.ts";

/** A notice older than this is deleted, delivered or not. */
const keptMs = 7 * 86_400_000;
/** With now, and the latest time that a pause ends at. */
const IS_DUE = "(next_attempt_at <= ? OR next_attempt_at > ?)";
/** In one statement. */
const insertedAtOnce = 100;

interface NoticeRow {
  id: string;
  client_id: string;
  sid: string;
  sub: string;
  attempts: number;
  created_at: number;
}

/** An authorization that is being ended. */
export interface EndedAuthorization {
  readonly id: string;
  readonly client_id: string;
  readonly subject: string;
}

export class LogoutNotices implements LogoutNoticeStore {
  readonly #database: Database;
  readonly #listeners = new Set<() => void>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Inside the transaction that ends them: one notice for each whose client has a back-channel URI. */
  async append(sql: TransactionSql, ended: readonly EndedAuthorization[], now: number): Promise<void> {
    const clientIds = [...new Set(ended.map(({ client_id }) => client_id))];
    if (clientIds.length === 0) return;
    const clients = await sql.rows<{ client_id: string; metadata: string }>(
      `SELECT client_id, metadata FROM oauth2_registered_client WHERE disabled_at IS NULL AND client_id IN ${placeholders(clientIds.length)}`,
      clientIds,
    );
    const wanting = new Set(clients.filter(({ metadata }) => wantsNotice(metadata)).map(({ client_id }) => client_id));
    const notices = ended.filter(({ client_id }) => wanting.has(client_id));
    for (let at = 0; at < notices.length; at += insertedAtOnce) {
      const some = notices.slice(at, at + insertedAtOnce);
      await sql.change(
        `INSERT INTO logout_notice (id, client_id, sid, sub, status, attempts, created_at, next_attempt_at, expires_at)
         VALUES ${some.map(() => placeholders(9)).join(", ")}`,
        some.flatMap(({ id, client_id, subject }) => {
          // tried at once, whatever the clock says by then
          return [randomUUID(), client_id, id, subject, "pending", 0, now, 0, now + keptMs];
        }),
      );
    }
    if (notices.length > 0) {
      sql.afterCommit(() => {
        for (const listener of this.#listeners) listener();
      });
    }
  }

  onAppend(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async dueClients(now: number, after: string, limit: number): Promise<string[]> {
    const rows = await this.#database.rows<{ client_id: string }>(
      `SELECT DISTINCT client_id FROM logout_notice
       WHERE status = 'pending' AND client_id > ? AND ${IS_DUE} ORDER BY client_id LIMIT ?`,
      [after, now, latestEnd(now, LONGEST_NOTICE_PAUSE_MS), limit],
    );
    return rows.map(({ client_id }) => client_id);
  }

  async due(clientId: string, now: number, limit: number): Promise<LogoutNotice[]> {
    const rows = await this.#database.rows<NoticeRow>(
      `SELECT id, client_id, sid, sub, attempts, created_at FROM logout_notice
       WHERE status = 'pending' AND client_id = ? AND ${IS_DUE} ORDER BY next_attempt_at LIMIT ?`,
      [clientId, now, latestEnd(now, LONGEST_NOTICE_PAUSE_MS), limit],
    );
    return rows.map(({ id, client_id, sid, sub, attempts, created_at }) => {
      return { id, clientId: client_id, sid, sub, attempts, createdAt: created_at };
    });
  }

  async delivered(id: string): Promise<void> {
    await this.#database.change("DELETE FROM logout_notice WHERE id = ?", [id]);
  }

  async failed(id: string, reason: string, nextAttemptAt: number | null): Promise<void> {
    const status = nextAttemptAt === null ? "parked" : "pending";
    await this.#database.change(
      "UPDATE logout_notice SET attempts = attempts + 1, reason = ?, status = ?, next_attempt_at = ? WHERE id = ?",
      [reason.slice(0, 500), status, nextAttemptAt ?? 0, id],
    );
  }
}

function wantsNotice(metadata: string): boolean {
  return (JSON.parse(metadata) as Partial<ClientMetadata>).backchannel_logout_uri !== undefined;
}
