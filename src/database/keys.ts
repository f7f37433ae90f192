import { type KeyStore, type KeyUse, LONGEST_MAX_AGE_MS, type StoredKey } from "../store/keys.ts";
import { insert, insertIfAbsent } from "./authorization-records.ts";
import { isUniqueViolation } from "./faults.ts";
import type { RevocationFeed } from "./revocations.ts";
import { type Database, placeholders, type Sql } from "./transaction.ts";

/** How long a declared max-age may be told after it was declared last (milliseconds). */
const declaredMs = 2 * 3_600_000;
/** A key of this age was published by somebody who was to declare a max-age (milliseconds). */
const firstStartMs = 60_000;
/** Leases that nobody owns: one for each declared max-age, which is its epoch, held until the last key set told so may be kept. */
const maxAges = "key-set-max-age/";
const oneMaxAge = `name >= '${maxAges}' AND name < '${maxAges}:'`;

interface KeyRow {
  kid: string;
  key_use: KeyUse;
  alg: StoredKey["alg"];
  generation: number;
  public_jwk: string;
  sealed_private_jwk: string;
  created_at: number;
  active_from: number;
  distrusted_at: number | null;
}

export function keyStore(database: Database, feed: RevocationFeed): KeyStore {
  return {
    async list() {
      const rows = await database.rows<KeyRow>("SELECT * FROM signing_key ORDER BY key_use, alg, generation");
      return rows.map((row) => ({
        kid: row.kid,
        use: row.key_use,
        alg: row.alg,
        generation: row.generation,
        publicJwk: row.public_jwk,
        sealedPrivateJwk: row.sealed_private_jwk,
        createdAt: row.created_at,
        activeFrom: row.active_from,
        distrustedAt: row.distrusted_at,
      }));
    },
    async add(key) {
      try {
        await insertKey(database, key);
        return "added";
      } catch (error) {
        if (isUniqueViolation(error)) return "conflict";
        throw error;
      }
    },
    async distrust(kid, now, replacement) {
      /** By a run before this one, whose answer to COMMIT may be lost. */
      let wasDone = false;
      return database.transaction(
        async (sql) => {
          const changed = await sql.change(
            "UPDATE signing_key SET distrusted_at = ? WHERE kid = ? AND distrusted_at IS NULL",
            [now, kid],
          );
          if (changed === 0) return wasDone;
          wasDone = true;
          await feed.append(sql, "key", [kid], "key_distrusted", now);
          if (replacement === null) return true;
          const [newest] = await sql.rows<{ generation: number }>(
            "SELECT MAX(generation) AS generation FROM signing_key WHERE key_use = ? AND alg = ?",
            [replacement.use, replacement.alg],
          );
          await insertKey(sql, { ...replacement, generation: Number(newest?.generation ?? 0) + 1 });
          return true;
        },
        { repeatable: true },
      );
    },
    async reseal(kid, from, to) {
      const sql = "UPDATE signing_key SET sealed_private_jwk = ? WHERE kid = ? AND sealed_private_jwk = ?";
      return (await database.change(sql, [to, kid, from])) > 0;
    },
    async postpone(kid, activeFrom) {
      const sql = "UPDATE signing_key SET active_from = ? WHERE kid = ? AND active_from < ?";
      await database.change(sql, [activeFrom, kid, activeFrom]);
    },
    async declareMaxAge(maxAge, now) {
      if (await isUndeclared(database, now)) await declare(database, LONGEST_MAX_AGE_MS, now);
      await declare(database, maxAge, now);
    },
    async keptUntil(now) {
      const told = await database.rows<{ max_age: number; until: number }>(
        `SELECT epoch AS max_age, expires_at AS until FROM lease WHERE ${oneMaxAge} AND expires_at > ?`,
        [now],
      );
      const undeclared = told.length === 0 && (await isUndeclared(database, now));
      const ends = told.map(({ max_age, until }) => Math.min(now + Number(max_age), Number(until)));
      return Math.max(now + (undeclared ? LONGEST_MAX_AGE_MS : 0), ...ends);
    },
    async remove(kids) {
      if (kids.length === 0) return;
      await database.change(`DELETE FROM signing_key WHERE kid IN ${placeholders(kids.length)}`, kids);
    },
  };
}

/** Did a release that declares nothing publish the keys? It may have told any max-age, and may still do so. */
async function isUndeclared(database: Database, now: number): Promise<boolean> {
  const [declared] = await database.rows(`SELECT 1 AS one FROM lease WHERE ${oneMaxAge} LIMIT 1`);
  if (declared !== undefined) return false;
  const [oldest] = await database.rows<{ since: number | null }>("SELECT MIN(created_at) AS since FROM signing_key");
  return Number(oldest?.since ?? now) < now - firstStartMs;
}

async function declare(database: Database, maxAge: number, now: number): Promise<void> {
  const name = `${maxAges}${maxAge}`;
  const until = now + declaredMs + maxAge;
  const update = () => database.change("UPDATE lease SET expires_at = ? WHERE name = ?", [until, name]);
  if ((await update()) > 0) return;
  if (!(await insertIfAbsent(database, "lease", { name, owner: "", epoch: maxAge, expires_at: until }))) await update();
}

function insertKey(sql: Sql, key: StoredKey): Promise<void> {
  return insert(sql, "signing_key", {
    kid: key.kid,
    key_use: key.use,
    alg: key.alg,
    generation: key.generation,
    public_jwk: key.publicJwk,
    sealed_private_jwk: key.sealedPrivateJwk,
    created_at: key.createdAt,
    active_from: key.activeFrom,
    distrusted_at: key.distrustedAt,
  });
}
