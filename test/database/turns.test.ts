import { expect, it } from "@jest/globals";
import { Turns } from "../../src/database/turns.ts";

it("says how many wait, and what all waited so far", async () => {
  const turns = new Turns(1, 1);
  const give = await turns.take(1_000);
  expect(turns.load).toEqual({ waiting: 0, calls: 1, waitedMs: 0 });
  const next = turns.take(1_000);
  expect(turns.load.waiting).toBe(1);
  await expect(turns.take(1_000)).rejects.toMatchObject({ code: "POOL_QUEUE_FULL" });
  await new Promise((done) => setTimeout(done, 5));
  give();
  (await next)();
  expect(turns.load).toEqual({ waiting: 0, calls: 2, waitedMs: expect.any(Number) });
  expect(turns.load.waitedMs).toBeGreaterThan(0);
});

it("a waiter that is late gives up its place", async () => {
  const turns = new Turns(1, 5);
  const give = await turns.take(1_000);
  await expect(turns.take(1)).rejects.toMatchObject({ code: "POOL_TIMEOUT" });
  expect(turns.load.waiting).toBe(0);
  give();
  (await turns.take(1_000))();
});
