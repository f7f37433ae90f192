import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startReplicas, type TestApp } from "../../support/app.ts";
import {
  hiddenFields,
  PatientCalls,
  patiently,
  pkce,
  portal,
  postForm,
  redeem,
  signUp,
  TestBrowser,
} from "../../support/flow.ts";
import { type MariaDb, startMariaDb } from "../../support/mariadb.ts";

describe("pushed authorization requests on two replicas", () => {
  let database: MariaDb;
  let apps: TestApp[] = [];
  beforeAll(async () => {
    database = await startMariaDb();
    apps = await startReplicas(2, { DATABASE_URL: await database.createDatabase() });
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    await database.stop();
  });

  const base = (n: number) => apps[n % 2]?.url ?? "";
  async function push(challenge: string): Promise<string> {
    const form = {
      response_type: "code",
      client_id: portal.clientId,
      redirect_uri: portal.redirectUri,
      scope: "openid",
      code_challenge: challenge,
      code_challenge_method: "S256",
    };
    const response = await patiently(() => postForm(`${base(0)}/oauth2/par`, form));
    const { request_uri } = (await response.json()) as { request_uri: string };
    return new URLSearchParams({ client_id: portal.clientId, request_uri }).toString();
  }

  it("S-141 pushed to one replica, opened at the other, redeemed at the first", async () => {
    const { email, password } = await signUp(base(0));
    const { verifier, challenge } = pkce();
    const query = await push(challenge);
    const browser = new TestBrowser();
    const step = await browser.get(`${base(1)}/oauth2/authorize?${query}`);
    const page = await browser.get(new URL(step.headers.get("location") ?? "", base(0)).href);
    const fields = { ...hiddenFields(await page.text()), email, password };
    const answer = await browser.post(`${base(1)}/login`, fields);
    const code = new URL(answer.headers.get("location") ?? "").searchParams.get("code") ?? "";
    expect((await redeem(base(0), code, verifier)).status).toBe(200);
    for (const n of [0, 1]) expect((await browser.get(`${base(n)}/oauth2/authorize?${query}`)).status).toBe(400);
  });

  it("S-141 gives one code to fifty openings at once by a signed-in browser", async () => {
    const { email, password } = await signUp(base(0));
    const browser = new TestBrowser();
    const first = await browser.get(`${base(0)}/oauth2/authorize?${await push(pkce().challenge)}`);
    await browser.submit(new URL(first.headers.get("location") ?? "", base(0)).href, { email, password });
    for (let round = 0; round < 4; round++) {
      const query = await push(pkce().challenge);
      const calls = new PatientCalls();
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, n) => calls.ask(() => browser.get(`${base(n)}/oauth2/authorize?${query}`))),
      );
      const told = Map.groupBy(answers, ({ status, headers }) => {
        const location = headers.get("location");
        if (location === null) return String(status);
        const { pathname, searchParams } = new URL(location, base(0));
        return searchParams.has("code") ? "code" : (searchParams.get("error") ?? pathname);
      });
      const counts = Object.fromEntries([...told].map(([what, { length }]) => [what, length]));
      // who was told to come again may have won before
      const mayBeLost = calls.busy > 0 && counts["code"] === undefined;
      expect(counts).toEqual(mayBeLost ? { "400": 50 } : { "400": 49, code: 1 });
    }
  });
});
