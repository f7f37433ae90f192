import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { Clock } from "../../src/clock.ts";
import { MIGRATIONS } from "../../src/database/data-source.ts";
import { MigrationsWait, migrate, openDatabase } from "../../src/database/migrate.ts";
import { openStore } from "../../src/database/open-store.ts";
import { execute, type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { freeze } from "../support/process.ts";
import { NOW, sealer, signUp } from "./contract/fixtures.ts";
import { describeStore } from "./store-contract.ts";

const log = { warn: () => undefined, error: () => undefined };
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

  it("F-57 is unavailable while the password of its user is being changed, and a start with the wrong one is refused in a sentence", async () => {
    const url = await server.createDatabase();
    const withPassword = (password: string) => {
      const own = new URL(url);
      own.username = "rotated";
      own.password = password;
      return own.href;
    };
    const setPassword = (password: string) =>
      execute(server.url, `ALTER USER 'rotated'@'%' IDENTIFIED BY '${password}'`, "KILL USER rotated");
    await execute(
      server.url,
      "CREATE USER 'rotated'@'%' IDENTIFIED BY 'first'",
      `GRANT ALL ON \`${new URL(url).pathname.slice(1)}\`.* TO 'rotated'@'%'`,
    );
    const open = () => openStore({ url: withPassword("first"), sealer, clock: new Clock(), log });
    const store = await open();
    await setPassword("second");
    const find = () => store.users.find("5b8ee9f1-3d0e-4c6f-8a33-000000000000");
    await expect(find()).rejects.toMatchObject({ code: "unavailable" });
    await expect(open()).rejects.toThrow(/^DATABASE_URL: .* refuses .*Access denied/);
    await setPassword("first");
    await served(() => [find()]);
    await store.close();
  });

  it("C-07 F-54 a migration behind a transaction that stays open lets the others pass, says so, and runs when it has ended", async () => {
    const url = await server.createDatabase();
    const database = await openDatabase({ url });
    await migrate(database);
    const [last = ""] = MIGRATIONS.map((Migration) => new Migration().name).filter((name) => name.startsWith("Epochs"));
    await database.change("ALTER TABLE users DROP COLUMN row_version");
    await database.change("DELETE FROM auth_migrations WHERE name = ?", [last]);
    const backup = await createConnection(url);
    await backup.query("START TRANSACTION");
    await backup.query("SELECT COUNT(*) FROM users");
    let ended: unknown = null;
    void migrate(database).then(
      (names) => {
        ended = names;
      },
      (error: unknown) => {
        ended = error;
      },
    );
    let slowest = 0;
    while (ended === null) {
      const from = performance.now();
      await database.rows("SELECT COUNT(*) AS count FROM users");
      slowest = Math.max(slowest, performance.now() - from);
    }
    expect(ended).toBeInstanceOf(MigrationsWait);
    expect(ended).toMatchObject({ code: "unavailable", retryAfter: 5 });
    // a second of the migration's, and what a busy machine adds
    expect(slowest).toBeLessThan(4_000);
    await backup.query("ROLLBACK");
    backup.destroy();
    expect(await migrate(database)).toEqual([last]);
    await database.close();
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
