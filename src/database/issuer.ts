import type { IssuerStore } from "../store/issuer.ts";
import { insertIfAbsent } from "./authorization-records.ts";
import type { Database } from "./transaction.ts";

/** The table has one row. */
const id = 1;

export function issuerStore(database: Database): IssuerStore {
  return {
    async find() {
      const [row] = await database.rows<{ url: string }>("SELECT url FROM issuer WHERE id = ?", [id]);
      return row?.url ?? null;
    },
    async replace(from, to, now) {
      if (from !== null) {
        const sql = "UPDATE issuer SET url = ?, since = ? WHERE id = ? AND url = ?";
        return (await database.change(sql, [to, now, id, from])) === 1;
      }
      return insertIfAbsent(database, "issuer", { id, url: to, since: now });
    },
  };
}
