import { AuthError } from "../errors.ts";
import type { Sql } from "./transaction.ts";

/**
 * Holds a live session's row: a transaction that ends the session either waits and then finds what this one writes, or was first, and
 * this one finds no session. It is a change and not only a lock: on a cluster only changes collide.
 * @returns false: the session has ended, or is not this user's
 */
export async function holdSession(
  sql: Sql,
  { idHash, userId }: { readonly idHash: string; readonly userId?: string },
  now: number,
): Promise<boolean> {
  const ofUser = userId === undefined ? "" : " AND user_id = ?";
  const held = await sql.change(
    `UPDATE browser_session SET last_seen_at = CASE WHEN last_seen_at < ? THEN ? ELSE last_seen_at + 1 END
     WHERE id_hash = ? AND expires_at > ?${ofUser}`,
    [now, now, idHash, now, ...(userId === undefined ? [] : [userId])],
  );
  return held === 1;
}

/** As `holdSession`. @throws AuthError login_required: the session has ended, or is not this user's */
export async function demandSession(
  sql: Sql,
  session: { readonly idHash: string; readonly userId: string },
  now: number,
): Promise<void> {
  if (!(await holdSession(sql, session, now))) throw new AuthError("login_required", "the session has ended");
}
