import type { VerificationLink } from "../store/users.ts";
import { insert } from "./authorization-records.ts";
import type { Sql } from "./transaction.ts";

/** Ends a change of address that waits for its link: the person who asked for it may no longer own the account. */
export async function endPendingAddress(sql: Sql, userId: string, now: number): Promise<void> {
  await sql.change(
    `UPDATE email_verification SET replaced_at = ? WHERE user_id = ? AND used_at IS NULL AND replaced_at IS NULL
     AND email <> (SELECT u.email FROM users u WHERE u.uuid = ?)`,
    [now, userId, userId],
  );
}

/** In the transaction that holds the user's row. */
export async function insertVerification(sql: Sql, verification: VerificationLink): Promise<void> {
  const { tokenHash, userId, email, createdAt, expiresAt } = verification;
  await insert(sql, "email_verification", {
    token_hash: tokenHash,
    user_id: userId,
    email,
    created_at: createdAt,
    expires_at: expiresAt,
    used_at: null,
    replaced_at: null,
  });
}
