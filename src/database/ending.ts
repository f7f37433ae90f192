import type { RevocationFeed } from "./revocations.ts";
import type { Sql, TransactionSql } from "./transaction.ts";

/**
 * Ends everything a user has going. The caller holds the user's row, which redemption and sign-in take too; from there the order is
 * that of every transaction here: users, browser_session, codes, authorizations, outbox.
 */
export async function endEverythingOf(
  sql: TransactionSql,
  feed: RevocationFeed,
  userId: string,
  reason: string,
  now: number,
): Promise<void> {
  await sql.change("DELETE FROM password_reset_token WHERE user_id = ?", [userId]);
  const sessions = await sql.rows<{ id_hash: string }>("SELECT id_hash FROM browser_session WHERE user_id = ?", [
    userId,
  ]);
  for (const { id_hash } of sessions) await deleteSession(sql, id_hash);
  await sql.change(
    "UPDATE oauth2_authorization_code SET revoked_at = ? WHERE user_id = ? AND redeemed_at IS NULL AND revoked_at IS NULL",
    [now, userId],
  );
  const authorizations = await sql.rows<{ id: string }>(
    "SELECT id FROM oauth2_authorization WHERE subject = ? AND revoked_at IS NULL",
    [userId],
  );
  await feed.revokeAuthorizations(
    sql,
    authorizations.map(({ id }) => id),
    reason,
    now,
  );
}

export async function endSession(
  sql: TransactionSql,
  feed: RevocationFeed,
  idHash: string,
  now: number,
): Promise<void> {
  await deleteSession(sql, idHash);
  await sql.change(
    "UPDATE oauth2_authorization_code SET revoked_at = ? WHERE session_hash = ? AND redeemed_at IS NULL AND revoked_at IS NULL",
    [now, idHash],
  );
  const authorizations = await sql.rows<{ id: string }>(
    "SELECT id FROM oauth2_authorization WHERE session_hash = ? AND revoked_at IS NULL",
    [idHash],
  );
  await feed.revokeAuthorizations(
    sql,
    authorizations.map(({ id }) => id),
    "logout",
    now,
  );
}

export async function deleteSession(sql: Sql, idHash: string): Promise<void> {
  await sql.change("DELETE FROM browser_session WHERE id_hash = ?", [idHash]);
  await sql.change("DELETE FROM oauth2_authorization_request WHERE session_hash = ?", [idHash]);
}
