import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Store } from "../../../src/store/store.ts";
import type { OpenedStore } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function clockContract(opened: () => OpenedStore): void {
  describe("clock", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

    it("tells the database's time", async () => {
      expect(Math.abs((await store.time()) - Date.now())).toBeLessThan(10_000);
    });
  });
}
