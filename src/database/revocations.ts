import type { Revocation, RevocationKind, RevocationStore, StoredRevocation } from "../store/revocations.ts";
import { type Database, placeholders, type Scalar, type TransactionSql } from "./transaction.ts";

/** For replicas whose tail lags, and clocks that differ. */
const MARGIN_MS = 10 * 60_000;
const BATCH = 200;

interface RevocationRow {
  id: number;
  kind: RevocationKind;
  value: string;
  revoked_at: number;
  expires_at: number;
}

/**
 * The feed that every replica tails. A row is written in the transaction of what it tells of, and stays until the last access token
 * it concerns has expired everywhere.
 */
export class RevocationFeed implements RevocationStore {
  readonly #database: Database;
  readonly #longestTokenMs: number;
  readonly #listeners = new Set<(revocations: readonly Revocation[]) => void>();

  /** @param longestTokenMs the longest that an access token lives */
  constructor(database: Database, longestTokenMs: number) {
    this.#database = database;
    this.#longestTokenMs = longestTokenMs;
  }

  async after(id: number, limit: number, now: number): Promise<StoredRevocation[]> {
    const rows = await this.#database.rows<RevocationRow>(
      "SELECT id, kind, value, revoked_at, expires_at FROM revocation WHERE id > ? AND expires_at > ? ORDER BY id LIMIT ?",
      [id, now, limit],
    );
    return rows.map(({ id, kind, value, revoked_at, expires_at }) => {
      return { id, kind, value, revokedAt: revoked_at, expiresAt: expires_at };
    });
  }

  onAppend(listener: (revocations: readonly Revocation[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @param expiresAt of the last token concerned, where that is known */
  async append(
    sql: TransactionSql,
    kind: RevocationKind,
    values: readonly string[],
    reason: string,
    now: number,
    expiresAt: number = now + this.#longestTokenMs,
  ): Promise<void> {
    for (let i = 0; i < values.length; i += BATCH) {
      const batch = values.slice(i, i + BATCH);
      const tuples = batch.map(() => placeholders(5)).join(", ");
      await sql.change(
        `INSERT INTO revocation (kind, value, reason, revoked_at, expires_at) VALUES ${tuples}`,
        batch.flatMap((value): Scalar[] => [kind, value, reason, now, expiresAt + MARGIN_MS]),
      );
    }
    if (values.length === 0) return;
    const revocations = values.map((value) => ({ kind, value, revokedAt: now, expiresAt: expiresAt + MARGIN_MS }));
    sql.afterCommit(() => {
      for (const listener of this.#listeners) listener(revocations);
    });
  }

  /** Revokes what is live of these authorizations. @returns how many that were */
  async revokeAuthorizations(
    sql: TransactionSql,
    ids: readonly string[],
    reason: string,
    now: number,
  ): Promise<number> {
    const revoked: string[] = [];
    // one statement for each: which ones it was that changed is what the feed must tell
    for (const id of [...ids].sort()) {
      const changed = await sql.change(
        "UPDATE oauth2_authorization SET revoked_at = ?, revoked_reason = ? WHERE id = ? AND revoked_at IS NULL",
        [now, reason, id],
      );
      if (changed === 1) revoked.push(id);
    }
    await this.append(sql, "authorization", revoked, reason, now);
    return revoked.length;
  }
}
