import type { EndedAuthorization, LogoutNotices } from "./logout-notices.ts";
import type { RevocationFeed } from "./revocations.ts";
import { placeholders, type Sql, type TransactionSql } from "./transaction.ts";

/** Who has to hear of what ends: the replicas, and clients that asked for it. */
export interface Tellers {
  readonly feed: RevocationFeed;
  readonly notices: LogoutNotices;
}

/** Authorizations that are also revoked one by one, for replicas and verifiers of the release before epochs. */
const oneByOne = 1_000;
/** In one statement. */
const sessionsAtOnce = 500;

/**
 * Ends everything a user has going, by raising the user's epoch: whatever they have, that is one row and one line of the feed.
 * Redemption and sign-in write the user's row too, so they come before this or find it done; from there the order is that of every
 * transaction here: users, browser_session, codes, authorizations, outbox.
 */
export async function endEverythingOf(
  sql: TransactionSql,
  { feed, notices }: Tellers,
  userId: string,
  reason: string,
  now: number,
): Promise<void> {
  const epoch = await raiseEpoch(sql, userId, now);
  if (epoch !== null) await feed.append(sql, "user", [userId], reason, now, { epoch });
  await sql.change("DELETE FROM password_reset_token WHERE user_id = ?", [userId]);
  await deleteRequests(sql, userId);
  await sql.change("DELETE FROM browser_session WHERE user_id = ?", [userId]);
  await revokeCodes(sql, "user_id = ?", [userId], now);
  const authorizations = await sql.rows<EndedAuthorization>(
    `SELECT id, client_id, subject FROM oauth2_authorization WHERE subject = ? AND revoked_at IS NULL
     ORDER BY created_at DESC, id DESC LIMIT ${oneByOne}`,
    [userId],
  );
  await feed.revokeAuthorizations(
    sql,
    authorizations.map(({ id }) => id),
    reason,
    now,
  );
  if (authorizations.length === oneByOne) {
    // rows of the release before epochs have none that could have passed
    await sql.change(
      `UPDATE oauth2_authorization SET revoked_at = ?, revoked_reason = ?
       WHERE subject = ? AND user_epoch IS NULL AND revoked_at IS NULL`,
      [now, reason, userId],
    );
  }
  await notices.append(sql, authorizations, now);
}

/** The sessions are read first: with a subquery MariaDB before 11.1 reads and locks every request of all users. */
async function deleteRequests(sql: TransactionSql, userId: string): Promise<void> {
  const sessions = await sql.rows<{ id_hash: string }>("SELECT id_hash FROM browser_session WHERE user_id = ?", [
    userId,
  ]);
  for (let at = 0; at < sessions.length; at += sessionsAtOnce) {
    const hashes = sessions.slice(at, at + sessionsAtOnce).map(({ id_hash }) => id_hash);
    await sql.change(
      `DELETE FROM oauth2_authorization_request WHERE session_hash IN ${placeholders(hashes.length)}`,
      hashes,
    );
  }
}

/** @returns the new epoch; null: the user is gone */
async function raiseEpoch(sql: TransactionSql, userId: string, now: number): Promise<number | null> {
  await sql.change("UPDATE users SET epoch = COALESCE(epoch, 0) + 1, updated_at = ? WHERE uuid = ?", [now, userId]);
  const [user] = await sql.rows<{ epoch: number }>("SELECT epoch FROM users WHERE uuid = ?", [userId]);
  return user === undefined ? null : Number(user.epoch);
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
