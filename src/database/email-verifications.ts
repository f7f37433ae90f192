import type { AuthEvent } from "../events.ts";
import type { EmailVerificationStore, FoundVerification, LinkState } from "../store/email-verifications.ts";
import type { ActingSession } from "../store/session.ts";
import type { User, VerificationLink } from "../store/users.ts";
import { isUniqueViolation } from "./faults.ts";
import { demandSession } from "./held-sessions.ts";
import { holdUser, markProfileChanged, nextEventSeq, takeEventSeq } from "./held-users.ts";
import type { Outbox } from "./outbox.ts";
import type { Database, Sql, TransactionSql } from "./transaction.ts";
import { JOINED_USER, type JoinedUserRow, joinedUserOf } from "./user-rows.ts";
import { insertVerification } from "./verification-links.ts";

interface LinkRow extends JoinedUserRow {
  email: string;
  expires_at: number;
  used_at: number | null;
  replaced_at: number | null;
}

type Outcome = Awaited<ReturnType<EmailVerificationStore["redeem"]>>;

/** @returns null: unknown, or the user is gone or disabled */
async function findLink(sql: Sql, tokenHash: string, now: number): Promise<FoundVerification | null> {
  const [row] = await sql.rows<LinkRow>(
    `SELECT v.email, v.expires_at, v.used_at, v.replaced_at, ${JOINED_USER} FROM email_verification v
     JOIN users u ON u.uuid = v.user_id JOIN user_profiles p ON p.user_id = u.uuid
     WHERE v.token_hash = ? AND u.disabled_at IS NULL`,
    [tokenHash],
  );
  const user = row === undefined ? null : joinedUserOf(row);
  return row === undefined || user === null ? null : { user, email: row.email, state: stateOf(row, user, now) };
}

function stateOf(row: LinkRow, user: User, now: number): LinkState {
  if (user.email === row.email && user.emailVerified) return "verified";
  if (row.used_at !== null || row.replaced_at !== null) return "replaced";
  return row.expires_at > now ? "open" : "expired";
}

export class EmailVerifications implements EmailVerificationStore {
  readonly #database: Database;
  readonly #outbox: Outbox;

  constructor(database: Database, outbox: Outbox) {
    this.#database = database;
    this.#outbox = outbox;
  }

  async create(verification: VerificationLink, event: AuthEvent | null, acting?: ActingSession): Promise<boolean> {
    const { userId, createdAt } = verification;
    return this.#database.transaction(async (sql) => {
      // a number that no event has would leave a gap
      const seq = event === null ? null : await takeEventSeq(sql, userId, null);
      if (event === null ? !(await holdUser(sql, userId)) : seq === null) return false;
      if (acting !== undefined) await demandSession(sql, { idHash: acting.idHash, userId }, createdAt);
      await sql.change(
        "UPDATE email_verification SET replaced_at = ? WHERE user_id = ? AND used_at IS NULL AND replaced_at IS NULL",
        [createdAt, userId],
      );
      await insertVerification(sql, verification);
      if (event !== null && seq !== null) await this.#outbox.append(sql, userId, seq, event);
      return true;
    });
  }

  find(tokenHash: string, now: number): Promise<FoundVerification | null> {
    return findLink(this.#database, tokenHash, now);
  }

  async pendingOf(userId: string, now: number): Promise<string | null> {
    const [row] = await this.#database.rows<{ email: string }>(
      `SELECT v.email FROM email_verification v JOIN users u ON u.uuid = v.user_id
       WHERE v.user_id = ? AND v.email <> u.email AND v.used_at IS NULL AND v.replaced_at IS NULL AND v.expires_at > ?
       ORDER BY v.created_at DESC LIMIT 1`,
      [userId, now],
    );
    return row?.email ?? null;
  }

  async redeem(tokenHash: string, notice: (before: User) => AuthEvent, now: number): Promise<Outcome> {
    try {
      return await this.#database.transaction((sql) => this.#redeem(sql, tokenHash, notice, now));
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      return "email_taken";
    }
  }

  async #redeem(
    sql: TransactionSql,
    tokenHash: string,
    notice: (before: User) => AuthEvent,
    now: number,
  ): Promise<Outcome> {
    const [link] = await sql.rows<{ user_id: string }>("SELECT user_id FROM email_verification WHERE token_hash = ?", [
      tokenHash,
    ]);
    if (link === undefined || !(await holdUser(sql, link.user_id))) return null;
    const found = await findLink(sql, tokenHash, now);
    if (found === null) return null;
    if (found.state !== "open") return found.state;
    const used = await sql.change(
      `UPDATE email_verification SET used_at = ?
       WHERE token_hash = ? AND used_at IS NULL AND replaced_at IS NULL AND expires_at > ?`,
      [now, tokenHash, now],
    );
    if (used === 0) return "replaced";
    const { user, email } = found;
    await sql.change("UPDATE users SET email = ?, email_verified_at = ?, updated_at = ? WHERE uuid = ?", [
      email,
      now,
      now,
      user.uuid,
    ]);
    await markProfileChanged(sql, user.uuid, now);
    if (email === user.email) return "now_verified";
    await sql.change("DELETE FROM password_reset_token WHERE user_id = ?", [user.uuid]);
    const seq = await nextEventSeq(sql, user.uuid);
    if (seq !== null) await this.#outbox.append(sql, user.uuid, seq, notice(user));
    return "now_verified";
  }
}
