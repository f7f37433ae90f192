import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { Clock } from "../../src/clock.ts";
import { openStore } from "../../src/database/open-store.ts";
import { type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { freeze } from "../support/process.ts";
import { NOW, sealer, signUp } from "./contract/fixtures.ts";
import { describeStore } from "./store-contract.ts";

const log = { warn: () => undefined };
let server: MariaDb;
beforeAll(async () => {
  server = await startMariaDb();
});
afterAll(() => server?.stop());

describeStore("the store on MariaDB", () => server.createDatabase());

describe("a MariaDB that fails", () => {
  const ours = (process.env["TEST_DATABASE_URL"] ?? "") === "" ? it : it.skip;

  ours("is unavailable in bounded time while frozen, for every kind of call, and serves again by itself", async () => {
    const { pid } = server;
    if (pid === null) throw new Error("the server runs in a container, which cannot be frozen here");
    const store = await openStore({ url: await server.createDatabase(), sealer, clock: new Clock(), log });
    const user = await signUp(store);
    const calls = () => [
      store.time(),
      store.users.find(user.uuid),
      store.users.setDisabled(user.uuid, false, NOW),
      store.limits.take("frozen", 10, 1000, NOW),
      ...Array.from({ length: 30 }, () => store.users.findByEmail(user.email)),
    ];
    await served(calls);
    await freeze(pid);
    try {
      const start = performance.now();
      const results = await Promise.allSettled(calls());
      expect(performance.now() - start).toBeLessThan(20_000);
      for (const result of results) {
        expect(result).toMatchObject({ status: "rejected", reason: { code: "unavailable" } });
      }
      const opening = openStore({ url: await frozenUrl(server), sealer, clock: new Clock(), log });
      await expect(opening).rejects.toMatchObject({ code: "unavailable" });
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await served(calls);
    await store.close();
  });

  it("is unavailable at once where no server listens", async () => {
    const url = "mysql://a:b@127.0.0.1:1/auth";
    const start = performance.now();
    const opening = openStore({ url, sealer, clock: new Clock(), log });
    await expect(opening).rejects.toMatchObject({ code: "unavailable" });
    expect(performance.now() - start).toBeLessThan(7_000);
  });
});

/** Calls as a client does whom a busy machine tells to try again: until all are answered, for a minute at most. */
async function served(calls: () => Promise<unknown>[]): Promise<void> {
  const endsAt = performance.now() + 60_000;
  for (;;) {
    const results = await Promise.allSettled(calls());
    const refused = results.find((result) => result.status === "rejected");
    if (refused === undefined) return;
    const { code } = refused.reason as { code?: string };
    if (code !== "unavailable" || performance.now() > endsAt) throw refused.reason;
  }
}

/** No database is needed to find that the server does not answer. */
async function frozenUrl({ url }: MariaDb): Promise<string> {
  return `${url}auth`;
}
