import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "@jest/globals";
import type { Database } from "../../../src/database/transaction.ts";
import type { Store } from "../../../src/store/store.ts";
import { type OpenedStore, times } from "./fixtures.ts";

/** @param opened gives the store once the tests run */
export function leasesContract(opened: () => OpenedStore): void {
  describe("leases", () => {
    let store: Store;
    let database: Database;
    beforeAll(() => {
      ({ store, database } = opened());
    });

    it("gives a lease to one of 20, renews it only for its owner, and counts each take-over", async () => {
      const name = `job-${randomUUID()}`;
      const results = await times(20, (n) => store.leases.acquire(name, `owner-${n}`, 60_000));
      const [lease, ...others] = results.filter((result) => result !== null);
      if (lease === undefined) throw new Error("no caller got it");
      expect(others).toEqual([]);
      expect(await store.leases.renew(lease, 60_000)).toBe(true);
      expect(await store.leases.renew({ ...lease, owner: "other" }, 60_000)).toBe(false);
      expect(await store.leases.holders(name)).toEqual([{ name, owner: lease.owner }]);
      await store.leases.release(lease);
      expect(await store.leases.holders(name)).toEqual([]);
      const next = await store.leases.acquire(name, "next", 20);
      expect(next?.epoch).toBe(lease.epoch + 1);
      expect(await store.leases.renew(lease, 60_000)).toBe(false);
      let third = null;
      while (third === null) {
        await new Promise(setImmediate);
        third = await store.leases.acquire(name, "third", 60_000);
      }
      expect(third.epoch).toBe(lease.epoch + 2);
    });

    it("F-31 gives one that was given back, or whose owner is gone, also after the database's clock was set back", async () => {
      const [givenBack, left, held] = [`given-back-${randomUUID()}`, `left-${randomUUID()}`, `held-${randomUUID()}`];
      const first = await store.leases.acquire(givenBack, "first", 60_000);
      if (first === null) throw new Error("no lease");
      await store.leases.release(first);
      await store.leases.acquire(left, "first", 60_000);
      await store.leases.acquire(held, "first", 60_000);
      // what the rows say when the clock is ten minutes behind
      await database.change("UPDATE lease SET expires_at = expires_at + 600000 WHERE name IN (?, ?)", [
        givenBack,
        left,
      ]);
      expect(await store.leases.holders(givenBack)).toEqual([]);
      expect((await store.leases.acquire(givenBack, "second", 60_000))?.epoch).toBe(2);
      expect((await store.leases.acquire(left, "second", 60_000))?.epoch).toBe(2);
      expect(await store.leases.acquire(held, "second", 60_000)).toBeNull();
    });

    it("renews many leases at once and tells which of them were lost", async () => {
      const owner = `owner-${randomUUID()}`;
      const leases = await times(4, (n) => store.leases.acquire(`lane-${n}-${owner}`, owner, 60_000));
      const held = leases.filter((lease) => lease !== null);
      expect(await store.leases.renewAll(held, 60_000)).toEqual(new Set(held.map(({ name }) => name)));
      const [lost, ...kept] = held;
      if (lost === undefined) throw new Error("no lease was taken");
      expect(await store.leases.renewAll([{ ...lost, epoch: lost.epoch + 1 }, ...kept], 60_000)).toEqual(
        new Set(kept.map(({ name }) => name)),
      );
      expect(await store.leases.renewAll([], 60_000)).toEqual(new Set());
    });
  });
}
