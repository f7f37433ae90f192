import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Store } from "../../../src/store/store.ts";
import { NOW, type OpenedStore, times } from "./fixtures.ts";

/** Whose store it is. */
export function issuerContract(opened: () => OpenedStore): void {
  describe("issuer", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

    it("is what one of 20 said first, and changes only from what it was", async () => {
      const { issuer } = store;
      expect(await issuer.find()).toBeNull();
      const first = await times(20, (n) => issuer.replace(null, `https://first-${n}.example`, NOW));
      expect(first.filter(Boolean)).toHaveLength(1);
      const url = await issuer.find();
      expect(url).toBe(`https://first-${first.indexOf(true)}.example`);
      expect(await issuer.replace("https://other.example", "https://next.example", NOW)).toBe(false);
      const next = await times(20, (n) => issuer.replace(url, `https://next-${n}.example`, NOW));
      expect(next.filter(Boolean)).toHaveLength(1);
      expect(await issuer.find()).toBe(`https://next-${next.indexOf(true)}.example`);
    });
  });
}
