import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Database } from "../../../src/database/transaction.ts";
import { rollback } from "../../../src/database/transaction.ts";
import type { Store } from "../../../src/store/store.ts";
import { type OpenedStore, signUp, times } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function transactionsContract(opened: () => OpenedStore): void {
  describe("transactions", () => {
    let database: Database;
    let store: Store;
    beforeAll(() => {
      ({ database, store } = opened());
    });

    it("keeps concurrent transactions and statements apart", async () => {
      const marks = await times(30, async (index) => {
        const name = `apart-${index}-${randomUUID()}`;
        await database
          .transaction(async (sql) => {
            await sql.change("INSERT INTO lease (name, owner, epoch, expires_at) VALUES (?, 'x', 1, 9000000000000)", [
              name,
            ]);
            await new Promise((done) => setTimeout(done, 2));
            if (index % 3 === 0) throw new Error("undone");
            if (index % 3 === 1) rollback(undefined);
          })
          .catch(() => undefined);
        return name;
      });
      const kept = await store.leases.holders("apart-");
      expect(kept.map(({ name }) => name).sort()).toEqual(marks.filter((_, index) => index % 3 === 2).sort());
    });

    it("counts rows found, not rows changed", async () => {
      const user = await signUp(store);
      const same = "UPDATE users SET updated_at = updated_at WHERE uuid = ?";
      expect(await database.change(same, [user.uuid])).toBe(1);
      expect(await database.transaction((sql) => sql.change(same, [user.uuid]))).toBe(1);
    });

    it("lets nothing but scalars into a statement", async () => {
      const sneaky = [{ toSqlString: () => "1" }] as unknown as string[];
      await expect(database.rows("SELECT uuid FROM users WHERE uuid = ?", sneaky)).rejects.toThrow(TypeError);
    });
  });
}
