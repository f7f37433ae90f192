import type { Revocation, RevocationKind, RevocationStore, StoredRevocation } from "../store/revocations.ts";
import { insertIfAbsent, revokedValues, SET_REVOKED } from "./authorization-records.ts";
import { type Database, forUpdate, placeholders, type Scalar, type Sql, type TransactionSql } from "./transaction.ts";

/** For replicas whose tail lags, and clocks that differ. */
const marginMs = 10 * 60_000;
const batchSize = 200;

/** No access token lives longer (milliseconds): what holds while no process has declared a lifetime. */
const longestLifetimeMs = 86_400_000;
/** How long a declared lifetime counts after it was declared last (milliseconds), in addition to the lifetime. */
const declaredMs = 2 * 86_400_000;

interface RevocationRow {
  id: number;
  kind: RevocationKind;
  value: string;
  epoch: number | null;
  revoked_at: number;
  expires_at: number;
}

/**
 * Revocations of kind `user` are stored as of kind `authorization`, with an epoch: the previous release stops at a kind that it does
 * not know, and no authorization has a user's UUID.
 */
const storedKind = (kind: RevocationKind): RevocationKind => (kind === "user" ? "authorization" : kind);

/**
 * The feed that every replica tails. A row is written in the transaction of what it tells of, and stays until the last access token
 * it concerns has expired everywhere.
 */
export class RevocationFeed implements RevocationStore {
  readonly #database: Database;
  readonly #reader: Database;
  readonly #listeners = new Set<(revocations: readonly Revocation[]) => void>();

  /** @param reader connections that no other work waits for: the feed is read however busy the others are */
  constructor(database: Database, reader: Database) {
    this.#database = database;
    this.#reader = reader;
  }

  async after(id: number, limit: number, now: number): Promise<StoredRevocation[]> {
    const rows = await this.#reader.rows<RevocationRow>(
      "SELECT id, kind, value, epoch, revoked_at, expires_at FROM revocation WHERE id > ? AND expires_at > ? ORDER BY id LIMIT ?",
      [id, now, limit],
    );
    return rows.map(({ id, kind, value, epoch, revoked_at, expires_at }) => {
      const isOfUser = kind === "authorization" && epoch !== null;
      return { id, kind: isOfUser ? "user" : kind, value, epoch, revokedAt: revoked_at, expiresAt: expires_at };
    });
  }

  onAppend(listener: (revocations: readonly Revocation[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async declareLifetime(lifetime: number, now: number): Promise<void> {
    const [declared] = await this.#database.rows("SELECT 1 AS one FROM access_token_lifetime LIMIT 1");
    // a release that declares nothing may have been running, and may still be
    if (declared === undefined) await this.#declare(longestLifetimeMs, now + declaredMs);
    await this.#declare(lifetime, now + declaredMs + lifetime);
  }

  async #declare(lifetime: number, until: number): Promise<void> {
    const update = () =>
      this.#database.change("UPDATE access_token_lifetime SET used_until = ? WHERE lifetime_ms = ?", [until, lifetime]);
    if ((await update()) > 0) return;
    const row = { lifetime_ms: lifetime, used_until: until };
    if (!(await insertIfAbsent(this.#database, "access_token_lifetime", row))) await update();
  }

  /** How long the access tokens live that may have been issued by now (milliseconds). */
  async #longestLifetime(sql: Sql, now: number): Promise<number> {
    const [row] = await sql.rows<{ longest: number | null }>(
      "SELECT MAX(lifetime_ms) AS longest FROM access_token_lifetime WHERE used_until > ?",
      [now],
    );
    return Number(row?.longest ?? longestLifetimeMs);
  }

  /** @param expiresAt of the last token concerned, where that is known */
  async append(
    sql: TransactionSql,
    kind: RevocationKind,
    values: readonly string[],
    reason: string,
    now: number,
    { expiresAt, epoch = null }: { expiresAt?: number; epoch?: number | null } = {},
  ): Promise<void> {
    if (values.length === 0) return;
    const keptUntil = (expiresAt ?? now + (await this.#longestLifetime(sql, now))) + marginMs;
    for (let i = 0; i < values.length; i += batchSize) {
      const batch = values.slice(i, i + batchSize);
      const tuples = batch.map(() => placeholders(6)).join(", ");
      await sql.change(
        `INSERT INTO revocation (kind, value, reason, revoked_at, expires_at, epoch) VALUES ${tuples}`,
        batch.flatMap((value): Scalar[] => [storedKind(kind), value, reason, now, keptUntil, epoch]),
      );
    }
    const revocations = values.map((value) => ({ kind, value, epoch, revokedAt: now, expiresAt: keptUntil }));
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
    const sorted = [...ids].sort();
    for (let i = 0; i < sorted.length; i += batchSize) {
      const batch = sorted.slice(i, i + batchSize);
      const live = await sql.rows<{ id: string }>(
        `SELECT id FROM oauth2_authorization WHERE id IN ${placeholders(batch.length)} AND revoked_at IS NULL${forUpdate(sql)}`,
        batch,
      );
      if (live.length === 0) continue;
      const found = live.map(({ id }) => id);
      await sql.change(`UPDATE oauth2_authorization SET ${SET_REVOKED} WHERE id IN ${placeholders(found.length)}`, [
        ...revokedValues(reason, now),
        ...found,
      ]);
      revoked.push(...found);
    }
    await this.append(sql, "authorization", revoked, reason, now);
    return revoked.length;
  }
}
