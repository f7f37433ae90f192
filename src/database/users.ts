import { generationToStore } from "../crypto/password-generation.ts";
import { AuthError } from "../errors.ts";
import type { AuthEvent } from "../events.ts";
import type { Passkey } from "../store/factors.ts";
import type { LimitLook, Looked } from "../store/limits.ts";
import type { ActingSession } from "../store/session.ts";
import type {
  ClosedUser,
  User,
  UserChange,
  UserStore,
  UserToSignIn,
  UserWithPassword,
  VerificationLink,
} from "../store/users.ts";
import { insert } from "./authorization-records.ts";
import { deleteFactorsOf, deleteIdleRecoveryCodes, endEverythingOf, raiseGeneration, type Tellers } from "./ending.ts";
import { isUniqueViolation } from "./faults.ts";
import { demandSession } from "./held-sessions.ts";
import { MAY_RETURN, markProfileChanged, nextEventSeq, takeEventSeqToReturn } from "./held-users.ts";
import { USED_UP_UNTIL, usedUpValues } from "./limits.ts";
import type { Outbox } from "./outbox.ts";
import { keyOf, type PasskeyRow, passkeyOf, rowOf } from "./passkey-rows.ts";
import { changeSome, type Database, forUpdate, placeholders, rollback, type TransactionSql } from "./transaction.ts";
import { SELECT_USER, USER_COLUMNS, type UserRow, userOf, userToSignInOf } from "./user-rows.ts";
import { insertVerification } from "./verification-links.ts";

const batchSize = 500;

/** Has a run of this transaction before done its work, whose answer to COMMIT was lost? Each hash has a salt of its own. */
async function hasHash(sql: TransactionSql, uuid: string, passwordHash: string): Promise<boolean> {
  const own = await sql.rows("SELECT 1 AS own FROM users WHERE uuid = ? AND password_hash = ?", [uuid, passwordHash]);
  return own.length > 0;
}

export class Users implements UserStore {
  readonly #database: Database;
  readonly #outbox: Outbox;
  readonly #tellers: Tellers;

  constructor(database: Database, outbox: Outbox, tellers: Tellers) {
    this.#database = database;
    this.#outbox = outbox;
    this.#tellers = tellers;
  }

