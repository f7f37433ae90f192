import type { AuthEvent } from "../events.ts";
import {
  type CodeUse,
  type FactorStore,
  type Factors,
  HALF_OF_ATTEMPT,
  MAX_PASSKEYS,
  type NewRecoveryCodes,
  type Passkey,
  type PasskeyOutcome,
  type PasskeyUse,
} from "../store/factors.ts";
import type { ActingSession } from "../store/session.ts";
import { insert } from "./authorization-records.ts";
import { deleteFactorsOf, deleteIdleRecoveryCodes, hasFactor, raiseGeneration } from "./ending.ts";
import { isUniqueViolation } from "./faults.ts";
import { nextEventSeq, takeEventSeqToReturn } from "./held-users.ts";
import type { Outbox } from "./outbox.ts";
import { isSpentBy, keyOf, type PasskeyRow, passkeyOf, rowOf, spendPasskey } from "./passkey-rows.ts";
import { actIn } from "./sessions.ts";
import { type Database, placeholders, rollback, type TransactionSql } from "./transaction.ts";

/** A form that is sent again within this time is answered as before (milliseconds). */
const repeatMs = 60_000;
const countedAtOnce = 10_000;

/** Whose factors change, what is told of it, and the session in which it was asked for. */
interface Change {
  readonly userId: string;
  readonly event: AuthEvent;
  readonly acting?: ActingSession | undefined;
}

/** @param by the attempt that used a code; null: none, or a while ago */
function useBefore(by: string | null, attempt: string): CodeUse {
  if (by === attempt) return "again";
  return by?.slice(0, HALF_OF_ATTEMPT) === attempt.slice(0, HALF_OF_ATTEMPT) ? "repeated" : "refused";
}

export class FactorTables implements FactorStore {
  readonly #database: Database;
  readonly #outbox: Outbox;

  constructor(database: Database, outbox: Outbox) {
    this.#database = database;
    this.#outbox = outbox;
  }

