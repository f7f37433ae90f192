import type { Redemption } from "../store/authorizations.ts";
import type { DeviceCode, DeviceCodeStore, NewDeviceCode } from "../store/device-codes.ts";
import { insert, methodsOf, textOfMethods } from "./authorization-records.ts";
import { isUniqueViolation } from "./faults.ts";
import { holdSession } from "./held-sessions.ts";
import { type RedemptionParts, redeemOnce } from "./redemption.ts";
import { type Database, rollback, type Sql } from "./transaction.ts";

interface DeviceRow {
  device_code_hash: string;
  user_code_hash: string;
  client_id: string;
  scope: string;
  resource: string | null;
  dpop_jkt: string | null;
  ip_address: string | null;
  user_agent: string | null;
  created_at: number;
  expires_at: number;
  user_id: string | null;
  session_hash: string | null;
  auth_time: number | null;
  amr: string | null;
  allowed_at: number | null;
  denied_at: number | null;
  redeemed_at: number | null;
  revoked_at: number | null;
  client_epoch: number | null;
}

function deviceCodeOf(row: DeviceRow): DeviceCode {
  return {
    deviceCodeHash: row.device_code_hash,
    userCodeHash: row.user_code_hash,
    clientId: row.client_id,
    scope: row.scope,
    resource: row.resource,
    dpopJkt: row.dpop_jkt,
    ipAddress: row.ip_address ?? "",
    userAgent: row.user_agent ?? "",
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    userId: row.user_id,
    sessionHash: row.session_hash,
    authTime: row.auth_time,
    methods: row.auth_time === null ? [] : methodsOf(row.amr),
    allowedAt: row.allowed_at,
    deniedAt: row.denied_at,
    redeemedAt: row.redeemed_at,
    revokedAt: row.revoked_at,
    clientEpoch: row.client_epoch,
  };
}

/** A device that waits exactly the interval may arrive a little early: networks and timers vary. */
const pollToleranceMs = 1_000;
/** Longer than any code lives: the column stays a small number however often somebody polls. */
const longestIntervalMs = 3_600_000;
/** Not decided, not revoked, not expired. */
const isPending = "allowed_at IS NULL AND denied_at IS NULL AND revoked_at IS NULL AND expires_at > ?";

/** Lets codes that a user opened and left undecided be opened again, as by another account in the same browser. */
export async function releaseDeviceCodes(sql: Sql, sessionHash: string): Promise<void> {
  await sql.change(
    `UPDATE oauth2_device_code SET session_hash = NULL, user_id = NULL, auth_time = NULL, amr = NULL
     WHERE session_hash = ? AND allowed_at IS NULL AND denied_at IS NULL`,
    [sessionHash],
  );
}

export class DeviceCodes implements DeviceCodeStore {
  readonly #database: Database;
  readonly #parts: RedemptionParts;

  constructor(parts: RedemptionParts) {
    this.#database = parts.database;
    this.#parts = parts;
  }

