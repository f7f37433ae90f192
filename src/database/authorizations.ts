import { afterCall } from "../call.ts";
import type {
  AnsweredPush,
  Authorization,
  AuthorizationCode,
  AuthorizationStore,
  NewAuthorizationCode,
  NewConsent,
  Redemption,
  RefreshTokenState,
} from "../store/authorizations.ts";
import type { User } from "../store/users.ts";
import {
  authorizationOf,
  type CodeRow,
  CURRENT_EPOCH,
  codeOf,
  IS_LIVE,
  type JudgedRow,
  SELECT_AUTHORIZATION,
  writeCode,
} from "./authorization-records.ts";
import { revokeCodes } from "./ending.ts";
import { holdSession } from "./held-sessions.ts";
import { holdUser } from "./held-users.ts";
import { type RedemptionParts, redeemOnce } from "./redemption.ts";
import type { RevocationFeed } from "./revocations.ts";
import { type Database, forUpdate, rollback, type Sql } from "./transaction.ts";
import { JOINED_USER, type JoinedUserRow, joinedUserOf } from "./user-rows.ts";

const wrongVerifiers = 3;
/** Characters kept of an authorization's rotations: about the last forty. */
const rotationsLength = 1000;

/**
 * Leaves out what was given to a client that was removed, also where another one has its id by now.
 * @param at when it was given, which decides where a release before wrote it, without the client's epoch
 */
function givenToClient(table: string, at: string): string {
  return `JOIN oauth2_registered_client c ON c.client_id = ${table}.client_id
    AND (${table}.client_epoch >= COALESCE(c.first_epoch, 0) OR (${table}.client_epoch IS NULL AND c.created_at <= ${table}.${at}))`;
}

async function findConsent(sql: Sql, userId: string, clientId: string): Promise<string | null> {
  const [row] = await sql.rows<{ scope: string }>(
    `SELECT k.scope FROM oauth2_authorization_consent k ${givenToClient("k", "updated_at")}
     WHERE k.user_id = ? AND k.client_id = ?`,
    [userId, clientId],
  );
  return row?.scope ?? null;
}

export class Authorizations implements AuthorizationStore {
  readonly #database: Database;
  readonly #feed: RevocationFeed;
  readonly #parts: RedemptionParts;

  constructor(parts: RedemptionParts) {
    this.#database = parts.database;
    this.#feed = parts.feed;
    this.#parts = parts;
  }

