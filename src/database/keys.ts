import type { KeyStore, KeyUse, StoredKey } from "../store/keys.ts";
import { insert } from "./authorization-records.ts";
import { isUniqueViolation } from "./faults.ts";
import type { RevocationFeed } from "./revocations.ts";
import { type Database, placeholders, type Sql } from "./transaction.ts";

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
      return database.transaction(
        async (sql) => {
          const changed = await sql.change(
            "UPDATE signing_key SET distrusted_at = ? WHERE kid = ? AND distrusted_at IS NULL",
            [now, kid],
          );
          if (changed === 0) return false;
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
    async remove(kids) {
      if (kids.length === 0) return;
      await database.change(`DELETE FROM signing_key WHERE kid IN ${placeholders(kids.length)}`, kids);
    },
  };
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
