import { placeholders, type Scalar, type Sql } from "./transaction.ts";

/**
 * The feed that every replica tails. A row is written in the transaction of what it tells of, and stays until the last access token
 * it concerns has expired everywhere.
 */
export type RevocationKind = "token" | "authorization" | "subject" | "client" | "key";

/** For replicas whose tail lags, and clocks that differ. */
const MARGIN_MS = 10 * 60_000;
const BATCH = 200;

export class RevocationFeed {
  readonly #longestTokenMs: number;

  /** @param longestTokenMs the longest that an access token lives */
  constructor(longestTokenMs: number) {
    this.#longestTokenMs = longestTokenMs;
  }

  /** @param expiresAt of the last token concerned, where that is known */
  async append(
    sql: Sql,
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
  }

  /** Revokes what is live of these authorizations. @returns how many that were */
  async revokeAuthorizations(sql: Sql, ids: readonly string[], reason: string, now: number): Promise<number> {
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
