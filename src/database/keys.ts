import { isUniqueViolation } from "../faults.ts";
import type { KeyStore, KeyUse, StoredKey } from "../store.ts";
import type { RevocationFeed } from "./revocations.ts";
import { type Database, placeholders } from "./transaction.ts";

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
        await database.change(
          `INSERT INTO signing_key (kid, key_use, alg, generation, public_jwk, sealed_private_jwk, created_at, active_from, distrusted_at)
           VALUES ${placeholders(9)}`,
          [
            key.kid,
            key.use,
            key.alg,
            key.generation,
            key.publicJwk,
            key.sealedPrivateJwk,
            key.createdAt,
            key.activeFrom,
            key.distrustedAt,
          ],
        );
        return "added";
      } catch (error) {
        if (isUniqueViolation(error)) return "conflict";
        throw error;
      }
    },
    async distrust(kid, now) {
      return database.transaction(
        async (sql) => {
          const changed = await sql.change(
            "UPDATE signing_key SET distrusted_at = ? WHERE kid = ? AND distrusted_at IS NULL",
            [now, kid],
          );
          if (changed === 1) await feed.append(sql, "key", [kid], "key_distrusted", now);
          return changed === 1;
        },
        { repeatable: true },
      );
    },
    async remove(kids) {
      if (kids.length === 0) return;
      await database.change(`DELETE FROM signing_key WHERE kid IN ${placeholders(kids.length)}`, kids);
    },
  };
}
