import type { Redemption } from "../store/authorizations.ts";
import { insertAuthorization } from "./authorization-records.ts";
import type { Outbox } from "./outbox.ts";
import { type Database, rollback, type Scalar } from "./transaction.ts";
import { takeEventSeq } from "./users.ts";

/** A row that is good for one authorization of the user it names. */
export interface OneTimeCode {
  readonly table: "oauth2_authorization_code" | "oauth2_device_code";
  readonly key: string;
  readonly hash: string;
  /** What it needs beside being unredeemed, unrevoked and unexpired. */
  readonly condition?: string;
  /** Columns that are written with the redemption. */
  readonly also?: Readonly<Record<string, Scalar>>;
}

interface Found {
  user_id: string | null;
  session_hash: string | null;
  redeemed_at: number | null;
  attempt_id: string | null;
}

/**
 * Uses a code up and writes the authorization and its event, in one transaction under the user's lock: whatever ends the user's
 * things waits for it and finds the authorization, or came first and revoked the code. One conditional statement decides who wins.
 */
export async function redeemOnce(
  database: Database,
  outbox: Outbox,
  code: OneTimeCode,
  { attemptId, authorization, event }: Redemption,
  now: number,
): Promise<"redeemed" | "replayed" | "refused"> {
  const { table, key, hash, condition = "", also = {} } = code;
  const find = `SELECT user_id, session_hash, redeemed_at, attempt_id FROM ${table} WHERE ${key} = ?`;
  const [known] = await database.rows<Found>(find, [hash]);
  const userId = known?.user_id ?? null;
  if (userId === null) return "refused";
  const columns = { redeemed_at: now, attempt_id: attemptId, ...also };
  const assignments = Object.keys(columns).map((column) => `${column} = ?`);
  return database.transaction(
    async (sql): Promise<"redeemed" | "replayed" | "refused"> => {
      const seq = await takeEventSeq(sql, userId);
      if (seq === null) return rollback("refused");
      const won = await sql.change(
        `UPDATE ${table} SET ${assignments.join(", ")}
         WHERE ${key} = ? AND redeemed_at IS NULL AND revoked_at IS NULL AND expires_at > ?${condition}`,
        [...Object.values(columns), hash, now],
      );
      const [row] = await sql.rows<Found>(find, [hash]);
      if (won === 0) {
        if (row === undefined || row.redeemed_at === null) return rollback("refused");
        return rollback(row.attempt_id === attemptId ? "redeemed" : "replayed");
      }
      // the browser may have signed in again since the code was read, which moved the code to its new session
      await insertAuthorization(sql, { ...authorization, sessionHash: row?.session_hash ?? authorization.sessionHash });
      await outbox.append(sql, userId, seq, event);
      return "redeemed";
    },
    { repeatable: true },
  );
}
