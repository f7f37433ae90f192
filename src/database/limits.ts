import { hashOf } from "../crypto/hashes.ts";
import { type LimitLook, type LimitStore, latestEnd } from "../store/limits.ts";
import { insertIfAbsent } from "./authorization-records.ts";
import type { Database } from "./transaction.ts";

/** When the window of a limit ends whose uses are used up; no row: they are not. With `usedUpValues`. */
export const USED_UP_UNTIL =
  "SELECT window_ends_at FROM rate_limit WHERE limit_key = ? AND window_ends_at > ? AND window_ends_at <= ? AND used >= ?";

export function usedUpValues({ key, limit, windowMs, now }: LimitLook): (string | number)[] {
  return [hashOf(key), now, latestEnd(now, windowMs), limit];
}

/** Over, or of before the database's clock was set back. With now and the latest end. */
const IS_OVER = "(window_ends_at <= ? OR window_ends_at > ?)";

export function limitStore(database: Database): LimitStore {
  return {
    async take(key, limit, windowMs, now) {
      if (limit < 1) return now + windowMs;
      // keys name addresses and networks and may be long: only their hashes are kept
      const hash = hashOf(key);
      const latest = latestEnd(now, windowMs);
      // each way to count is one conditional statement; where another call was faster in all of them, they are tried again
      for (;;) {
        if (await countOne(database, hash, limit, { now, latest })) return null;
        const [row] = await database.rows<{ used: number; window_ends_at: number }>(
          "SELECT used, window_ends_at FROM rate_limit WHERE limit_key = ?",
          [hash],
        );
        if (row === undefined) {
          if (await insert(database, hash, now + windowMs, 1)) return null;
        } else if (Number(row.window_ends_at) <= now || Number(row.window_ends_at) > latest) {
          const restarted = await database.change(
            `UPDATE rate_limit SET used = 1, window_ends_at = ? WHERE limit_key = ? AND ${IS_OVER}`,
            [now + windowMs, hash, now, latest],
          );
          if (restarted === 1) return null;
        } else if (row.used >= limit) {
          return Number(row.window_ends_at);
        }
      }
    },
    async add(key, uses, windowMs, now) {
      const hash = hashOf(key);
      const latest = latestEnd(now, windowMs);
      const more = `UPDATE rate_limit SET used = used + ? WHERE limit_key = ? AND NOT ${IS_OVER}`;
      const again = `UPDATE rate_limit SET used = ?, window_ends_at = ? WHERE limit_key = ? AND ${IS_OVER}`;
      // where another call was faster in all of them, they are tried again
      for (;;) {
        if ((await database.change(more, [uses, hash, now, latest])) === 1) break;
        if ((await database.change(again, [uses, now + windowMs, hash, now, latest])) === 1) break;
        if (await insert(database, hash, now + windowMs, uses)) break;
      }
      const [row] = await database.rows<{ used: number; window_ends_at: number }>(
        "SELECT used, window_ends_at FROM rate_limit WHERE limit_key = ?",
        [hash],
      );
      return { used: Number(row?.used ?? uses), endsAt: Number(row?.window_ends_at ?? now + windowMs) };
    },
    async open(key, windowMs, now) {
      const hash = hashOf(key);
      const restart = "UPDATE rate_limit SET used = 0, window_ends_at = ? WHERE limit_key = ?";
      if ((await database.change(restart, [now + windowMs, hash])) === 1) return;
      if (!(await insert(database, hash, now + windowMs, 0))) await database.change(restart, [now + windowMs, hash]);
    },
    takeOpened: (key, limit, now) => countOne(database, hashOf(key), limit, { now }),
    async giveBack(key) {
      await database.change("UPDATE rate_limit SET used = used - 1 WHERE limit_key = ? AND used > 0", [hashOf(key)]);
    },
    async clear(key) {
      await database.change("DELETE FROM rate_limit WHERE limit_key = ?", [hashOf(key)]);
    },
  };
}

async function countOne(
  database: Database,
  hash: string,
  limit: number,
  { now, latest = Number.MAX_SAFE_INTEGER }: { readonly now: number; readonly latest?: number },
): Promise<boolean> {
  const counted = await database.change(
    "UPDATE rate_limit SET used = used + 1 WHERE limit_key = ? AND window_ends_at > ? AND window_ends_at <= ? AND used < ?",
    [hash, now, latest, limit],
  );
  return counted === 1;
}

function insert(database: Database, hash: string, endsAt: number, used: number): Promise<boolean> {
  return insertIfAbsent(database, "rate_limit", { limit_key: hash, used, window_ends_at: endsAt });
}
