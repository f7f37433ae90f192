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
      const url = (await issuer.find())?.url ?? null;
      expect(url).toBe(`https://first-${first.indexOf(true)}.example`);
      expect(await issuer.replace("https://other.example", "https://next.example", NOW)).toBe(false);
      const next = await times(20, (n) => issuer.replace(url, `https://next-${n}.example`, NOW));
      expect(next.filter(Boolean)).toHaveLength(1);
      expect((await issuer.find())?.url).toBe(`https://next-${next.indexOf(true)}.example`);
    });

    it("has its passkeys for what one of 20 said first, and changes that only from what it was", async () => {
      const { issuer } = store;
      const rpId = async () => (await issuer.find())?.rpId;
      expect(await rpId()).toBeNull();
      const first = await times(20, (n) => issuer.replaceRpId(null, `first-${n}.example`));
      expect(first.filter(Boolean)).toHaveLength(1);
      const known = `first-${first.indexOf(true)}.example`;
      expect(await rpId()).toBe(known);
      expect(await issuer.replaceRpId("other.example", "next.example")).toBe(false);
      expect(await issuer.replaceRpId(known, null)).toBe(true);
      expect(await rpId()).toBeNull();
    });
  });
}
