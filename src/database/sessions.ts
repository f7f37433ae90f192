import type { ActingSession, Session } from "../store/session.ts";
import {
  type FirstCode,
  KEPT_SESSIONS,
  type LoginProof,
  type SessionStore,
  type SignedIn,
  type StoredRequest,
} from "../store/sessions.ts";
import { insert, methodsOf, textOfMethods, writeCode } from "./authorization-records.ts";
import { releaseDeviceCodes } from "./device-codes.ts";
import { deleteSession, endEverythingOf, endSession, type Tellers } from "./ending.ts";
import { isUniqueViolation } from "./faults.ts";
import { demandSession, holdSession } from "./held-sessions.ts";
import { nextEventSeq } from "./held-users.ts";
import type { Outbox } from "./outbox.ts";
import { isSpentBy, spendPasskey } from "./passkey-rows.ts";
import { CHECKED_EVERY } from "./redemption.ts";
import { type Database, placeholders, rollback, type Scalar, type Sql, type TransactionSql } from "./transaction.ts";

interface SessionRow {
  id_hash: string;
  user_id: string | null;
  auth_time: number | null;
  amr: string | null;
  ip_address: string;
  user_agent: string;
  created_at: number;
  last_seen_at: number;
  expires_at: number;
}

interface RequestRow {
  id: string;
  session_hash: string;
  parameters: string;
  pushed_hash: string | null;
  created_at: number;
  expires_at: number;
}

function sessionOf(row: SessionRow): Session {
  return {
    idHash: row.id_hash,
    userId: row.user_id,
    authTime: row.auth_time,
    methods: row.auth_time === null ? [] : methodsOf(row.amr),
    ipAddress: row.ip_address,
    userAgent: row.user_agent,
    createdAt: row.created_at,
    lastSeenAt: row.last_seen_at,
    expiresAt: row.expires_at,
  };
}

function requestOf(row: RequestRow): StoredRequest {
  return {
    id: row.id,
    sessionHash: row.session_hash,
    parameters: JSON.parse(row.parameters) as Record<string, string>,
    pushedHash: row.pushed_hash,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
  };
}

async function insertSession(sql: Sql, session: Session): Promise<void> {
  await insert(sql, "browser_session", {
    id_hash: session.idHash,
    user_id: session.userId,
    auth_time: session.authTime,
    amr: textOfMethods(session.methods),
    ip_address: session.ipAddress,
    user_agent: session.userAgent,
    created_at: session.createdAt,
    last_seen_at: session.lastSeenAt,
    expires_at: session.expiresAt,
  });
}

/** @returns false: the same user's session is there already, from the first of two presses of a button */
async function insertOrHold(sql: Sql, session: Session): Promise<boolean> {
  try {
    await insertSession(sql, session);
    return true;
  } catch (error) {
    const { idHash, userId, createdAt } = session;
    if (!isUniqueViolation(error) || userId === null) throw error;
    if (await holdSession(sql, { idHash, userId }, createdAt)) return false;
    throw error;
  }
}

/**
 * Holds the row of a user who is still what the sign-in was checked against, and keeps their language.
 * @returns the version of the row, which grows with each sign-in; null: they are not
 */
async function holdProven(sql: TransactionSql, session: Session, proof: LoginProof): Promise<number | null> {
  const { passwordHash, factorsGeneration, language } = proof;
  const [ofFactors, generation]: [string, Scalar[]] =
    factorsGeneration === undefined ? ["", []] : [" AND COALESCE(factors_generation, 0) = ?", [factorsGeneration]];
  const also = { signed_in_at: session.createdAt, ...(language === undefined ? {} : { language }) };
  const condition = `uuid = ? AND password_hash = ? AND disabled_at IS NULL${ofFactors}`;
  return sql.count("users", "row_version", condition, [session.userId, passwordHash, ...generation], also);
}

/** Uses up the answer of the proof's passkey. The same sign-in again, as by a second press, finds it used and its session there. */
async function spendProof(sql: TransactionSql, session: Session, { passkey }: LoginProof): Promise<boolean> {
  if (passkey === undefined || (await spendPasskey(sql, passkey, session.createdAt)) === "used") return true;
  const { idHash, userId, createdAt } = session;
  if (userId === null || !(await isSpentBy(sql, passkey, 0))) return false;
  return holdSession(sql, { idHash, userId }, createdAt);
}

async function takeOver(sql: Sql, old: string, session: Session): Promise<void> {
  await sql.change("UPDATE oauth2_authorization_request SET session_hash = ? WHERE session_hash = ?", [
    session.idHash,
    old,
  ]);
  const [before] = await sql.rows<{ user_id: string | null }>("SELECT user_id FROM browser_session WHERE id_hash = ?", [
    old,
  ]);
  await deleteSession(sql, old);
  if (before === undefined) return;
  if (before.user_id !== session.userId) {
    if (before.user_id !== null) await releaseDeviceCodes(sql, old);
    return;
  }
  // the same user gave the password again: logging out still ends what came before
  for (const table of ["oauth2_authorization_code", "oauth2_device_code", "oauth2_authorization"]) {
    await sql.change(`UPDATE ${table} SET session_hash = ? WHERE session_hash = ?`, [session.idHash, old]);
  }
  await sql.change("UPDATE session_application SET session_hash = ?, expires_at = ? WHERE session_hash = ?", [
    session.idHash,
    session.expiresAt,
    old,
  ]);
}

/**
 * Holds the session in which a user changes something, and puts the one it is raised to in its place.
 * @throws AuthError login_required: it has ended
 */
