import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Store } from "../../../src/store/store.ts";
import { NOW, type OpenedStore, times } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function limitsContract(opened: () => OpenedStore): void {
  describe("limits", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

    it("counts exactly 10 of 50 uses at once, in the next window too", async () => {
      for (const now of [NOW, NOW + 1000]) {
        const results = await times(50, () => store.limits.take("key", 10, 1000, now));
        expect(results.filter((result) => result === null)).toHaveLength(10);
        expect(new Set(results.filter((result) => result !== null))).toEqual(new Set([now + 1000]));
      }
      await store.limits.giveBack("key");
      expect(await store.limits.take("key", 10, 1000, NOW + 1000)).toBeNull();
      expect(await store.limits.take("key", 10, 1000, NOW + 1000)).toBe(NOW + 2000);
      await store.limits.clear("key");
      expect(await store.limits.take("key", 10, 1000, NOW + 1000)).toBeNull();
    });

    it("F-31 counts in one window what callers take whose clocks differ a little", async () => {
      const ahead = await times(5, () => store.limits.take("skewed", 10, 1000, NOW + 800));
      const behind = await times(15, () => store.limits.take("skewed", 10, 1000, NOW));
      expect([...ahead, ...behind].filter((result) => result === null)).toHaveLength(10);
    });

    it("F-31 begins a new window where the clock was set back to before the one that is counted", async () => {
      const { limits } = store;
      const earlier = NOW - 600_000;
      await times(10, () => limits.take("set back", 10, 1000, NOW));
      await limits.add("added, set back", 50, 1000, NOW);
      const look = { key: "set back", limit: 10, windowMs: 1000, now: earlier };
      expect((await store.users.findToCheck({ uuid: randomUUID() }, look)).usedUpUntil).toBeNull();
      expect(await limits.take("set back", 10, 1000, earlier)).toBeNull();
      expect(await limits.add("added, set back", 2, 1000, earlier)).toEqual({ used: 2, endsAt: earlier + 1000 });
      const results = await times(20, () => limits.take("set back", 10, 1000, earlier));
      expect(results.filter((result) => result === null)).toHaveLength(9);
    });

    it("C-86 adds uses of many callers at once, and tells what all counted, until the window ends", async () => {
      const { limits } = store;
      for (const now of [NOW, NOW + 1000]) {
        const answers = await times(20, () => limits.add("added", 3, 1000, now));
        expect(Math.max(...answers.map(({ used }) => used))).toBe(60);
        expect(new Set(answers.map(({ endsAt }) => endsAt))).toEqual(new Set([now + 1000]));
      }
    });

    it("tells when uses are used up, and counts nothing by that", async () => {
      const usedUp = async (limit: number, now: number) =>
        (await store.users.findToCheck({ uuid: randomUUID() }, { key: "asked", limit, windowMs: 1000, now }))
          .usedUpUntil;
      expect(await usedUp(2, NOW)).toBeNull();
      await times(2, () => store.limits.take("asked", 2, 1000, NOW));
      expect([await usedUp(3, NOW), await usedUp(2, NOW)]).toEqual([null, NOW + 1000]);
      expect(await usedUp(2, NOW + 1000)).toBeNull();
    });

    it("counts uses of what was opened alone, exactly 3 of 20 at once, until its window ends", async () => {
      const { limits } = store;
      const taken = async (now: number) =>
        (await times(20, () => limits.takeOpened("opened", 3, now))).filter((counted) => counted).length;
      expect(await taken(NOW)).toBe(0);
      await times(5, () => limits.open("opened", 1000, NOW));
      expect([await taken(NOW + 999), await taken(NOW + 999)]).toEqual([3, 0]);
      await limits.giveBack("opened");
      expect(await taken(NOW + 999)).toBe(1);
      await limits.open("opened", 1000, NOW + 500);
      expect([await taken(NOW + 1499), await taken(NOW + 1500)]).toEqual([3, 0]);
    });
  });
}
