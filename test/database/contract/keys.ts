import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Store } from "../../../src/store/store.ts";
import { NOW, type OpenedStore, times } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function keysContract(opened: () => OpenedStore): void {
  describe("keys", () => {
    let store: Store;
    beforeAll(() => {
      ({ store } = opened());
    });

    it("makes each generation once", async () => {
      const key = (kid: string) =>
        ({
          kid,
          use: "access",
          alg: "ES256",
          generation: 1,
          publicJwk: "{}",
          sealedPrivateJwk: "s",
          createdAt: NOW,
          activeFrom: NOW,
          distrustedAt: null,
        }) as const;
      const results = await times(10, (n) => store.keys.add(key(`k${n}`)));
      expect(results.filter((result) => result === "added")).toHaveLength(1);
      const kid = `k${results.indexOf("added")}`;
      expect(await store.keys.list()).toEqual([key(kid)]);
      await store.keys.remove([kid]);
      expect(await store.keys.list()).toEqual([]);
    });
  });
}
