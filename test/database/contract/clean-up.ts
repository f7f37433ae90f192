import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Database } from "../../../src/database/transaction.ts";
import type { Store } from "../../../src/store/store.ts";
import { busyUser, DAY, NOW, type OpenedStore } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function cleanUpContract(opened: () => OpenedStore): void {
  describe("clean-up", () => {
    let database: Database;
    let store: Store;
    beforeAll(() => {
      ({ database, store } = opened());
    });

    it("deletes what is over in batches and keeps what may still be asked for", async () => {
      const { session, sid, code } = await busyUser(store);
      await store.authorizations.revokeAccessToken("kept", NOW + 400 * DAY, NOW);
      const count = async (table: string) =>
        Number((await database.rows<{ n: number }>(`SELECT COUNT(*) AS n FROM ${table}`))[0]?.n);
      await store.cleanUp(NOW + 7_200_000, 1000);
      expect(await store.authorizations.findCode(code.codeHash)).not.toBeNull();
      expect(await store.authorizations.find(sid)).not.toBeNull();
      expect(await store.sessions.find(session.idHash, NOW)).not.toBeNull();
      const sessions = await count("browser_session");
      await store.cleanUp(NOW + 60 * DAY, 2);
      expect(await count("browser_session")).toBe(sessions - 2);
      for (let n = 0; (await store.cleanUp(NOW + 60 * DAY, 100)) > 0; n++) expect(n).toBeLessThan(100);
      for (const table of ["oauth2_authorization", "oauth2_authorization_code", "browser_session", "rate_limit"]) {
        expect([table, await count(table)]).toEqual([table, 0]);
      }
      const feed = await store.revocations.after(0, 10_000, NOW);
      expect(feed.map(({ value }) => value)).toContain("kept");
      expect((await store.outbox.stats()).pending).toBeGreaterThan(0);
    });

    it("keeps a revoked authorization for a day, though its refresh token would have lived for longer", async () => {
      const [ended, other] = [await busyUser(store), await busyUser(store)];
      const livesFor = 20 * DAY;
      for (const { sid } of [ended, other]) {
        await database.change("UPDATE oauth2_authorization SET expires_at = ? WHERE id = ?", [NOW + livesFor, sid]);
      }
      await store.authorizations.revoke(ended.sid, "logout", NOW);
      const left = async (after: number) => {
        while ((await store.cleanUp(NOW + after, 100)) > 0);
        return Promise.all([ended, other].map(async ({ sid }) => (await store.authorizations.find(sid)) !== null));
      };
      expect(await left(DAY - 1)).toEqual([true, true]);
      expect(await left(2 * DAY)).toEqual([false, true]);
      // one that ends sooner than that keeps its end
      await database.change("UPDATE oauth2_authorization SET expires_at = ? WHERE id = ?", [NOW + 1_000, other.sid]);
      await store.authorizations.revoke(other.sid, "logout", NOW);
      expect((await store.authorizations.find(other.sid))?.expiresAt).toBe(NOW + 1_000);
    });

    it("deletes the rest where one table cannot be cleared, and says what is wrong with that", async () => {
      const { session } = await busyUser(store);
      await database.change("ALTER TABLE used_once RENAME TO used_once_away");
      try {
        const broken = new Map<string, unknown>();
        while ((await store.cleanUp(NOW + 60 * DAY, 1000, broken)) > 0);
        expect(await store.sessions.find(session.idHash, NOW)).toBeNull();
        expect([...broken.keys()]).toEqual(["used_once"]);
        await expect(store.cleanUp(NOW + 60 * DAY, 1000)).rejects.toThrow();
      } finally {
        await database.change("ALTER TABLE used_once_away RENAME TO used_once");
      }
    });
  });
}
