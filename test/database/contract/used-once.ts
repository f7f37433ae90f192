import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Store } from "../../../src/store/store.ts";
import { hash, NOW, type OpenedStore, times } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function usedOnceContract(opened: () => OpenedStore): void {
  describe("values used once", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

    it("accepts a value from exactly one of 20 callers, and refuses every later use", async () => {
      const value = hash();
      const answers = await times(20, () => store.usedOnce.use(value, NOW + 1000));
      expect(answers.filter((accepted) => accepted)).toHaveLength(1);
      expect(await store.usedOnce.use(value, NOW + 5000)).toBe(false);
      expect(await store.usedOnce.use(hash(), NOW + 1000)).toBe(true);
    });

    it("keeps a value until it expires, and forgets it afterwards", async () => {
      const value = hash();
      await store.usedOnce.use(value, NOW + 1000);
      await store.cleanUp(NOW + 999, 1000);
      expect(await store.usedOnce.use(value, NOW + 1000)).toBe(false);
      await store.cleanUp(NOW + 1001, 1000);
      expect(await store.usedOnce.use(value, NOW + 2000)).toBe(true);
    });
  });
}
