import type { EndedAuthorization, LogoutNotices } from "./logout-notices.ts";
import type { RevocationFeed } from "./revocations.ts";
import type { Sql, TransactionSql } from "./transaction.ts";

/** Who has to hear of what ends: the replicas, and clients that asked for it. */
export interface Tellers {
  readonly feed: RevocationFeed;
  readonly notices: LogoutNotices;
}

/**
 * Ends everything a user has going. The caller holds the user's row, which redemption and sign-in take too; from there the order is
 * that of every transaction here: users, browser_session, codes, authorizations, outbox.
 */
export async function endEverythingOf(
  sql: TransactionSql,
  { feed, notices }: Tellers,
  userId: string,
  reason: string,
  now: number,
): Promise<void> {
  await sql.change("DELETE FROM password_reset_token WHERE user_id = ?", [userId]);
  const sessions = await sql.rows<{ id_hash: string }>("SELECT id_hash FROM browser_session WHERE user_id = ?", [
    userId,
  ]);
  for (const { id_hash } of sessions) await deleteSession(sql, id_hash);
  await revokeCodes(sql, "user_id = ?", [userId], now);
  const authorizations = await sql.rows<EndedAuthorization>(
    "SELECT id, client_id, subject FROM oauth2_authorization WHERE subject = ? AND revoked_at IS NULL",
    [userId],
  );
  await feed.revokeAuthorizations(
    sql,
    authorizations.map(({ id }) => id),
    reason,
    now,
  );
  await notices.append(sql, authorizations, now);
}

export async function endSession(
  sql: TransactionSql,
  { feed, notices }: Tellers,
  idHash: string,
  now: number,
): Promise<void> {
  await deleteSession(sql, idHash);
  await revokeCodes(sql, "session_hash = ?", [idHash], now);
  const authorizations = await sql.rows<EndedAuthorization>(
    "SELECT id, client_id, subject FROM oauth2_authorization WHERE session_hash = ? AND revoked_at IS NULL",
    [idHash],
  );
  await feed.revokeAuthorizations(
    sql,
    authorizations.map(({ id }) => id),
    "logout",
    now,
  );
  await notices.append(sql, authorizations, now);
}

/** Revokes pending codes: of authorization requests, and of devices whose code was typed in. @returns how many */
export async function revokeCodes(
  sql: Sql,
  condition: string,
  parameters: readonly string[],
  now: number,
): Promise<number> {
  let revoked = 0;
  for (const table of ["oauth2_authorization_code", "oauth2_device_code"]) {
    revoked += await sql.change(
      `UPDATE ${table} SET revoked_at = ? WHERE ${condition} AND redeemed_at IS NULL AND revoked_at IS NULL`,
      [now, ...parameters],
    );
  }
  return revoked;
}

export async function deleteSession(sql: Sql, idHash: string): Promise<void> {
  await sql.change("DELETE FROM browser_session WHERE id_hash = ?", [idHash]);
  await sql.change("DELETE FROM oauth2_authorization_request WHERE session_hash = ?", [idHash]);
}
