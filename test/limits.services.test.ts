import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { startReplicas, type TestApp } from "./support/app.ts";
import { type Account, authorizeUrl, postJson, signUp, TestBrowser } from "./support/flow.ts";
import { type MariaDb, startMariaDb } from "./support/mariadb.ts";
import { resetEvents, until } from "./support/resets.ts";

let database: MariaDb;
let replicas: TestApp[];
beforeAll(async () => {
  database = await startMariaDb();
  replicas = await startReplicas(2, { DATABASE_URL: await database.createDatabase() });
});
afterAll(async () => {
  await Promise.all(replicas.map((replica) => replica.close()));
  await database.stop();
});

async function logIn({ url }: TestApp, { email, password }: Account): Promise<number> {
  const browser = new TestBrowser();
  const next = (await browser.get(authorizeUrl(url))).headers.get("location") ?? "";
  return (await browser.submit(new URL(next, url).href, { email, password })).status;
}

it("S-049 a reset on one replica lets the account in again on the other, which had seen its attempts used up", async () => {
  const [a, b] = replicas as [TestApp, TestApp];
  const account = await signUp(a.url);
  const wrong = { ...account, password: "not the password at all" };
  for (let tries = 0; tries < 10; tries++) expect(await logIn(a, wrong)).toBe(401);
  expect(await logIn(a, account)).toBe(429);
  const { email } = account;
  expect((await postJson(`${b.url}/api/users/password-reset`, { email })).status).toBe(202);
  const event = await until(() => replicas.flatMap((replica) => resetEvents(replica, email))[0]);
  const password = "a new password, and a long one";
  const reset = { token: event.payload["resetToken"], newPassword: password };
  expect((await postJson(`${b.url}/api/users/password-reset/confirm`, reset)).status).toBe(204);
  // what was found used up is remembered for a second
  await sleep(1_100);
  expect(await logIn(a, { ...account, password })).toBe(303);
});
