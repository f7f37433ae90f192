import type { AuthEvent } from "../events.ts";
import type { FactorStore, Factors, Passkey, PasskeyUse } from "../store/factors.ts";
import { insert } from "./authorization-records.ts";
import { deleteFactorsOf } from "./ending.ts";
import { isUniqueViolation } from "./faults.ts";
import type { Outbox } from "./outbox.ts";
import { keyOf, type PasskeyRow, passkeyOf, rowOf } from "./passkey-rows.ts";
import { type Database, rollback, type Sql, type TransactionSql } from "./transaction.ts";
import { nextEventSeq, takeEventSeq } from "./users.ts";

/** A form that is sent again within this time is answered as before (milliseconds). */
const repeatMs = 60_000;

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

  addTotp(userId: string, totp: { sealedSecret: string; step: number }, event: AuthEvent): Promise<boolean> {
    const row = { user_id: userId, sealed_secret: totp.sealedSecret, last_step: totp.step };
    return this.#insert(userId, "totp_factor", { ...row, created_at: event.timestamp }, event);
  }

  async useTotpStep(userId: string, step: number, attempt: string): Promise<boolean> {
    const used = await this.#database.change(
      `UPDATE totp_factor SET last_step = ?, last_attempt = ?
       WHERE user_id = ? AND (last_step < ? OR (last_step = ? AND last_attempt = ?))`,
      [step, attempt, userId, step, step, attempt],
    );
    return used === 1;
  }

  setRecoveryCodes(userId: string, hashes: readonly string[], now: number): Promise<boolean> {
    return this.#database.transaction(async (sql) => {
      if (!(await raiseGeneration(sql, userId))) return false;
      await sql.change("DELETE FROM recovery_code WHERE user_id = ?", [userId]);
      for (const hash of hashes) {
        await insert(sql, "recovery_code", { code_hash: hash, user_id: userId, created_at: now });
      }
      return true;
    });
  }

  useRecoveryCode(userId: string, codeHash: string, attempt: string, event: AuthEvent): Promise<boolean> {
    const now = event.timestamp;
    return this.#database.transaction(async (sql) => {
      // the user's row first, as every transaction here
      const seq = await takeEventSeq(sql, userId, null);
      if (seq === null) return rollback(false);
      const condition = "code_hash = ? AND user_id = ?";
      const used = await sql.change(
        `UPDATE recovery_code SET used_at = ?, used_by = ? WHERE ${condition} AND used_at IS NULL`,
        [now, attempt, codeHash, userId],
      );
      if (used === 0) {
        const again = await sql.rows(
          `SELECT 1 AS again FROM recovery_code WHERE ${condition} AND used_by = ? AND used_at > ?`,
          [codeHash, userId, attempt, now - repeatMs],
        );
        // nothing was changed: the number of the event is taken back too
        return rollback(again.length > 0);
      }
      await this.#outbox.append(sql, userId, seq, event);
      return true;
    });
  }

  addPasskey(passkey: Passkey, event: AuthEvent): Promise<boolean> {
    return this.#insert(passkey.userId, "passkey", rowOf(passkey), event);
  }

  async findPasskey(credentialId: string): Promise<Passkey | null> {
    const [row] = await this.#database.rows<PasskeyRow>("SELECT * FROM passkey WHERE id_hash = ?", [
      keyOf(credentialId),
    ]);
    return row === undefined ? null : passkeyOf(row);
  }

  async usePasskey(use: PasskeyUse, now: number): Promise<"used" | "refused" | "repeated"> {
    const outcome = await this.#usePasskey(use, now);
    if (outcome === "used") return "used";
    const again = await this.#database.rows(
      "SELECT 1 AS again FROM used_once WHERE value_hash = ? AND used_by = ? AND used_at > ?",
      [use.challengeHash, use.attempt, now - repeatMs],
    );
    return again.length > 0 ? "used" : outcome;
  }

  async #usePasskey({ credentialId, signCount, ...use }: PasskeyUse, now: number) {
    try {
      return await this.#database.transaction(async (sql) => {
        const used = await sql.change(
          `UPDATE passkey SET sign_count = ?, last_used_at = ?
           WHERE id_hash = ? AND (sign_count < ? OR (sign_count = 0 AND ? = 0))`,
          [signCount, now, keyOf(credentialId), signCount, signCount],
        );
        if (used === 0) return rollback("refused" as const);
        const { challengeHash, expiresAt, attempt } = use;
        const row = { value_hash: challengeHash, expires_at: expiresAt, used_by: attempt, used_at: now };
        await insert(sql, "used_once", row);
        return "used" as const;
      });
    } catch (error) {
      if (isUniqueViolation(error)) return "repeated" as const;
      throw error;
    }
  }

  removeTotp(userId: string, event: AuthEvent): Promise<boolean> {
    return this.#remove(userId, "totp_factor", "user_id = ?", [userId], event);
  }

  removePasskey(userId: string, credentialId: string, event: AuthEvent): Promise<boolean> {
    return this.#remove(userId, "passkey", "id_hash = ? AND user_id = ?", [keyOf(credentialId), userId], event);
  }

  reset(userId: string, event: AuthEvent): Promise<boolean> {
    return this.#changed(userId, event, async (sql) => {
      await deleteFactorsOf(sql, userId);
      return true;
    });
  }

  async #insert(
    userId: string,
    table: string,
    row: Record<string, string | number | null>,
    event: AuthEvent,
  ): Promise<boolean> {
    try {
      return await this.#changed(userId, event, async (sql) => {
        await insert(sql, table, row);
        return true;
      });
    } catch (error) {
      if (isUniqueViolation(error)) return false;
      throw error;
    }
  }

  #remove(userId: string, table: string, condition: string, values: readonly string[], event: AuthEvent) {
    return this.#changed(userId, event, async (sql) => {
      if ((await sql.change(`DELETE FROM ${table} WHERE ${condition}`, values)) === 0) return false;
      const [other] = await sql.rows(
        `SELECT 1 AS other FROM totp_factor WHERE user_id = ?
         UNION ALL SELECT 1 AS other FROM passkey WHERE user_id = ? LIMIT 1`,
        [userId, userId],
      );
      if (other === undefined) await sql.change("DELETE FROM recovery_code WHERE user_id = ?", [userId]);
      return true;
    });
  }

  /** @param change false: nothing was changed, and nothing is told */
  #changed(userId: string, event: AuthEvent, change: (sql: TransactionSql) => Promise<boolean>): Promise<boolean> {
    return this.#database.transaction(async (sql) => {
      const seq = await nextEventSeq(sql, userId);
      if (seq === null || !(await change(sql))) return rollback(false);
      await raiseGeneration(sql, userId);
      await this.#outbox.append(sql, userId, seq, event);
      return true;
    });
  }
}

async function raiseGeneration(sql: Sql, userId: string): Promise<boolean> {
  const raise = "UPDATE users SET factors_generation = COALESCE(factors_generation, 0) + 1 WHERE uuid = ?";
  return (await sql.change(raise, [userId])) === 1;
}