  async find(userId: string): Promise<Factors> {
    const [totp] = await this.#database.rows<{ sealed_secret: string; created_at: number }>(
      "SELECT sealed_secret, created_at FROM totp_factor WHERE user_id = ?",
      [userId],
    );
    const passkeys = await this.#database.rows<PasskeyRow>(
      "SELECT * FROM passkey WHERE user_id = ? ORDER BY created_at, id_hash",
      [userId],
    );
    const [left] = await this.#database.rows<{ codes: number }>(
      "SELECT COUNT(*) AS codes FROM recovery_code WHERE user_id = ? AND used_at IS NULL",
      [userId],
    );
    return {
      totp: totp === undefined ? null : { sealedSecret: totp.sealed_secret, createdAt: Number(totp.created_at) },
      passkeys: passkeys.map(passkeyOf),
      recoveryCodes: Number(left?.codes ?? 0),
    };
  }

  addTotp(
    userId: string,
    totp: { sealedSecret: string; step: number },
    event: AuthEvent,
    acting?: ActingSession,
  ): Promise<boolean> {
    const row = { user_id: userId, sealed_secret: totp.sealedSecret, last_step: totp.step };
    return this.#insert("totp_factor", { ...row, created_at: event.timestamp }, { userId, event, acting });
  }

  async countPasskeys(): Promise<number> {
    let amount = 0;
    for (let after = ""; ; ) {
      const page = await this.#database.rows<{ id_hash: string }>(
        `SELECT id_hash FROM passkey WHERE id_hash > ? ORDER BY id_hash LIMIT ${countedAtOnce}`,
        [after],
      );
      amount += page.length;
      const last = page.at(-1);
      if (last === undefined || page.length < countedAtOnce) return amount;
      after = last.id_hash;
    }
  }

  async hasPasskeys(): Promise<boolean> {
    return (await this.#database.rows("SELECT 1 AS one FROM passkey LIMIT 1")).length > 0;
  }

  async listTotp(after: string | null, limit: number): Promise<{ userId: string; sealedSecret: string }[]> {
    const rows = await this.#database.rows<{ user_id: string; sealed_secret: string }>(
      "SELECT user_id, sealed_secret FROM totp_factor WHERE user_id > ? ORDER BY user_id LIMIT ?",
      [after ?? "", limit],
    );
    return rows.map(({ user_id: userId, sealed_secret: sealedSecret }) => ({ userId, sealedSecret }));
  }

  async resealTotp(userId: string, { from, to }: { readonly from: string; readonly to: string }): Promise<boolean> {
    const sql = "UPDATE totp_factor SET sealed_secret = ? WHERE user_id = ? AND sealed_secret = ?";
    return (await this.#database.change(sql, [to, userId, from])) === 1;
  }

  async useTotpStep(userId: string, step: number, attempt: string): Promise<CodeUse> {
    const used = await this.#database.change(
      "UPDATE totp_factor SET last_step = ?, last_attempt = ? WHERE user_id = ? AND last_step < ?",
      [step, attempt, userId, step],
    );
    if (used === 1) return "used";
    const [before] = await this.#database.rows<{ last_attempt: string | null }>(
      "SELECT last_attempt FROM totp_factor WHERE user_id = ? AND last_step = ?",
      [userId, step],
    );
    return useBefore(before?.last_attempt ?? null, attempt);
  }

  async setRecoveryCodes(
    userId: string,
    codes: NewRecoveryCodes,
    event: AuthEvent,
    acting?: ActingSession,
  ): Promise<"made" | "repeated" | "used" | "none"> {
    const { timestamp: now } = event;
    const { hashes, attempt, expiresAt } = codes;
    try {
      const made = await this.#changed({ userId, event, acting }, async (sql) => {
        if (!(await hasFactor(sql, userId))) return false;
        await insert(sql, "used_once", { value_hash: attempt, expires_at: expiresAt, used_at: now });
        await sql.change("DELETE FROM recovery_code WHERE user_id = ?", [userId]);
        for (const hash of hashes) {
          await insert(sql, "recovery_code", { code_hash: hash, user_id: userId, created_at: now });
        }
        return true;
      });
      return made ? "made" : "none";
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      return (await this.#wereJustMade(userId, codes, now)) ? "repeated" : "used";
    }
  }

  /** Did this attempt make codes within the last minute, and are these very ones the user's? */
  async #wereJustMade(userId: string, { hashes, attempt }: NewRecoveryCodes, now: number): Promise<boolean> {
    const just = await this.#database.rows("SELECT 1 AS just FROM used_once WHERE value_hash = ? AND used_at > ?", [
      attempt,
      now - repeatMs,
    ]);
    const [kept] = await this.#database.rows<{ codes: number }>(
      `SELECT COUNT(*) AS codes FROM recovery_code WHERE user_id = ? AND code_hash IN ${placeholders(hashes.length)}`,
      [userId, ...hashes],
    );
    return just.length > 0 && Number(kept?.codes) === hashes.length;
  }

  useRecoveryCode(userId: string, codeHash: string, attempt: string, event: AuthEvent): Promise<CodeUse> {
    const now = event.timestamp;
    return this.#database.transaction<CodeUse>(async (sql) => {
      // the user's row first, as every transaction here
      const seq = await takeEventSeqToReturn(sql, userId);
      if (seq === null) return rollback("refused");
      const condition = "code_hash = ? AND user_id = ?";
      const used = await sql.change(
        `UPDATE recovery_code SET used_at = ?, used_by = ? WHERE ${condition} AND used_at IS NULL`,
        [now, attempt, codeHash, userId],
      );
      if (used === 0) {
        const [before] = await sql.rows<{ used_by: string | null }>(
          `SELECT used_by FROM recovery_code WHERE ${condition} AND used_at > ?`,
          [codeHash, userId, now - repeatMs],
        );
        // nothing was changed: the number of the event is taken back too
        return rollback(useBefore(before?.used_by ?? null, attempt));
      }
      await this.#outbox.append(sql, userId, seq, event);
      return "used";
    });
  }

  addPasskey(passkey: Passkey, event: AuthEvent, acting?: ActingSession): Promise<boolean> {
    const { userId } = passkey;
    return this.#insert("passkey", rowOf(passkey), { userId, event, acting }, async (sql) => {
      // no other call adds one meanwhile: the user's row is held
      const [kept] = await sql.rows<{ passkeys: number }>(
        "SELECT COUNT(*) AS passkeys FROM passkey WHERE user_id = ?",
        [userId],
      );
      return Number(kept?.passkeys) <= MAX_PASSKEYS;
    });
  }

  async findPasskey(credentialId: string): Promise<Passkey | null> {
    const [row] = await this.#database.rows<PasskeyRow>("SELECT * FROM passkey WHERE id_hash = ?", [
      keyOf(credentialId),
    ]);
    return row === undefined ? null : passkeyOf(row);
  }

  renamePasskey(
    userId: string,
    { credentialId, name }: { readonly credentialId: string; readonly name: string },
    now: number,
    acting?: ActingSession,
  ): Promise<boolean> {
    return this.#database.transaction(async (sql) => {
      const rename = "UPDATE passkey SET name = ? WHERE id_hash = ? AND user_id = ?";
      if ((await sql.change(rename, [name, keyOf(credentialId), userId])) === 0) return false;
      if (acting !== undefined) await actIn(sql, userId, acting, now);
      return true;
    });
  }

  async usePasskey(use: PasskeyUse, now: number): Promise<PasskeyOutcome> {
    const outcome = await this.#database.transaction<PasskeyOutcome>(async (sql) => {
      const spent = await spendPasskey(sql, use, now);
      return spent === "used" ? spent : rollback(spent);
    });
    if (outcome !== "repeated") return outcome;
    return (await isSpentBy(this.#database, use, now - repeatMs)) ? "again" : outcome;
  }

  removeTotp(userId: string, event: AuthEvent, acting?: ActingSession): Promise<boolean> {
    return this.#remove("totp_factor", "user_id = ?", [userId], { userId, event, acting });
  }

  removePasskey(userId: string, credentialId: string, event: AuthEvent, acting?: ActingSession): Promise<boolean> {
    const ids = [keyOf(credentialId), userId];
    return this.#remove("passkey", "id_hash = ? AND user_id = ?", ids, { userId, event, acting }, async (sql) => {
      const ways = await sql.rows(
        `SELECT 1 AS way FROM users WHERE uuid = ? AND passwordless IS NULL
         UNION ALL SELECT 1 AS way FROM passkey WHERE user_id = ? LIMIT 1`,
        [userId, userId],
      );
      return ways.length > 0;
    });
  }

  reset(userId: string, event: AuthEvent): Promise<boolean> {
    return this.#changed({ userId, event }, async (sql) => {
      await deleteFactorsOf(sql, userId);
      return true;
    });
  }

  /** @param mayStay asked when the row is there; false: it goes */
  async #insert(
    table: string,
    row: Record<string, string | number | null>,
    by: Change,
    mayStay = async (_sql: TransactionSql) => true,
  ): Promise<boolean> {
    try {
      return await this.#changed(by, async (sql) => {
        await insert(sql, table, row);
        return mayStay(sql);
      });
    } catch (error) {
      if (isUniqueViolation(error)) return false;
      throw error;
    }
  }

  /** @param mayGo asked when the row is gone; false: it stays */
  #remove(
    table: string,
    condition: string,
    values: readonly string[],
    by: Change,
    mayGo = async (_sql: TransactionSql) => true,
  ) {
    return this.#changed(by, async (sql) => {
      if ((await sql.change(`DELETE FROM ${table} WHERE ${condition}`, values)) === 0 || !(await mayGo(sql)))
        return false;
      await deleteIdleRecoveryCodes(sql, by.userId);
      return true;
    });
  }

  /** @param change false: nothing was changed, and nothing is told */
  #changed({ userId, event, acting }: Change, change: (sql: TransactionSql) => Promise<boolean>): Promise<boolean> {
    return this.#database.transaction(async (sql) => {
      const seq = await nextEventSeq(sql, userId);
      if (seq === null || !(await change(sql))) return rollback(false);
      if (acting !== undefined) await actIn(sql, userId, acting, event.timestamp);
      await raiseGeneration(sql, userId);
      await this.#outbox.append(sql, userId, seq, event);
      return true;
    });
  }
}
