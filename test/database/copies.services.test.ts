import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp } from "../support/app.ts";
import { patiently, postJson, uniqueEmail } from "../support/flow.ts";
import { execute, type MariaDb, startMariaDb } from "../support/mariadb.ts";

const account = { user: "service", password: "of-the-service" };

describe("DATABASE_URL with servers that are not copies of one another", () => {
  let servers: MariaDb[] = [];
  beforeAll(async () => {
    // options, so that the servers are private ones
    servers = await Promise.all([1, 2, 3].map((id) => startMariaDb([`--server-id=${id}`])));
    for (const { url } of servers) {
      await execute(
        url,
        "CREATE DATABASE auth",
        `CREATE USER '${account.user}'@'%' IDENTIFIED BY '${account.password}'`,
        `GRANT ALL ON auth.* TO '${account.user}'@'%'`,
      );
    }
    for (const server of servers.slice(0, 2)) {
      await (await startApp({ DATABASE_URL: urlOf(server) })).close();
      // not of this minute, in which a replica may still be empty
      await execute(server.url, "UPDATE auth.signing_key SET created_at = created_at - 3600000");
    }
  });
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.stop()));
  });

  function urlOf(...named: (MariaDb | undefined)[]): string {
    const hosts = named.map((server) => `127.0.0.1:${server?.port}`).join(",");
    return `mysql://${account.user}:${account.password}@${hosts}/auth`;
  }

  it("refuses to start on two installations, and names the host", async () => {
    const [first, second] = servers;
    await expect(startApp({ DATABASE_URL: urlOf(first, second) })).rejects.toThrow(
      `DATABASE_URL: 127.0.0.1:${second?.port} and 127.0.0.1:${first?.port} hold different data`,
    );
  });

  it("refuses to start on an empty server and one with data, and changes nothing on the empty one", async () => {
    const [first, , empty] = servers;
    for (const named of [
      [first, empty],
      [empty, first],
    ]) {
      await expect(startApp({ DATABASE_URL: urlOf(...named) })).rejects.toThrow("no signing key in common");
    }
    expect(await execute(empty?.url ?? "", "SHOW TABLES FROM auth")).toEqual([[]]);
  });

  it("starts where the other server does not answer, and never moves to it if it turns out to hold other data", async () => {
    const [first, second] = servers;
    if (first === undefined || second === undefined) throw new Error("no servers");
    await second.kill();
    const app = await startApp({ DATABASE_URL: urlOf(first, second) });
    expect((await fetch(`${app.internalUrl}/readyz`)).status).toBe(200);
    await second.restart();
    await first.kill();
    while (!app.logs.some((line) => line.includes("holds different data"))) await sleep(50);
    const body = { email: uniqueEmail(), password: "correct horse battery", nickname: "n" };
    const refused = await postJson(`${app.url}/api/users/signup`, body);
    expect([refused.status, refused.headers.has("retry-after")]).toEqual([503, true]);
    await first.restart();
    expect((await patiently(() => postJson(`${app.url}/api/users/signup`, body))).status).toBe(201);
    expect(await execute(second.url, "SELECT COUNT(*) AS count FROM auth.users")).toEqual([[{ count: 0 }]]);
    expect(app.logs.filter((line) => line.includes("holds different data"))).toHaveLength(1);
    await app.close();
  });

  it("never moves to an empty server, which it may start beside in the first minute of an installation", async () => {
    const [first, , empty] = servers;
    if (first === undefined || empty === undefined) throw new Error("no servers");
    await execute(first.url, `UPDATE auth.signing_key SET created_at = ${Date.now()}`);
    const app = await startApp({ DATABASE_URL: urlOf(first, empty) });
    await first.kill();
    while (!app.logs.some((line) => /holds different data|moved to another/.test(line))) await sleep(50);
    expect(app.logs.filter((line) => line.includes("moved to another"))).toEqual([]);
    await first.restart();
    const body = { email: uniqueEmail(), password: "correct horse battery", nickname: "n" };
    expect((await patiently(() => postJson(`${app.url}/api/users/signup`, body))).status).toBe(201);
    await app.close();
  });
});