  async save(code: NewDeviceCode, intervalMs: number): Promise<"saved" | "user_code_taken"> {
    try {
      await insert(this.#database, "oauth2_device_code", {
        device_code_hash: code.deviceCodeHash,
        user_code_hash: code.userCodeHash,
        client_id: code.clientId,
        scope: code.scope,
        resource: code.resource,
        dpop_jkt: code.dpopJkt,
        interval_ms: intervalMs,
        ip_address: code.ipAddress,
        user_agent: code.userAgent,
        created_at: code.createdAt,
        expires_at: code.expiresAt,
        client_epoch: code.clientEpoch,
      });
      return "saved";
    } catch (error) {
      if (isUniqueViolation(error)) return "user_code_taken";
      throw error;
    }
  }

  async find(deviceCodeHash: string): Promise<DeviceCode | null> {
    const [row] = await this.#database.rows<DeviceRow>("SELECT * FROM oauth2_device_code WHERE device_code_hash = ?", [
      deviceCodeHash,
    ]);
    return row === undefined ? null : deviceCodeOf(row);
  }

  async poll(deviceCodeHash: string, stepMs: number, now: number): Promise<"in_time" | "too_fast"> {
    const inTime = await this.#database.change(
      `UPDATE oauth2_device_code SET last_polled_at = ?
       WHERE device_code_hash = ? AND (last_polled_at IS NULL OR last_polled_at + interval_ms <= ?)`,
      [now, deviceCodeHash, now + pollToleranceMs],
    );
    if (inTime === 1) return "in_time";
    await this.#database.change(
      `UPDATE oauth2_device_code SET last_polled_at = ?, interval_ms = interval_ms + ?
       WHERE device_code_hash = ? AND interval_ms < ?`,
      [now, stepMs, deviceCodeHash, longestIntervalMs],
    );
    return "too_fast";
  }

  async open(
    userCodeHash: string,
    session: { idHash: string; userId: string; authTime: number; methods: readonly string[] },
    now: number,
  ): Promise<DeviceCode | "opened_elsewhere" | "session_ended" | null> {
    return this.#database.transaction(
      async (sql) => {
        if (!(await holdSession(sql, session, now))) return "session_ended";
        const opened = await sql.change(
          `UPDATE oauth2_device_code SET session_hash = ?, user_id = ?, auth_time = ?, amr = ?
           WHERE user_code_hash = ? AND (session_hash IS NULL OR session_hash = ?) AND ${isPending}`,
          [
            session.idHash,
            session.userId,
            session.authTime,
            textOfMethods(session.methods),
            userCodeHash,
            session.idHash,
            now,
          ],
        );
        const code = await findByUserCode(sql, userCodeHash, now);
        return opened === 0 && code !== null ? rollback("opened_elsewhere") : code;
      },
      { repeatable: true },
    );
  }

  async findDecision(userCodeHash: string, userId: string): Promise<"allowed" | "denied" | null> {
    const [row] = await this.#database.rows<{ allowed_at: number | null }>(
      `SELECT allowed_at FROM oauth2_device_code WHERE user_code_hash = ? AND user_id = ? AND revoked_at IS NULL
       AND (allowed_at IS NOT NULL OR denied_at IS NOT NULL)`,
      [userCodeHash, userId],
    );
    if (row === undefined) return null;
    return row.allowed_at === null ? "denied" : "allowed";
  }

  async decide(
    userCodeHash: string,
    sessionHash: string,
    allowed: boolean,
    now: number,
  ): Promise<"decided" | "opened_elsewhere" | "session_ended" | "over"> {
    return this.#database.transaction(async (sql) => {
      if (!(await holdSession(sql, { idHash: sessionHash }, now))) return "session_ended";
      const decided = await sql.change(
        `UPDATE oauth2_device_code SET ${allowed ? "allowed_at" : "denied_at"} = ?
         WHERE user_code_hash = ? AND session_hash = ? AND ${isPending}`,
        [now, userCodeHash, sessionHash, now],
      );
      if (decided === 1) return "decided";
      return rollback((await findByUserCode(sql, userCodeHash, now)) === null ? "over" : "opened_elsewhere");
    });
  }

  redeem(deviceCodeHash: string, redemption: Redemption, now: number): Promise<"redeemed" | "replayed" | "refused"> {
    const code = {
      table: "oauth2_device_code",
      key: "device_code_hash",
      hash: deviceCodeHash,
      condition: " AND allowed_at IS NOT NULL",
    } as const;
    return redeemOnce(this.#parts, code, redemption, now);
  }
}

async function findByUserCode(sql: Sql, userCodeHash: string, now: number): Promise<DeviceCode | null> {
  const [row] = await sql.rows<DeviceRow>(
    `SELECT * FROM oauth2_device_code WHERE user_code_hash = ? AND ${isPending}`,
    [userCodeHash, now],
  );
  return row === undefined ? null : deviceCodeOf(row);
}
