import { endsWithSession } from "../store/authorizations.ts";
import { revokedValues, SET_REVOKED } from "./authorization-records.ts";
import type { EndedAuthorization, LogoutNotices } from "./logout-notices.ts";
import type { RevocationFeed } from "./revocations.ts";
import { placeholders, type Sql, type TransactionSql } from "./transaction.ts";
import { endPendingAddress } from "./verification-links.ts";

/** Who has to hear of what ends: the replicas, and clients that asked for it. */
export interface Tellers {
  readonly feed: RevocationFeed;
  readonly notices: LogoutNotices;
}

/** Authorizations that are also revoked one by one, for replicas and verifiers of the release before epochs. */
const oneByOne = 1_000;
/** How many of the newest tell whether anything came since the last end. */
const askedOfNewest = 100;
/** In one statement. */
const sessionsAtOnce = 500;
/** Authorizations of one session at one application whose end it is told, the newest: a session may have thousands. */
const toldOfOne = 50;
/** Of all sessions that end together, those used last first. */
const toldAtOnce = 2_000;
const applicationsAtOnce = 10_000;

/**
 * Ends every session and token of a user, by raising the user's epoch: whatever they have, that is one row and one line of the feed.
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
  await endPendingAddress(sql, userId, now);
  const sessions = await sessionsOf(sql, userId);
  await deleteRequests(sql, sessions);
  const applications = await applicationsOf(sql, sessions);
  await sql.change("DELETE FROM browser_session WHERE user_id = ?", [userId]);
  await revokeCodes(sql, "user_id = ?", [userId], now);
  const authorizations = (await wasEndedBefore(sql, userId, epoch))
    ? []
    : await revokeNewest(sql, feed, { userId, epoch, reason, now });
  await notices.append(sql, eachOnce([...applications, ...authorizations]), now);
}

/**
 * Did the user get nothing since the last end? Whatever that one left unrevoked is dead by its epoch: a sign-out that is repeated need not
 * look at thousands of rows. The newest ones are asked and not only the last, as replicas' clocks differ.
 */
async function wasEndedBefore(sql: Sql, userId: string, epoch: number | null): Promise<boolean> {
  if (epoch === null) return false;
  const newest = await sql.rows<{ user_epoch: number | null }>(
    `SELECT user_epoch FROM oauth2_authorization WHERE subject = ? ORDER BY created_at DESC, id DESC LIMIT ${askedOfNewest}`,
    [userId],
  );
  return newest.every(({ user_epoch }) => user_epoch !== null && Number(user_epoch) < epoch - 1);
}

interface End {
  readonly userId: string;
  readonly epoch: number | null;
  readonly reason: string;
  readonly now: number;
}

/** @returns the newest authorizations that lived, which are revoked one by one; all others end by the epoch */
async function revokeNewest(
  sql: TransactionSql,
  feed: RevocationFeed,
  { userId, epoch, reason, now }: End,
): Promise<EndedAuthorization[]> {
  const [ofEpoch, before] = epoch === null ? ["", []] : [" AND (user_epoch IS NULL OR user_epoch = ?)", [epoch - 1]];
  const authorizations = await sql.rows<EndedAuthorization>(
    `SELECT id, client_id, subject FROM oauth2_authorization WHERE subject = ? AND revoked_at IS NULL${ofEpoch}
     ORDER BY created_at DESC, id DESC LIMIT ${oneByOne}`,
    [userId, ...before],
  );
  const ids = authorizations.map(({ id }) => id);
  await feed.revokeAuthorizations(sql, ids, reason, now);
  if (authorizations.length === oneByOne) await revokeWithoutEpoch(sql, userId, reason, now);
  return authorizations;
}

/**
 * Rows of the release before epochs have none that could have passed. Read first, without a lock: an UPDATE that finds nothing would lock
 * all rows it looks at, which may be those of all users where one of them has most.
 */
async function revokeWithoutEpoch(sql: Sql, userId: string, reason: string, now: number): Promise<void> {
  const [oldest] = await sql.rows(
    `SELECT id FROM oauth2_authorization WHERE subject = ? AND user_epoch IS NULL AND revoked_at IS NULL
     ORDER BY created_at, id LIMIT 1`,
    [userId],
  );
  if (oldest === undefined) return;
  await sql.change(
    `UPDATE oauth2_authorization SET ${SET_REVOKED} WHERE subject = ? AND user_epoch IS NULL AND revoked_at IS NULL`,
    [...revokedValues(reason, now), userId],
  );
}

