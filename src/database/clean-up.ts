import { type Database, databaseTime, deleteSome } from "./transaction.ts";

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/**
 * Deletes rows that are no longer needed, a batch of each kind by an index on the time. Codes stay a day, used ones too: a second use must still
 * be known for what it is. Authorizations stay an hour, for tokens of a clock that is behind.
 * @param broken as in `Store.cleanUp`
 * @returns how many rows were deleted
 */
export async function cleanUp(
  database: Database,
  now: number,
  batch: number,
  broken?: Map<string, unknown>,
): Promise<number> {
  const kinds: [table: string, key: string, time: string, before: number, condition?: string][] = [
    ["oauth2_authorization_code", "code_hash", "expires_at", now - dayMs],
    ["oauth2_authorization_request", "id", "expires_at", now],
    ["oauth2_pushed_request", "uri_hash", "expires_at", now - hourMs],
    ["oauth2_device_code", "device_code_hash", "expires_at", now - dayMs],
    ["oauth2_initial_access_token", "token_hash", "expires_at", now],
    ["used_once", "value_hash", "expires_at", now],
    ["logout_notice", "id", "expires_at", now],
    ["browser_session", "id_hash", "expires_at", now],
    ["session_application", "sid", "expires_at", now],
    ["password_reset_token", "token_hash", "expires_at", now],
    // a used link still says what it did
    ["email_verification", "token_hash", "expires_at", now - 7 * dayMs],
    ["rate_limit", "limit_key", "window_ends_at", now],
    ["oauth2_authorization", "id", "expires_at", now - hourMs],
    ["revocation", "id", "expires_at", now],
    ["outbox", "event_id", "sent_at", now - 7 * dayMs, "status = 'sent' AND "],
    ["mail", "event_id", "sent_at", now - 7 * dayMs],
    ["oauth2_client_secret", "id", "expires_at", now - dayMs],
  ];
  const remove = async (table: string, key: string, which: string, before: number): Promise<number> => {
    if (broken?.has(table)) return 0;
    try {
      return await database.change(deleteSome(database, table, key, which), [before, batch]);
    } catch (error) {
      if (broken === undefined) throw error;
      broken.set(table, error);
      return 0;
    }
  };
  let deleted = 0;
  for (const [table, key, time, before, condition = ""] of kinds) {
    deleted += await remove(table, key, `WHERE ${condition}${time} < ? ORDER BY ${time} LIMIT ?`, before);
  }
  // by the clock that leases run on; long enough that no owner of an old epoch is left
  const ended = `WHERE expires_at < ${databaseTime(database)} - ? ORDER BY expires_at LIMIT ?`;
  deleted += await remove("lease", "name", ended, 7 * dayMs);
  return deleted;
}

/** Deletes what lets somebody in without a password or a signature, a batch of each kind. @returns how many rows */
export async function deleteIssued(database: Database, batch: number): Promise<number> {
  const kinds: [table: string, key: string][] = [
    ["browser_session", "id_hash"],
    ["oauth2_authorization_request", "id"],
    ["oauth2_pushed_request", "uri_hash"],
    ["oauth2_authorization_code", "code_hash"],
    ["oauth2_device_code", "device_code_hash"],
    ["password_reset_token", "token_hash"],
    ["email_verification", "token_hash"],
    ["oauth2_initial_access_token", "token_hash"],
  ];
  let deleted = 0;
  for (const [table, key] of kinds) {
    deleted += await database.change(deleteSome(database, table, key, `ORDER BY ${key} LIMIT ?`), [batch]);
  }
  return deleted;
}