  async createCode(
    code: NewAuthorizationCode,
    pushed: AnsweredPush | null = null,
  ): Promise<"created" | "session_ended" | "request_used"> {
    return this.#database.transaction(async (sql) => {
      if (!(await holdSession(sql, { idHash: code.sessionHash, userId: code.userId }, code.createdAt)))
        return "session_ended";
      return (await writeCode(sql, code, pushed)) ? "created" : rollback("request_used");
    });
  }

  async findCode(codeHash: string): Promise<AuthorizationCode | null> {
    const [row] = await this.#database.rows<CodeRow>("SELECT * FROM oauth2_authorization_code WHERE code_hash = ?", [
      codeHash,
    ]);
    return row === undefined ? null : codeOf(row);
  }

  async findCodeWithUser(codeHash: string): Promise<{ code: AuthorizationCode; user: User | null } | null> {
    const [row] = await this.#database.rows<CodeRow & JoinedUserRow>(
      `SELECT c.*, ${JOINED_USER} FROM oauth2_authorization_code c
       LEFT JOIN users u ON u.uuid = c.user_id LEFT JOIN user_profiles p ON p.user_id = u.uuid WHERE c.code_hash = ?`,
      [codeHash],
    );
    return row === undefined ? null : { code: codeOf(row), user: joinedUserOf(row) };
  }

  async redeemCode(
    codeHash: string,
    redemption: Redemption,
    now: number,
  ): Promise<"redeemed" | "replayed" | "refused"> {
    const also = { authorization_id: redemption.authorization.id };
    const code = { table: "oauth2_authorization_code", key: "code_hash", hash: codeHash, also } as const;
    return redeemOnce(this.#parts, code, redemption, now);
  }

  async countWrongVerifier(codeHash: string, now: number): Promise<void> {
    // revoked_at first: MySQL shows an assignment to those after it, SQLite does not
    const count = `UPDATE oauth2_authorization_code
       SET revoked_at = CASE WHEN wrong_verifiers + 1 >= ? THEN ? ELSE NULL END, wrong_verifiers = wrong_verifiers + 1
       WHERE code_hash = ? AND redeemed_at IS NULL AND revoked_at IS NULL`;
    await afterCall(() => this.#database.change(count, [wrongVerifiers, now, codeHash]));
  }

  async find(sid: string): Promise<Authorization | null> {
    const [row] = await this.#database.rows<JudgedRow>(`${SELECT_AUTHORIZATION} WHERE a.id = ?`, [sid]);
    return row === undefined ? null : authorizationOf(row);
  }

  async findWithUser(sid: string): Promise<{ authorization: Authorization; user: User | null } | null> {
    const [row] = await this.#database.rows<JudgedRow & JoinedUserRow>(
      `SELECT a.*, ${CURRENT_EPOCH}, ${JOINED_USER} FROM oauth2_authorization a
       LEFT JOIN users u ON u.uuid = a.subject LEFT JOIN user_profiles p ON p.user_id = u.uuid WHERE a.id = ?`,
      [sid],
    );
    return row === undefined ? null : { authorization: authorizationOf(row), user: joinedUserOf(row) };
  }

  async listOfUser(
    userId: string,
    after: { createdAt: number; id: string } | null,
    limit: number,
    now: number,
  ): Promise<Authorization[]> {
    const position = after === null ? "" : " AND a.created_at <= ? AND (a.created_at < ? OR a.id < ?)";
    const rows = await this.#database.rows<JudgedRow>(
      `${SELECT_AUTHORIZATION} WHERE a.subject = ? AND ${IS_LIVE} AND a.expires_at > ?${position}
       ORDER BY a.created_at DESC, a.id DESC LIMIT ?`,
      [userId, now, ...(after === null ? [] : [after.createdAt, after.createdAt, after.id]), limit],
    );
    return rows.map(authorizationOf);
  }

  async rotateRefreshToken(
    sid: string,
    generation: number,
    next: RefreshTokenState,
    now: number,
  ): Promise<"rotated" | "lost"> {
    const kept =
      this.#database.dialect === "mysql"
        ? `RIGHT(CONCAT(rotations, ?), ${rotationsLength})`
        : `substr(rotations || ?, -${rotationsLength})`;
    const won = await this.#database.change(
      `UPDATE oauth2_authorization SET generation = generation + 1, rotations = ${kept},
         refresh_jti = ?, refresh_iat = ?, refresh_exp = ?, refresh_kid = ?
       WHERE id = ? AND generation = ? AND refresh_jti IS NOT NULL AND revoked_at IS NULL AND expires_at > ?`,
      [`;${generation}:${now}`, next.jti, next.iat, next.exp, next.kid, sid, generation, now],
    );
    return won === 1 ? "rotated" : "lost";
  }

  async touch(sid: string, now: number): Promise<void> {
    await this.#database.change("UPDATE oauth2_authorization SET last_used_at = ? WHERE id = ?", [now, sid]);
  }

  async revoke(sid: string, reason: string, now: number): Promise<boolean> {
    return afterCall(() =>
      this.#database.transaction(
        async (sql) => (await this.#feed.revokeAuthorizations(sql, [sid], reason.slice(0, 64), now)) === 1,
      ),
    );
  }

  async revokeAccessToken(jti: string, expiresAt: number, now: number): Promise<void> {
    await this.#database.transaction(
      async (sql) => {
        const known = await sql.rows("SELECT 1 AS known FROM revocation WHERE kind = 'token' AND value = ? LIMIT 1", [
          jti,
        ]);
        if (known.length === 0) await this.#feed.append(sql, "token", [jti], "revoked", now, { expiresAt });
      },
      { repeatable: true },
    );
  }

  async findConsent(userId: string, clientId: string): Promise<string | null> {
    return findConsent(this.#database, userId, clientId);
  }

  addConsent({ userId, sessionHash, client, scopes }: NewConsent, now: number): Promise<"saved" | "session_ended"> {
    return this.#database.transaction(
      async (sql) => {
        if (!(await holdSession(sql, { idHash: sessionHash, userId }, now))) return "session_ended";
        const { clientId, epoch } = client;
        const [registered] = await sql.rows(
          "SELECT 1 AS found FROM oauth2_registered_client WHERE client_id = ? AND COALESCE(first_epoch, 0) <= ?",
          [clientId, epoch],
        );
        // the client that was allowed something is gone: it is not kept for a later one of the same id
        if (registered === undefined) return "saved";
        const rows = await sql.rows(
          `SELECT 1 AS found FROM oauth2_authorization_consent WHERE user_id = ? AND client_id = ?${forUpdate(sql)}`,
          [userId, clientId],
        );
        const before = rows.length === 0 ? null : await findConsent(sql, userId, clientId);
        const scope = [...new Set([...(before ?? "").split(" "), ...scopes])].filter((each) => each !== "").join(" ");
        const own = [scope, now, epoch, userId, clientId];
        await sql.change(
          rows.length === 0
            ? "INSERT INTO oauth2_authorization_consent (scope, updated_at, client_epoch, user_id, client_id) VALUES (?, ?, ?, ?, ?)"
            : "UPDATE oauth2_authorization_consent SET scope = ?, updated_at = ?, client_epoch = ? WHERE user_id = ? AND client_id = ?",
          own,
        );
        return "saved";
      },
      { repeatable: true },
    );
  }

  async listConsents(userId: string): Promise<{ clientId: string; scope: string; updatedAt: number }[]> {
    const rows = await this.#database.rows<{ client_id: string; scope: string; updated_at: number }>(
      `SELECT k.client_id, k.scope, k.updated_at FROM oauth2_authorization_consent k ${givenToClient("k", "updated_at")}
       WHERE k.user_id = ? ORDER BY k.client_id`,
      [userId],
    );
    return rows.map((row) => ({ clientId: row.client_id, scope: row.scope, updatedAt: row.updated_at }));
  }

  async listGrants(userId: string, now: number): Promise<{ clientId: string; scope: string; since: number }[]> {
    const rows = await this.#database.rows<{ client_id: string; scope: string; since: number }>(
      `SELECT a.client_id, a.scope, MIN(a.created_at) AS since
       FROM oauth2_authorization a LEFT JOIN users u ON u.uuid = a.subject ${givenToClient("a", "created_at")}
       WHERE a.subject = ? AND ${IS_LIVE} AND a.expires_at > ? GROUP BY a.client_id, a.scope ORDER BY a.client_id, a.scope`,
      [userId, now],
    );
    return rows.map((row) => ({ clientId: row.client_id, scope: row.scope, since: Number(row.since) }));
  }

  async withdrawConsent(userId: string, clientId: string, now: number): Promise<boolean> {
    /** By a run before this one too, whose answer to COMMIT may be lost. */
    let found = false;
    return this.#database.transaction(
      async (sql) => {
        // redemption takes the user's row too: a code is either redeemed before this and revoked here, or finds itself revoked
        await holdUser(sql, userId);
        const forgotten = await sql.change(
          "DELETE FROM oauth2_authorization_consent WHERE user_id = ? AND client_id = ?",
          [userId, clientId],
        );
        const codes = await revokeCodes(sql, "user_id = ? AND client_id = ?", [userId, clientId], now);
        const authorizations = await sql.rows<{ id: string }>(
          "SELECT id FROM oauth2_authorization WHERE subject = ? AND client_id = ? AND revoked_at IS NULL",
          [userId, clientId],
        );
        const ids = authorizations.map(({ id }) => id);
        const revoked = await this.#feed.revokeAuthorizations(sql, ids, "consent_withdrawn", now);
        found ||= forgotten + codes + revoked > 0;
        return found;
      },
      { repeatable: true },
    );
  }
}