  async create(
    user: User,
    passwordHash: string,
    event: AuthEvent,
    verification?: { readonly link: VerificationLink; readonly event: AuthEvent },
    passkey?: Passkey,
  ): Promise<"created" | "email_taken"> {
    try {
      await this.#database.transaction(
        async (sql) => {
          await sql.change(
            `INSERT INTO users (uuid, email, password_hash, passwordless, factors_generation, roles, language, event_seq, disabled_at,
             created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
            [
              user.uuid,
              user.email,
              passwordHash,
              // without a password, and with its first factor
              ...(passkey === undefined ? [null, null] : [1, 1]),
              JSON.stringify(user.roles),
              user.language,
              verification === undefined ? 1 : 2,
              user.disabledAt,
              user.createdAt,
              user.createdAt,
            ],
          );
          await sql.change("INSERT INTO user_profiles (user_id, nickname, updated_at) VALUES (?, ?, ?)", [
            user.uuid,
            user.nickname,
            user.createdAt,
          ]);
          if (passkey !== undefined) await insert(sql, "passkey", rowOf(passkey));
          await this.#outbox.append(sql, user.uuid, 1, event);
          if (verification === undefined) return;
          await insertVerification(sql, verification.link);
          await this.#outbox.append(sql, user.uuid, 2, verification.event);
        },
        { repeatable: true },
      );
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      // ours when the first run committed and only its answer was lost
      const [owner] = await this.#database.rows<{ uuid: string }>("SELECT uuid FROM users WHERE email = ?", [
        user.email,
      ]);
      if (owner?.uuid !== user.uuid) return "email_taken";
    }
    return "created";
  }

  async find(uuid: string): Promise<User | null> {
    const row = await this.#row("u.uuid", uuid);
    return row === undefined ? null : userOf(row);
  }

  async findByEmail(email: string): Promise<UserToSignIn | null> {
    const row = await this.#row("u.email", email);
    return row === undefined ? null : userToSignInOf(row);
  }

  async findWithPassword(uuid: string): Promise<UserToSignIn | null> {
    const row = await this.#row("u.uuid", uuid);
    return row === undefined ? null : userToSignInOf(row);
  }

  async findByPasskey(credentialId: string): Promise<{ user: UserToSignIn; passkey: Passkey } | null> {
    const [row] = await this.#database.rows<UserRow & PasskeyRow & { passkey_created_at: number }>(
      `SELECT ${USER_COLUMNS}, k.credential_id, k.user_id, k.public_key, k.sign_count, k.transports, k.synced, k.name,
         k.created_at AS passkey_created_at, k.last_used_at
       FROM passkey k JOIN users u ON u.uuid = k.user_id JOIN user_profiles p ON p.user_id = u.uuid WHERE k.id_hash = ?`,
      [keyOf(credentialId)],
    );
    if (row === undefined) return null;
    return { user: userToSignInOf(row), passkey: passkeyOf({ ...row, created_at: row.passkey_created_at }) };
  }

  async findToCheck(
    account: { readonly email: string } | { readonly uuid: string },
    limit: LimitLook,
  ): Promise<Looked<UserToSignIn | null>> {
    const [column, value] = "email" in account ? ["u.email", account.email] : ["u.uuid", account.uuid];
    // one row, whether there is such a user or not
    const [row] = await this.#database.rows<Partial<UserRow> & { used_up_until: number | null }>(
      `SELECT l.used_up_until, ${USER_COLUMNS} FROM (SELECT (${USED_UP_UNTIL}) AS used_up_until) l
       LEFT JOIN users u ON ${column} = ? LEFT JOIN user_profiles p ON p.user_id = u.uuid`,
      [...usedUpValues(limit), value],
    );
    const isFound = row?.uuid !== undefined && row.uuid !== null;
    return {
      found: isFound ? userToSignInOf(row as UserRow) : null,
      usedUpUntil: row?.used_up_until == null ? null : Number(row.used_up_until),
    };
  }

  async #row(column: "u.uuid" | "u.email", value: string): Promise<UserRow | undefined> {
    const [row] = await this.#database.rows<UserRow>(`${SELECT_USER} WHERE ${column} = ?`, [value]);
    return row;
  }

  async findMany(uuids: readonly string[]): Promise<User[]> {
    const users: User[] = [];
    for (let i = 0; i < uuids.length; i += batchSize) {
      const batch = uuids.slice(i, i + batchSize);
      const sql = `${SELECT_USER} WHERE u.uuid IN ${placeholders(batch.length)}`;
      users.push(...(await this.#database.rows<UserRow>(sql, batch)).map(userOf));
    }
    return users;
  }

  async list(after: { createdAt: number; uuid: string } | null, limit: number, emailPart?: string): Promise<User[]> {
    const conditions: string[] = [];
    const values: (string | number)[] = [];
    if (after !== null) {
      // the first comparison is what the index can use
      conditions.push("u.created_at >= ? AND (u.created_at > ? OR u.uuid > ?)");
      values.push(after.createdAt, after.createdAt, after.uuid);
    }
    if (emailPart !== undefined) {
      conditions.push("INSTR(u.email, ?) > 0");
      values.push(emailPart);
    }
    const where = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
    const sql = `${SELECT_USER}${where} ORDER BY u.created_at, u.uuid LIMIT ?`;
    return (await this.#database.rows<UserRow>(sql, [...values, limit])).map(userOf);
  }

  async update(uuid: string, change: (user: User) => UserChange, now: number): Promise<User | null> {
    return this.#database.transaction(
      async (sql) => {
        const [row] = await sql.rows<UserRow>(`${SELECT_USER} WHERE u.uuid = ?${forUpdate(sql)}`, [uuid]);
        if (row === undefined) return null;
        const user = userOf(row);
        const { nickname, roles, claims, emailVerified } = { ...user, ...change(user) };
        const verifiedAt = emailVerified === user.emailVerified ? row.email_verified_at : emailVerified ? now : null;
        await sql.change("UPDATE users SET roles = ?, email_verified_at = ?, updated_at = ? WHERE uuid = ?", [
          JSON.stringify(roles),
          verifiedAt,
          now,
          uuid,
        ]);
        await sql.change("UPDATE user_profiles SET nickname = ?, claims = ?, updated_at = ? WHERE user_id = ?", [
          nickname,
          JSON.stringify(claims),
          now,
          uuid,
        ]);
        return { ...user, nickname, roles, claims, emailVerified, updatedAt: now };
      },
      { repeatable: true },
    );
  }

  async rehash({ uuid, passwordHash, passwordGeneration }: UserWithPassword, to: string): Promise<boolean> {
    const sql = "UPDATE users SET password_hash = ?, password_generation = ? WHERE uuid = ? AND password_hash = ?";
    const values = [to, generationToStore(passwordGeneration, to), uuid, passwordHash];
    return (await this.#database.change(sql, values)) === 1;
  }

  async changePassword(
    uuid: string,
    hash: { readonly from: string; readonly to: string },
    event: AuthEvent,
    acting?: ActingSession,
  ): Promise<"changed" | "lost"> {
    const now = event.timestamp;
    return this.#database.transaction(
      async (sql) => {
        const changed = await sql.change(
          "UPDATE users SET password_hash = ?, passwordless = NULL, updated_at = ? WHERE uuid = ? AND password_hash = ?",
          [hash.to, now, uuid, hash.from],
        );
        if (changed === 0) return (await hasHash(sql, uuid, hash.to)) ? "changed" : "lost";
        if (acting !== undefined) await demandSession(sql, { idHash: acting.idHash, userId: uuid }, now);
        await endEverythingOf(sql, this.#tellers, uuid, "password_changed", now);
        await this.#tell(sql, uuid, event);
        return "changed";
      },
      { repeatable: true },
    );
  }

  /** Writes an event of a user whose row this transaction holds. */
  async #tell(sql: TransactionSql, uuid: string, event: AuthEvent): Promise<void> {
    const seq = await nextEventSeq(sql, uuid);
    if (seq !== null) await this.#outbox.append(sql, uuid, seq, event);
  }

  async setDisabled(uuid: string, disabled: boolean, now: number, reopened?: AuthEvent): Promise<boolean> {
    return this.#database.transaction(
      async (sql) => {
        const open = "UPDATE users SET closed_at = NULL WHERE uuid = ? AND closed_at IS NOT NULL";
        const wasClosed = !disabled && (await sql.change(open, [uuid])) === 1;
        const found = await sql.change(
          disabled
            ? "UPDATE users SET disabled_at = CASE WHEN disabled_at IS NULL OR disabled_at = closed_at THEN ? ELSE disabled_at END, updated_at = ? WHERE uuid = ?"
            : "UPDATE users SET disabled_at = NULL, updated_at = ? WHERE uuid = ?",
          disabled ? [now, now, uuid] : [now, uuid],
        );
        if (found === 0) return false;
        if (disabled) await endEverythingOf(sql, this.#tellers, uuid, "user_disabled", now);
        if (wasClosed && reopened !== undefined) await this.#tell(sql, uuid, reopened);
        return true;
      },
      { repeatable: true },
    );
  }

  async close(uuid: string, event: AuthEvent, acting?: ActingSession): Promise<boolean> {
    const now = event.timestamp;
    return this.#database.transaction(async (sql) => {
      const closed = await sql.change(
        "UPDATE users SET disabled_at = ?, closed_at = ?, updated_at = ? WHERE uuid = ? AND disabled_at IS NULL",
        [now, now, now, uuid],
      );
      if (closed === 0) return false;
      if (acting !== undefined) await demandSession(sql, { idHash: acting.idHash, userId: uuid }, now);
      await endEverythingOf(sql, this.#tellers, uuid, "user_closed", now);
      await this.#tell(sql, uuid, event);
      return true;
    });
  }

  async reopen(uuid: string, event: AuthEvent): Promise<boolean> {
    const now = event.timestamp;
    return this.#database.transaction(async (sql) => {
      // an operator may have disabled it since
      const opened = await sql.change(
        `UPDATE users SET disabled_at = CASE WHEN disabled_at = closed_at THEN NULL ELSE disabled_at END, closed_at = NULL,
         updated_at = ? WHERE uuid = ? AND closed_at IS NOT NULL`,
        [now, uuid],
      );
      if (opened === 0) return false;
      await this.#tell(sql, uuid, event);
      return true;
    });
  }

  async listClosed(before: number, after: ClosedUser | null, limit: number): Promise<ClosedUser[]> {
    const { closedAt, uuid } = after ?? { closedAt: 0, uuid: "" };
    const rows = await this.#database.rows<UserRow & { closed_at: number }>(
      `${SELECT_USER} WHERE u.closed_at BETWEEN ? AND ? AND (u.closed_at > ? OR u.uuid > ?) ORDER BY u.closed_at, u.uuid LIMIT ?`,
      [closedAt, before, closedAt, uuid, limit],
    );
    return rows.map((row) => ({ ...userOf(row), closedAt: row.closed_at }));
  }

  async forgetTraces(uuid: string, batch: number): Promise<number> {
    const table = "oauth2_authorization";
    const which = "WHERE subject = ? AND ip_address <> '' LIMIT ?";
    const forget = `UPDATE ${table} SET ip_address = '', user_agent = ''`;
    return this.#database.change(changeSome(this.#database, forget, { table, key: "id", which }), [uuid, batch]);
  }

  async listDeleted(after: string, limit: number): Promise<string[]> {
    const rows = await this.#database.rows<{ value: string }>(
      "SELECT value FROM revocation WHERE kind = 'subject' AND value > ? ORDER BY value LIMIT ?",
      [after, limit],
    );
    return rows.map(({ value }) => value);
  }

  async delete(uuid: string, event: AuthEvent, closedBefore?: number): Promise<boolean> {
    const now = event.timestamp;
    return this.#database.transaction(async (sql) => {
      const seq = await nextEventSeq(sql, uuid);
      if (seq === null) return false;
      if (closedBefore !== undefined) {
        const closed = await sql.rows("SELECT uuid FROM users WHERE uuid = ? AND closed_at <= ?", [uuid, closedBefore]);
        if (closed.length === 0) return rollback(false);
      }
      await sql.change("DELETE FROM mail WHERE user_id = ? AND status = 'parked'", [uuid]);
      // its outbox rows stay: what happened is still told
      await sql.change("DELETE FROM users WHERE uuid = ?", [uuid]);
      await sql.change("DELETE FROM user_profiles WHERE user_id = ?", [uuid]);
      await sql.change("DELETE FROM oauth2_authorization_consent WHERE user_id = ?", [uuid]);
      await sql.change("DELETE FROM email_verification WHERE user_id = ?", [uuid]);
      await deleteFactorsOf(sql, uuid);
      await endEverythingOf(sql, this.#tellers, uuid, "user_deleted", now);
      await this.#tellers.feed.append(sql, "subject", [uuid], "user_deleted", now);
      await sql.change("DELETE FROM oauth2_authorization_code WHERE user_id = ?", [uuid]);
      await this.#outbox.append(sql, uuid, seq, event);
      return true;
    });
  }

  async createPasswordReset(
    reset: { tokenHash: string; userId: string; createdAt: number; expiresAt: number },
    event: AuthEvent,
  ): Promise<void> {
    await this.#database.transaction(
      async (sql) => {
        const seq = await takeEventSeqToReturn(sql, reset.userId);
        if (seq === null) throw new AuthError("not_found", "no such user");
        // a repeated run after a lost answer to COMMIT
        const own = await sql.rows("SELECT 1 AS own FROM outbox WHERE event_id = ?", [event.eventId]);
        if (own.length > 0) rollback(undefined);
        await sql.change("DELETE FROM password_reset_token WHERE user_id = ?", [reset.userId]);
        await sql.change(
          "INSERT INTO password_reset_token (token_hash, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
          [reset.tokenHash, reset.userId, reset.createdAt, reset.expiresAt],
        );
        await this.#outbox.append(sql, reset.userId, seq, event);
      },
      { repeatable: true },
    );
  }

  async findPasswordReset(tokenHash: string, now: number): Promise<User | null> {
    const [row] = await this.#database.rows<UserRow>(
      `${SELECT_USER} JOIN password_reset_token t ON t.user_id = u.uuid
       WHERE t.token_hash = ? AND t.expires_at > ? AND (u.disabled_at IS NULL OR u.disabled_at = u.closed_at)`,
      [tokenHash, now],
    );
    return row === undefined ? null : userOf(row);
  }

  async redeemPasswordReset(
    tokenHash: string,
    passwordHash: string,
    event: AuthEvent,
    passkeysRemoved: AuthEvent | null,
  ): Promise<"reset" | "invalid"> {
    const now = event.timestamp;
    /** Whose token it is, by a run before this one. */
    let owner = "";
    const work = async (sql: TransactionSql): Promise<"reset" | "invalid"> => {
      const [token] = await sql.rows<{ user_id: string }>(
        "SELECT user_id FROM password_reset_token WHERE token_hash = ?",
        [tokenHash],
      );
      if (token === undefined) return (await hasHash(sql, owner, passwordHash)) ? "reset" : "invalid";
      owner = token.user_id;
      const users = await sql.rows(`SELECT uuid FROM users WHERE uuid = ? AND ${MAY_RETURN}${forUpdate(sql)}`, [
        token.user_id,
      ]);
      if (users.length === 0) return "invalid";
      const used = await sql.change("DELETE FROM password_reset_token WHERE token_hash = ? AND expires_at > ?", [
        tokenHash,
        now,
      ]);
      if (used === 0) return "invalid";
      await sql.change("UPDATE users SET password_hash = ?, passwordless = NULL, updated_at = ? WHERE uuid = ?", [
        passwordHash,
        now,
        token.user_id,
      ]);
      const isFirstProof = await sql.change(
        "UPDATE users SET email_verified_at = ? WHERE uuid = ? AND email_verified_at IS NULL",
        [now, token.user_id],
      );
      if (isFirstProof === 1) await markProfileChanged(sql, token.user_id, now);
      // until now anybody may have signed up with this address, and their passkey would go on signing in
      if (isFirstProof === 1 && passkeysRemoved !== null) {
        await sql.change("DELETE FROM passkey WHERE user_id = ?", [token.user_id]);
        await deleteIdleRecoveryCodes(sql, token.user_id);
        await raiseGeneration(sql, token.user_id);
        await this.#tell(sql, token.user_id, passkeysRemoved);
      }
      await endEverythingOf(sql, this.#tellers, token.user_id, "password_reset", now);
      // an attacker may have given these consents; deleted after the sessions have ended, so that no session gives one meanwhile
      await sql.change("DELETE FROM oauth2_authorization_consent WHERE user_id = ?", [token.user_id]);
      await this.#tell(sql, token.user_id, event);
      return "reset";
    };
    return this.#database.transaction(work, { repeatable: true });
  }
}
