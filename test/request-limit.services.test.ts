import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startReplicas, type TestApp } from "./support/app.ts";
import { startLoggingMariaDb } from "./support/statements.ts";

const perMinute = 300;

describe("the requests of one network at two replicas on MariaDB", () => {
  let database: Awaited<ReturnType<typeof startLoggingMariaDb>>;
  let replicas: TestApp[];
  beforeAll(async () => {
    database = await startLoggingMariaDb();
    const url = await database.createDatabase();
    replicas = await startReplicas(2, { DATABASE_URL: url, RATE_LIMIT_PER_MINUTE: String(perMinute) });
  });
  afterAll(async () => {
    for (const replica of replicas ?? []) await replica.close();
    await database?.stop();
  });

  /** @returns how many were let through */
  const ask = async (replica: number, count: number): Promise<number> => {
    let through = 0;
    for (let n = 0; n < count; n++) {
      const answer = await fetch(`${replicas[replica]?.url}/login`);
      await answer.arrayBuffer();
      if (answer.status === 200) through++;
    }
    return through;
  };

  it("C-86 cost a few statements a second, and none once the limit is reached", async () => {
    for (const replica of replicas) {
      // the minute does not end
      const now = replica.clock.now();
      replica.clock.now = () => now;
    }
    let through = 0;
    const from = performance.now();
    const units = await database.unitsOf(async () => {
      through = await ask(0, perMinute * 2);
    });
    const seconds = (performance.now() - from) / 1_000;
    expect(through).toBe(perMinute);
    const ofLimit = units.flat().filter((sql) => sql.includes("rate_limit"));
    expect(ofLimit.length).toBeGreaterThan(0);
    // at most four for each of three or four times a second
    expect(ofLimit.length).toBeLessThanOrEqual(4 * (1 + Math.ceil(seconds / 0.3)));
    const toldWhileRefusing = async () => {
      const refused = await database.unitsOf(() => ask(0, 200));
      return refused.flat().filter((sql) => sql.includes("rate_limit"));
    };
    // the last share of those let through may still be on its way
    for (let tries = 0; tries < 20 && (await toldWhileRefusing()).length > 0; tries++);
    expect(await toldWhileRefusing()).toEqual([]);
    // the other replica learns of it with the first share that it tells
    expect(await ask(1, perMinute)).toBeLessThan(perMinute / 2);
  });
});
