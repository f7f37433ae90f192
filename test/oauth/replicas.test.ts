import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { Replicas } from "../../src/oauth/replicas.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { authorizeUrl, getTokens, hiddenFields, signUp, TestBrowser } from "../support/flow.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const older = "0d4de7b5-70ef-4f5b-9d5e-6a3e7f4a9f0a";

it("knows replicas of the previous release by their names, and expects them back for ten minutes", () => {
  let now = 0;
  const replicas = new Replicas(() => now);
  const own = [replicas.ownName, new Replicas().ownName];
  replicas.saw(own);
  expect(replicas.hasOlder).toBe(false);
  replicas.saw([...own, older]);
  replicas.saw(own);
  now = 599_000;
  expect(replicas.hasOlder).toBe(true);
  now = 601_000;
  expect(replicas.hasOlder).toBe(false);
});

it("a login that began before a replica of the previous release came up, or ends after it has gone, reaches its application", async () => {
  const account = await signUp(app.url);
  const credentials = { email: account.email, password: account.password };
  const began = new TestBrowser();
  const step = await began.get(authorizeUrl(app.url, { state: "began" }));
  const sealed = hiddenFields(
    await (await began.get(new URL(step.headers.get("location") ?? "", app.url).href)).text(),
  );

  app.context.replicas.saw([older]);
  const done = await began.post(`${app.url}/login`, { ...sealed, ...credentials });
  expect(done.headers.get("location")).toContain("state=began");
  // as the previous release keeps them: with an anonymous session
  const kept = new TestBrowser();
  const stored = await kept.get(authorizeUrl(app.url, { state: "stored" }));
  expect(stored.headers.get("location")).toMatch(/^\/login\?request=[\w-]{22}$/);
  const page = await kept.get(new URL(stored.headers.get("location") ?? "", app.url).href);
  const fields = hiddenFields(await page.text());
  await getTokens(app.url, account);

  // ten minutes later
  Object.defineProperty(app.context.replicas, "hasOlder", { value: false });
  const ended = await kept.post(`${app.url}/login`, { ...fields, ...credentials });
  expect(ended.headers.get("location")).toContain("state=stored");
});