/**
 * Those used last come first. Read before they end: with a subquery MariaDB before 11.1 reads and locks every request of all users.
 */
async function sessionsOf(sql: Sql, userId: string): Promise<string[]> {
  const sessions = await sql.rows<{ id_hash: string }>(
    "SELECT id_hash FROM browser_session WHERE user_id = ? ORDER BY last_seen_at DESC",
    [userId],
  );
  return sessions.map(({ id_hash }) => id_hash);
}

async function deleteRequests(sql: Sql, sessions: readonly string[]): Promise<void> {
  for (let at = 0; at < sessions.length; at += sessionsAtOnce) {
    const hashes = sessions.slice(at, at + sessionsAtOnce);
    await sql.change(
      `DELETE FROM oauth2_authorization_request WHERE session_hash IN ${placeholders(hashes.length)}`,
      hashes,
    );
  }
}

/** The applications that took part in sessions that end, whatever became of their authorizations; of very many sessions those used last. */
async function applicationsOf(sql: Sql, sessions: readonly string[]): Promise<EndedAuthorization[]> {
  const told: EndedAuthorization[] = [];
  for (let at = 0; at < sessions.length && told.length < toldAtOnce; at += sessionsAtOnce) {
    const hashes = sessions.slice(at, at + sessionsAtOnce);
    const all = await sql.rows<EndedAuthorization & { session_hash: string }>(
      `SELECT sid AS id, client_id, subject, session_hash FROM session_application
       WHERE session_hash IN ${placeholders(hashes.length)} ORDER BY created_at DESC LIMIT ${applicationsAtOnce}`,
      hashes,
    );
    const ofOne = Map.groupBy(all, ({ session_hash, client_id }) => `${session_hash} ${client_id}`);
    told.push(...[...ofOne.values()].flatMap((newestFirst) => newestFirst.slice(0, toldOfOne)));
  }
  return told.slice(0, toldAtOnce);
}

function eachOnce(ended: readonly EndedAuthorization[]): EndedAuthorization[] {
  return [...new Map(ended.map((one) => [one.id, one])).values()];
}

/** Of a deleted user, or for an operator. */
export async function deleteFactorsOf(sql: Sql, userId: string): Promise<void> {
  for (const table of ["totp_factor", "recovery_code", "passkey"]) {
    await sql.change(`DELETE FROM ${table} WHERE user_id = ?`, [userId]);
  }
}

/** Recovery codes end with the last other factor. */
export async function deleteIdleRecoveryCodes(sql: Sql, userId: string): Promise<void> {
  if (!(await hasFactor(sql, userId))) await sql.change("DELETE FROM recovery_code WHERE user_id = ?", [userId]);
}

/** Has the user a factor that a recovery code can stand in for? */
export async function hasFactor(sql: Sql, userId: string): Promise<boolean> {
  const [one] = await sql.rows(
    `SELECT 1 AS other FROM totp_factor WHERE user_id = ?
     UNION ALL SELECT 1 AS other FROM passkey WHERE user_id = ? LIMIT 1`,
    [userId, userId],
  );
  return one !== undefined;
}

/** Ends what was remembered of the factors that a user had. */
export async function raiseGeneration(sql: Sql, userId: string): Promise<void> {
  const raise = "UPDATE users SET factors_generation = COALESCE(factors_generation, 0) + 1 WHERE uuid = ?";
  await sql.change(raise, [userId]);
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
  const isFirst = await deleteSession(sql, idHash);
  // waits for redemptions that have begun: what they write is found below
  await revokeCodes(sql, "session_hash = ?", [idHash], now);
  const live = await sql.rows<EndedAuthorization & { scope: string }>(
    "SELECT id, client_id, subject, scope FROM oauth2_authorization WHERE session_hash = ? AND revoked_at IS NULL",
    [idHash],
  );
  const authorizations = live.filter(({ scope }) => endsWithSession(scope));
  await feed.revokeAuthorizations(
    sql,
    authorizations.map(({ id }) => id),
    "logout",
    now,
  );
  // the applications of a session are told once
  const told = isFirst ? [...(await applicationsOf(sql, [idHash])), ...live] : authorizations;
  await notices.append(sql, eachOnce(told), now);
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

/** @returns whether there was one */
export async function deleteSession(sql: Sql, idHash: string): Promise<boolean> {
  const deleted = await sql.change("DELETE FROM browser_session WHERE id_hash = ?", [idHash]);
  await sql.change("DELETE FROM oauth2_authorization_request WHERE session_hash = ?", [idHash]);
  return deleted > 0;
}
