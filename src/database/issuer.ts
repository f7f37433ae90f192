import type { IssuerStore } from "../store/issuer.ts";
import { insertIfAbsent } from "./authorization-records.ts";
import type { Database } from "./transaction.ts";

/** The table has one row. */
const id = 1;

export function issuerStore(database: Database): IssuerStore {
  return {
    async find() {
      const sql = "SELECT url, rp_id FROM issuer WHERE id = ?";
      const [row] = await database.rows<{ url: string; rp_id: string | null }>(sql, [id]);
      return row === undefined ? null : { url: row.url, rpId: row.rp_id };
    },
    async replace(from, to, now) {
      if (from !== null) {
        const sql = "UPDATE issuer SET url = ?, since = ? WHERE id = ? AND url = ?";
        return (await database.change(sql, [to, now, id, from])) === 1;
      }
      return insertIfAbsent(database, "issuer", { id, url: to, since: now });
    },
    async replaceRpId(from, to) {
      const [which, values] = from === null ? ["rp_id IS NULL", []] : ["rp_id = ?", [from]];
      return (
        (await database.change(`UPDATE issuer SET rp_id = ? WHERE id = ? AND ${which}`, [to, id, ...values])) === 1
      );
    },
  };
}
