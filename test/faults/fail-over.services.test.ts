import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startReplicas, type TestApp } from "../support/app.ts";
import { getTokens, introspect, patiently, postJson, refresh, signUp, uniqueEmail } from "../support/flow.ts";
import { execute, type MariaDb, startMariaDb } from "../support/mariadb.ts";

const account = { user: "service", password: "of-the-service" };

/** Two servers of which one replicates the other, and a replica of the service that knows both. */
describe("F-21 with two database servers in DATABASE_URL", () => {
  let first: MariaDb;
  let second: MariaDb;
  let app: TestApp;
  beforeAll(async () => {
    const options = (id: number) => [`--server-id=${id}`, "--log-bin=bin", "--log-slave-updates=1"];
    [first, second] = await Promise.all([startMariaDb(options(1)), startMariaDb(options(2))]);
    await execute(second.url, "RESET MASTER", "SET GLOBAL read_only = 1");
    await execute(
      first.url,
      "RESET MASTER",
      "CREATE DATABASE auth",
      `CREATE USER '${account.user}'@'%' IDENTIFIED BY '${account.password}'`,
      `GRANT ALL ON auth.* TO '${account.user}'@'%'`,
    );
    await follow(second, first);
    await caughtUp(second, first);
    const hosts = [first, second].map(({ port }) => `127.0.0.1:${port}`).join(",");
    const [started] = await startReplicas(1, {
      DATABASE_URL: `mysql://${account.user}:${account.password}@${hosts}/auth`,
    });
    if (started === undefined) throw new Error("no replica");
    app = started;
  });
  afterAll(async () => {
    await app?.close();
    await Promise.all([first?.stop(), second?.stop()]);
  });

  it("a primary that becomes read-only: writes go to the one that was promoted, none is acknowledged by the old one", async () => {
    const user = await signUp(app.url);
    const tokens = await getTokens(app.url, user);
    await execute(first.url, "SET GLOBAL read_only = 1");
    await caughtUp(second, first);
    await promote(second);
    await moved(second);
    const refreshed = await patiently(() => refresh(app.url, tokens.refresh_token));
    expect(refreshed.status).toBe(200);
    const { access_token } = (await refreshed.json()) as { access_token: string };
    expect(await introspect(app.url, access_token)).toMatchObject({ active: true });
    expect(await usersOn(second)).toBeGreaterThan(await usersOn(first));
  });

  it("a primary that dies: another one is found, nobody is signed out, and what was refused meanwhile says when to try again", async () => {
    await follow(first, second);
    const user = await signUp(app.url);
    const tokens = await getTokens(app.url, user);
    await caughtUp(first, second);
    if (second.pid === null) throw new Error("the server is not ours to kill");
    process.kill(second.pid, "SIGKILL");
    const meanwhile = await Promise.all(Array.from({ length: 5 }, () => refresh(app.url, tokens.refresh_token)));
    for (const answer of meanwhile) {
      expect([answer.status, Number(answer.headers.get("retry-after"))]).toEqual([503, expect.any(Number)]);
    }
    await promote(first);
    await moved(first);
    const refreshed = await patiently(() => refresh(app.url, tokens.refresh_token));
    expect(refreshed.status).toBe(200);
    expect(await introspect(app.url, tokens.access_token)).toMatchObject({ active: true });
  });

  /** Signs up until a row is on that server, as a client that takes 503 for "not now". */
  async function moved(server: MariaDb): Promise<void> {
    const before = await usersOn(server);
    for (;;) {
      const body = { email: uniqueEmail(), password: "correct horse battery", nickname: "n" };
      const { status, headers } = await postJson(`${app.url}/api/users/signup`, body);
      if (status < 300) break;
      expect([status, headers.has("retry-after")]).toEqual([503, true]);
      await sleep(100);
    }
    expect(await usersOn(server)).toBeGreaterThan(before);
  }
});

async function follow(replica: MariaDb, primary: MariaDb): Promise<void> {
  const { username, password } = new URL(primary.url);
  await execute(
    replica.url,
    `CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = ${primary.port}, MASTER_USER = '${username}', ` +
      `MASTER_PASSWORD = '${password}', MASTER_USE_GTID = current_pos`,
    "START SLAVE",
  );
}

async function caughtUp(replica: MariaDb, primary: MariaDb): Promise<void> {
  const [[row]] = (await execute(primary.url, "SELECT @@gtid_binlog_pos AS position")) as [{ position: string }[]];
  const [[waited]] = (await execute(replica.url, `SELECT MASTER_GTID_WAIT('${row?.position}', 60) AS late`)) as [
    { late: number }[],
  ];
  expect(waited?.late).toBe(0);
}

async function promote(server: MariaDb): Promise<void> {
  await execute(server.url, "STOP SLAVE", "SET GLOBAL read_only = 0");
}

async function usersOn(server: MariaDb): Promise<number> {
  const [[row]] = (await execute(server.url, "SELECT COUNT(*) AS count FROM auth.users")) as [{ count: number }[]];
  return Number(row?.count);
}
