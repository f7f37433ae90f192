import { type Authorization, KEPT_PER_CLIENT, type Redemption } from "../store/authorizations.ts";
import { LONGEST_SESSION_MS } from "../store/sessions.ts";
import { insert, insertAuthorization } from "./authorization-records.ts";
import { takeEventSeq } from "./held-users.ts";
import type { Outbox } from "./outbox.ts";
import type { RevocationFeed } from "./revocations.ts";
import { type Database, rollback, type Scalar, type Sql, type TransactionSql } from "./transaction.ts";

/** A row that is good for one authorization of the user it names. */
export interface OneTimeCode {
  readonly table: "oauth2_authorization_code" | "oauth2_device_code";
  readonly key: string;
  readonly hash: string;
  /** Required in addition to being unredeemed, unrevoked and unexpired. */
  readonly condition?: string;
  /** Columns that are written with the redemption. */
  readonly also?: Readonly<Record<string, Scalar>>;
}

interface Found {
  session_hash: string | null;
  redeemed_at: number | null;
  attempt_id: string | null;
}

/** Whether a client has too many authorizations of a user is looked up at each so many-th event of the user. */
export const CHECKED_EVERY = 20;

export interface RedemptionParts {
  readonly database: Database;
  readonly outbox: Outbox;
  readonly feed: RevocationFeed;
}

/**
 * Uses a code up and writes the authorization and its event, in one transaction under the user's lock: whatever ends the user's
 * things waits for it and finds the authorization, or came first and revoked the code. One conditional statement decides who wins.
 */
export async function redeemOnce(
  { database, outbox, feed }: RedemptionParts,
  code: OneTimeCode,
  { attemptId, authorization, event }: Redemption,
  now: number,
): Promise<"redeemed" | "replayed" | "refused"> {
  const userId = authorization.subject;
  return database.transaction(
    async (sql): Promise<"redeemed" | "replayed" | "refused"> => {
      const seq = await takeEventSeq(sql, userId, authorization.userEpoch);
      // gone, disabled, or everything of the user was ended after the authorization was signed
      if (seq === null) return rollback("refused");
      const claimed = await claim(sql, code, { userId, sessionHash: authorization.sessionHash, attemptId }, now);
      if (typeof claimed === "string") return rollback(claimed);
      const { sessionHash } = claimed;
      await insertAuthorization(sql, { ...authorization, sessionHash });
      if (sessionHash !== null) await joinSession(sql, sessionHash, authorization, now);
      if (seq % CHECKED_EVERY === 0) await revokeBeyondLimit(sql, feed, authorization, now);
      await outbox.append(sql, userId, seq, event);
      return "redeemed";
    },
    { repeatable: true },
  );
}

/** Uses the code up if it is still good. @returns the session that it belongs to, or what became of the code */
async function claim(
  sql: Sql,
  { table, key, hash, condition = "", also = {} }: OneTimeCode,
  by: { readonly userId: string; readonly sessionHash: string | null; readonly attemptId: string },
  now: number,
): Promise<{ readonly sessionHash: string | null } | "redeemed" | "replayed" | "refused"> {
  const columns = { redeemed_at: now, attempt_id: by.attemptId, ...also };
  const assignments = Object.keys(columns).map((column) => `${column} = ?`);
  const inSession = sql.dialect === "mysql" ? "session_hash <=> ?" : "session_hash IS ?";
  let { sessionHash } = by;
  for (;;) {
    const won = await sql.change(
      `UPDATE ${table} SET ${assignments.join(", ")} WHERE ${key} = ? AND user_id = ? AND ${inSession}
         AND redeemed_at IS NULL AND revoked_at IS NULL AND expires_at > ?${condition}`,
      [...Object.values(columns), hash, by.userId, sessionHash, now],
    );
    if (won === 1) return { sessionHash };
    const [row] = await sql.rows<Found>(
      `SELECT session_hash, redeemed_at, attempt_id FROM ${table} WHERE ${key} = ? AND user_id = ?`,
      [hash, by.userId],
    );
    if (row === undefined) return "refused";
    if (row.redeemed_at !== null) return row.attempt_id === by.attemptId ? "redeemed" : "replayed";
    if (row.session_hash === sessionHash) return "refused";
    // the browser has signed in again since the code was read, which moved the code to its new session
    sessionHash = row.session_hash;
  }
}

/** The application takes part in the browser session from now on, whatever becomes of the authorization. */
async function joinSession(
  sql: Sql,
  sessionHash: string,
  { id, clientId, subject }: Authorization,
  now: number,
): Promise<void> {
  await insert(sql, "session_application", {
    sid: id,
    session_hash: sessionHash,
    client_id: clientId,
    subject,
    created_at: now,
    expires_at: now + LONGEST_SESSION_MS,
  });
}

/** Keeps a user's authorizations of one client bounded: the oldest beyond the limit end. */
async function revokeBeyondLimit(
  sql: TransactionSql,
  feed: RevocationFeed,
  { subject, clientId, userEpoch }: Authorization,
  now: number,
): Promise<void> {
  const beyond = await sql.rows<{ id: string }>(
    `SELECT id FROM oauth2_authorization
     WHERE subject = ? AND client_id = ? AND revoked_at IS NULL AND expires_at > ? AND (user_epoch IS NULL OR user_epoch = ?)
     ORDER BY created_at DESC LIMIT 100 OFFSET ${KEPT_PER_CLIENT}`,
    [subject, clientId, now, userEpoch],
  );
  const ids = beyond.map(({ id }) => id);
  await feed.revokeAuthorizations(sql, ids, "too_many", now);
}
