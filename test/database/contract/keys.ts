import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Database } from "../../../src/database/transaction.ts";
import type { StoredKey } from "../../../src/store/keys.ts";
import type { Store } from "../../../src/store/store.ts";
import { DAY, losesNextCommit, NOW, type OpenedStore, times } from "./fixtures.ts";

const HOUR = 3_600_000;

/** @param opened gives the store once the tests run */
export function keysContract(opened: () => OpenedStore): void {
  describe("keys", () => {
    let store: Store;
    let database: Database;
    beforeAll(() => {
      ({ store, database } = opened());
    });

    const key = (kid: string, createdAt = NOW): StoredKey => ({
      kid,
      use: "access",
      alg: "ES256",
      generation: 1,
      publicJwk: "{}",
      sealedPrivateJwk: "s",
      createdAt,
      activeFrom: NOW,
      distrustedAt: null,
    });

    it("makes each generation once", async () => {
      const results = await times(10, (n) => store.keys.add(key(`k${n}`)));
      expect(results.filter((result) => result === "added")).toHaveLength(1);
      const kid = `k${results.indexOf("added")}`;
      expect(await store.keys.list()).toEqual([key(kid)]);
      await store.keys.remove([kid]);
      expect(await store.keys.list()).toEqual([]);
    });

    it("distrusts a key once, and says so where the answer to COMMIT was lost", async () => {
      await store.keys.add(key("leaked"));
      losesNextCommit(database);
      expect(await store.keys.distrust("leaked", NOW, { ...key("next"), use: "access" })).toBe(true);
      expect(await store.keys.distrust("leaked", NOW, null)).toBe(false);
      expect((await store.keys.list()).map(({ kid, distrustedAt }) => [kid, distrustedAt])).toEqual([
        ["leaked", NOW],
        ["next", null],
      ]);
      await store.keys.remove(["leaked", "next"]);
    });

    it("knows until when a key set may be kept: as long as anybody said who told it, and no longer once that has passed", async () => {
      expect(await store.keys.keptUntil(NOW)).toBe(NOW);
      await store.keys.declareMaxAge(DAY, NOW);
      await Promise.all([store.keys.declareMaxAge(600_000, NOW), store.keys.declareMaxAge(600_000, NOW)]);
      expect(await store.keys.keptUntil(NOW)).toBe(NOW + DAY);
      // the longer one was declared last two hours before it was told last
      const last = NOW + 2 * HOUR + DAY;
      const later = NOW + DAY;
      await store.keys.declareMaxAge(600_000, later);
      expect(await store.keys.keptUntil(later)).toBe(last);
      await store.keys.declareMaxAge(600_000, last);
      expect(await store.keys.keptUntil(last)).toBe(last + 600_000);
      await database.change("DELETE FROM lease");
    });

    it("takes it that a release that declares nothing told the longest max-age, and may be running still", async () => {
      await store.keys.add(key("of a first start", NOW));
      expect(await store.keys.keptUntil(NOW)).toBe(NOW);
      await store.keys.remove(["of a first start"]);
      await store.keys.add(key("old", NOW - DAY));
      expect(await store.keys.keptUntil(NOW)).toBe(NOW + DAY);
      await store.keys.declareMaxAge(600_000, NOW);
      expect(await store.keys.keptUntil(NOW)).toBe(NOW + DAY);
      const last = NOW + 2 * HOUR + DAY;
      await store.keys.declareMaxAge(600_000, last);
      expect(await store.keys.keptUntil(last)).toBe(last + 600_000);
      await store.keys.remove(["old"]);
      await database.change("DELETE FROM lease");
    });

    it("lets a key sign later than was said, never earlier", async () => {
      await store.keys.add(key("k"));
      await store.keys.postpone("k", NOW + 5);
      await store.keys.postpone("k", NOW + 3);
      expect(await store.keys.list()).toEqual([{ ...key("k"), activeFrom: NOW + 5 }]);
      await store.keys.remove(["k"]);
    });
  });
}
