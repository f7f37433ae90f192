import type { Sql, TransactionSql } from "./transaction.ts";

/**
 * Holds the user's row until the end of the transaction, by a change and not only a lock: on a cluster only changes collide.
 * @returns false: there is no such user
 */
export async function holdUser(sql: Sql, uuid: string): Promise<boolean> {
  const hold = "UPDATE users SET row_version = COALESCE(row_version, 0) + 1 WHERE uuid = ?";
  return (await sql.change(hold, [uuid])) === 1;
}

/**
 * The number of the user's next event; holds the user's row like `holdUser`.
 * @param epoch that the user must be at; null: any
 * @returns null: the user is gone, disabled or at another epoch
 */
export async function takeEventSeq(sql: TransactionSql, uuid: string, epoch: number | null): Promise<number | null> {
  const atEpoch = epoch === null ? "" : " AND COALESCE(epoch, 0) = ?";
  const parameters = epoch === null ? [uuid] : [uuid, epoch];
  return sql.count("users", "event_seq", `uuid = ? AND disabled_at IS NULL${atEpoch}`, parameters);
}

/** The number of the user's next event, of a disabled user too. @returns null: there is no such user */
export async function nextEventSeq(sql: TransactionSql, uuid: string): Promise<number | null> {
  return sql.count("users", "event_seq", "uuid = ?", [uuid]);
}

/** Applications read from `updated_at` whether they know a user's claims (OpenID Connect Core section 5.1): the address is one of them. */
export async function markProfileChanged(sql: TransactionSql, uuid: string, now: number): Promise<void> {
  await sql.change("UPDATE user_profiles SET updated_at = ? WHERE user_id = ?", [now, uuid]);
}

/** An account that its user closed is one that they may keep, and may need a new password or a recovery code for. */
export const MAY_RETURN = "(disabled_at IS NULL OR disabled_at = closed_at)";

/** As `takeEventSeq`, of a user who closed the account too. @returns null: the user is gone, or disabled by an operator */
export async function takeEventSeqToReturn(sql: TransactionSql, uuid: string): Promise<number | null> {
  return sql.count("users", "event_seq", `uuid = ? AND ${MAY_RETURN}`, [uuid]);
}
