import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { createInitialAccessToken } from "../../../src/oauth/clients/registration.ts";
import { startReplicas, type TestApp } from "../../support/app.ts";
import {
  type Account,
  hiddenFields,
  PatientCalls,
  patiently,
  postForm,
  postJson,
  signUp,
  TestBrowser,
} from "../../support/flow.ts";
import { type MariaDb, startMariaDb } from "../../support/mariadb.ts";

const grant = "urn:ietf:params:oauth:grant-type:device_code";
const clients = [{ client_id: "tv", grant_types: [grant, "refresh_token"], scope: "openid read" }];

describe("devices and registrations on two replicas", () => {
  let database: MariaDb;
  let apps: TestApp[] = [];
  beforeAll(async () => {
    database = await startMariaDb();
    apps = await startReplicas(2, { DATABASE_URL: await database.createDatabase() }, clients);
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    await database.stop();
  });

  const base = (n: number) => apps[n % apps.length]?.url ?? "";
  const start = async () => {
    const response = await patiently(() => postForm(`${base(0)}/oauth2/device_authorization`, { client_id: "tv" }));
    return (await response.json()) as { device_code: string; user_code: string };
  };
  const poll = (n: number, code: string, calls = new PatientCalls()) =>
    calls.ask(() => postForm(`${base(n)}/oauth2/token`, { grant_type: grant, device_code: code, client_id: "tv" }));
  const errorOf = async (response: Response) => ((await response.json()) as { error?: string }).error;
  async function signedIn(account: Account): Promise<TestBrowser> {
    const browser = new TestBrowser();
    const { email, password } = account;
    await patiently(() => browser.submit(`${base(1)}/login`, { email, password }));
    return browser;
  }
  const type = (browser: TestBrowser, n: number, code: string) =>
    patiently(() => browser.submit(`${base(n)}/device`, { user_code: code }));

  it("S-147 counts polls over both replicas: one in time, every other one slows the device down", async () => {
    const { device_code: code } = await start();
    // between two lines no time passes
    const from = apps[0]?.clock.now() ?? 0;
    const waited = (milliseconds: number) => {
      for (const { clock } of apps) jest.spyOn(clock, "now").mockReturnValue(from + milliseconds);
    };
    waited(0);
    const calls = new PatientCalls();
    const answers = await Promise.all(Array.from({ length: 20 }, async (_, n) => errorOf(await poll(n, code, calls))));
    const inTime = answers.filter((answer) => answer === "authorization_pending").length;
    if (inTime > 0 || calls.busy === 0) expect(inTime).toBe(1);
    expect(answers.filter((answer) => answer === "slow_down")).toHaveLength(20 - inTime);
    // five seconds more for each of them
    try {
      waited(5_000 + 18 * 5_000);
      expect(await errorOf(await poll(1, code))).toBe("slow_down");
      waited(5_000 + 18 * 5_000 + 106_000 + calls.busy * 5_000);
      expect(await errorOf(await poll(0, code))).toBe("authorization_pending");
    } finally {
      jest.restoreAllMocks();
    }
  });

  it("S-147 gives the tokens to one of fifty polls at both replicas, after a decision that took turns between them", async () => {
    const browser = await signedIn(await signUp(base(0)));
    const { device_code: code, user_code: userCode } = await start();
    const page = await (await type(browser, 0, userCode)).text();
    const decided = await browser.post(`${base(1)}/device/decision`, { ...hiddenFields(page), decision: "allow" });
    expect(decided.status).toBe(200);
    const calls = new PatientCalls();
    const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => poll(n, code, calls)));
    const won = answers.filter(({ status }) => status === 200);
    if (won.length > 0 || calls.busy === 0) expect(won).toHaveLength(1);
    const others = await Promise.all(answers.filter(({ status }) => status !== 200).map(errorOf));
    expect(new Set(others)).toEqual(new Set(["invalid_grant"]));
  });

  it("S-147 counts an account's wrong codes over both replicas", async () => {
    const browser = await signedIn(await signUp(base(0)));
    const forms = await Promise.all(
      [0, 1].map(async (n) => hiddenFields(await (await browser.get(`${base(n)}/device`)).text())),
    );
    const calls = new PatientCalls();
    const guesses = await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        calls.ask(() => browser.post(`${base(n)}/device`, { ...forms[n % 2], user_code: "BCDF-GHJK" })),
      ),
    );
    const looked = guesses.filter(({ status }) => status === 400).length;
    expect(looked).toBeLessThanOrEqual(10);
    expect(looked).toBeGreaterThanOrEqual(10 - calls.busy);
    expect(guesses.filter(({ status }) => status === 429)).toHaveLength(30 - looked);
  });

  it("S-148 binds a code to one of two sessions that open it at once", async () => {
    const browsers = await Promise.all(Array.from({ length: 6 }, async () => signedIn(await signUp(base(0)))));
    const { user_code: userCode } = await start();
    const opened = await Promise.all(browsers.map((browser, n) => type(browser, n, userCode)));
    expect(opened.map(({ status }) => status).sort()).toEqual([200, 403, 403, 403, 403, 403]);
  });

  it("RFC 7591 3 lets as many clients register as a token has uses, wherever they ask", async () => {
    const [app] = apps;
    if (app === undefined) throw new Error("nothing runs");
    const { token } = await createInitialAccessToken(app.context, { uses: 5, expiresIn: 60 });
    const calls = new PatientCalls();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        calls.ask(() =>
          postJson(
            `${base(n)}/oauth2/register`,
            { redirect_uris: ["https://app.example/cb"] },
            { authorization: `Bearer ${token}` },
          ),
        ),
      ),
    );
    const made = answers.filter(({ status }) => status === 201).length;
    expect(made).toBeLessThanOrEqual(5);
    expect(made).toBeGreaterThanOrEqual(5 - calls.busy);
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(20 - made);
  });
});