export async function actIn(sql: Sql, userId: string, acting: ActingSession, now: number): Promise<void> {
  const { idHash, raisedTo } = acting;
  await demandSession(sql, { idHash, userId }, now);
  if (raisedTo === undefined) return;
  await insertSession(sql, raisedTo);
  await takeOver(sql, idHash, raisedTo);
}

export class Sessions implements SessionStore {
  readonly #database: Database;
  readonly #outbox: Outbox;
  readonly #tellers: Tellers;

  constructor(database: Database, outbox: Outbox, tellers: Tellers) {
    this.#database = database;
    this.#outbox = outbox;
    this.#tellers = tellers;
  }

  create(session: Session): Promise<void> {
    return insertSession(this.#database, session);
  }

  async find(idHash: string, now: number): Promise<Session | null> {
    const [row] = await this.#database.rows<SessionRow>(
      "SELECT * FROM browser_session WHERE id_hash = ? AND expires_at > ?",
      [idHash, now],
    );
    return row === undefined ? null : sessionOf(row);
  }

  async listOfUser(userId: string, now: number): Promise<Session[]> {
    const rows = await this.#database.rows<SessionRow>(
      "SELECT * FROM browser_session WHERE user_id = ? AND expires_at > ? ORDER BY created_at DESC",
      [userId, now],
    );
    return rows.map(sessionOf);
  }

  async touch(idHash: string, now: number): Promise<void> {
    await this.#database.change("UPDATE browser_session SET last_seen_at = ? WHERE id_hash = ? AND last_seen_at < ?", [
      now,
      idHash,
      now,
    ]);
  }

  async signIn(session: Session, proof: LoginProof, first: FirstCode | null = null): Promise<SignedIn> {
    return this.#database.transaction<SignedIn>(async (sql) => {
      // changes the row that a new password changes: on a cluster only changes collide
      const version = await holdProven(sql, session, proof);
      if (version === null) return "refused";
      if (!(await spendProof(sql, session, proof))) return rollback("passkey_refused");
      const isNew = await insertOrHold(sql, session);
      if (version % CHECKED_EVERY === 0) await this.#endBeyondLimit(sql, session);
      const { raises } = proof;
      if (isNew && raises !== undefined && session.userId !== null) {
        await demandSession(sql, { idHash: raises, userId: session.userId }, session.createdAt);
      }
      if (isNew && proof.notice !== undefined && session.userId !== null) {
        const seq = await nextEventSeq(sql, session.userId);
        if (seq !== null) await this.#outbox.append(sql, session.userId, seq, proof.notice);
      }
      const { replaces } = proof;
      if (isNew && replaces !== null && replaces !== session.idHash) await takeOver(sql, replaces, session);
      if (first !== null && !(await writeCode(sql, first.code, first.pushed))) return "without_code";
      return "signed_in";
    });
  }

  /** Keeps a user's sessions bounded, so that they can always be ended together: those used longest ago beyond the limit end. */
  async #endBeyondLimit(sql: TransactionSql, { userId, createdAt }: Session): Promise<void> {
    const beyond = await sql.rows<{ id_hash: string }>(
      `SELECT id_hash FROM browser_session WHERE user_id = ? ORDER BY last_seen_at DESC LIMIT ${5 * CHECKED_EVERY} OFFSET ${KEPT_SESSIONS}`,
      [userId],
    );
    for (const { id_hash } of beyond) await endSession(sql, this.#tellers, id_hash, createdAt);
  }

  async end(idHash: string, now: number): Promise<void> {
    await this.#database.transaction((sql) => endSession(sql, this.#tellers, idHash, now), { repeatable: true });
  }

  async endAllOf(userId: string, now: number): Promise<void> {
    await this.#database.transaction((sql) => endEverythingOf(sql, this.#tellers, userId, "logout_everywhere", now), {
      repeatable: true,
    });
  }

  async saveRequest(request: StoredRequest, keep: number): Promise<void> {
    await this.#database.transaction(async (sql) => {
      await insert(sql, "oauth2_authorization_request", {
        id: request.id,
        session_hash: request.sessionHash,
        parameters: JSON.stringify(request.parameters),
        pushed_hash: request.pushedHash,
        created_at: request.createdAt,
        expires_at: request.expiresAt,
      });
      const all = await sql.rows<{ id: string }>(
        "SELECT id FROM oauth2_authorization_request WHERE session_hash = ? ORDER BY created_at DESC, id DESC",
        [request.sessionHash],
      );
      const old = all.slice(keep).map(({ id }) => id);
      if (old.length === 0) return;
      await sql.change(`DELETE FROM oauth2_authorization_request WHERE id IN ${placeholders(old.length)}`, old);
    });
  }

  async findRequest(id: string, sessionHash: string, now: number): Promise<StoredRequest | null> {
    const [row] = await this.#database.rows<RequestRow>(
      "SELECT * FROM oauth2_authorization_request WHERE id = ? AND session_hash = ? AND expires_at > ?",
      [id, sessionHash, now],
    );
    return row === undefined ? null : requestOf(row);
  }

  async latestRequest(sessionHash: string, now: number): Promise<StoredRequest | null> {
    const [row] = await this.#database.rows<RequestRow>(
      `SELECT * FROM oauth2_authorization_request WHERE session_hash = ? AND expires_at > ?
       ORDER BY created_at DESC, id DESC LIMIT 1`,
      [sessionHash, now],
    );
    return row === undefined ? null : requestOf(row);
  }
}
