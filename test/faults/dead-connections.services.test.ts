import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { getTokens, refresh, signUp } from "../support/flow.ts";
import { type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { TcpRelay } from "./harness/tcp-relay.ts";

/** Longer than the service trusts an unused connection. */
const idleMs = 1_500;

/** The network between the service and its database drops packets: no connection is closed, nothing is answered. */
describe("connections to the database that die without a word", () => {
  let database: MariaDb;
  let relays: [TcpRelay, TcpRelay];
  const apps: TestApp[] = [];
  beforeAll(async () => {
    database = await startMariaDb();
    const target = { host: "127.0.0.1", port: database.port };
    relays = [await TcpRelay.start(target), await TcpRelay.start(target)];
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    for (const relay of relays ?? []) await relay.close();
    await database?.stop();
  });

  /** A service that reaches one database by these ways. */
  async function startBehind(ways: readonly TcpRelay[], env: Record<string, string> = {}): Promise<TestApp> {
    const { host, href } = new URL(await database.createDatabase());
    const hosts = ways.map(({ port }) => `127.0.0.1:${port}`).join(",");
    const app = await startApp({ DATABASE_URL: href.replace(host, hosts), ...env });
    apps.push(app);
    return app;
  }

  it("two hosts, the one in use goes silent: the other one answers within about 2 s", async () => {
    const app = await startBehind(relays);
    const { refresh_token } = await getTokens(app.url, await signUp(app.url));
    const took: number[] = [];
    for (let round = 0; round < 5; round++) {
      const [silent] = round % 2 === 0 ? relays : relays.toReversed();
      silent?.freeze();
      const from = performance.now();
      // 503 says "not now": the revocations are older than a second
      while ((await refresh(app.url, refresh_token)).status === 503) await sleep(50);
      took.push(performance.now() - from);
      silent?.heal();
    }
    took.sort((a, b) => a - b);
    // a busy machine adds to some of them; a statement that waits for its deadline takes five seconds each time
    expect(took[0]).toBeLessThan(2_000);
    expect(took[2]).toBeLessThan(4_000);
  });

  it("one host, unused connections went silent: no request waits for one of them until its deadline", async () => {
    const [relay] = relays;
    // the connection that reads the revocations is one that is trusted: how old they are is not what this is about
    const app = await startBehind([relay], { REVOCATION_MAX_STALENESS: "60000" });
    const { refresh_token } = await getTokens(app.url, await signUp(app.url));
    const twelve = () => Promise.all(Array.from({ length: 12 }, () => refresh(app.url, refresh_token)));
    await twelve();
    await sleep(idleMs);
    relay.swallow();
    const answers = await twelve();
    // what other work used a moment before is trusted still
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(8);
  });
});
