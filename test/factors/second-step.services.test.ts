import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { UNKNOWN_ASKER } from "../../src/events.ts";
import { makeRecoveryCodes } from "../../src/factors/recovery-codes.ts";
import { startReplicas, type TestApp } from "../support/app.ts";
import { inOneMoment } from "../support/clocks.ts";
import { type AppOwner, codeOf, confirmAgain, firstStep, setUpApp } from "../support/factors.ts";
import { type Account, authorizeUrl, hiddenFields, patiently, signUp, TestBrowser } from "../support/flow.ts";
import { type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { eventsOf, resetTokenFor, until } from "../support/resets.ts";

let database: MariaDb;
let replicas: TestApp[] = [];
let app: TestApp;
let other: TestApp;
beforeAll(async () => {
  database = await startMariaDb();
  replicas = await startReplicas(2, {
    DATABASE_URL: await database.createDatabase(),
    // either replica may send an event
    EVENTS_FILE: join(mkdtempSync(join(tmpdir(), "auth-test-")), "events.ndjson"),
    TRUST_PROXY: "loopback",
    LOG_LEVEL: "info",
  });
  [app, other] = replicas as [TestApp, TestApp];
});
afterEach(() => {
  for (const { clock } of replicas) clock.shift = 0;
});
afterAll(async () => {
  await Promise.all(replicas.map((replica) => replica.close()));
  await database?.stop();
});

const now = () => app.clock.now();
/** Each test's next code is of a step that was not used. */
function later(seconds: number): void {
  for (const { clock } of replicas) clock.shift += seconds * 1_000;
}
const newOwner = async (): Promise<AppOwner & { account: Account & { uuid: string } }> => {
  const account = await signUp(app.url);
  const owner = await setUpApp(app.url, account, now);
  later(90);
  return { ...owner, account };
};
const second = (base: string, browser: TestBrowser, form: Record<string, string>, code: string, extra = {}) =>
  patiently(() => browser.post(`${base}/login/second-factor`, { ...form, code, ...extra }));
const isSignedIn = (browser: TestBrowser) => browser.cookies.has("auth_session");
let networks = 0;
const stranger = () => new TestBrowser({ "x-forwarded-for": `198.18.${networks >> 8}.${networks++ & 255}` });

describe("the second step", () => {
  it("asks for a code after the right password, and signs in to the application with it, on whichever replica", async () => {
    const { account, secret } = await newOwner();
    const browser = new TestBrowser();
    const login = await browser.get(authorizeUrl(app.url));
    const page = await browser.get(new URL(login.headers.get("location") ?? "", other.url).href);
    const form = hiddenFields(await page.text());
    const asked = await browser.post(`${app.url}/login`, { ...form, ...account } as Record<string, string>);
    expect(asked.status).toBe(200);
    expect(isSignedIn(browser)).toBe(false);
    const done = await second(other.url, browser, hiddenFields(await asked.text()), codeOf(secret, now()));
    expect(done.status).toBe(303);
    expect(new URL(done.headers.get("location") ?? "").searchParams.get("code")).not.toBeNull();
  });

  it("says nothing of a second factor to a wrong password", async () => {
    const { account } = await newOwner();
    const response = await new TestBrowser().submit(`${app.url}/login`, { email: account.email, password: "wrong" });
    expect(response.status).toBe(401);
    expect(await response.text()).not.toContain("second-factor");
  });

  it("takes the code of the last, this and the next step, each once, and none beyond", async () => {
    const { account, secret } = await newOwner();
    const tries: [number, number][] = [
      [-60, 401],
      [-30, 303],
      [-30, 401],
      [0, 303],
      [30, 303],
      [0, 401],
      [60, 401],
    ];
    // a step may end between two of them, at any moment
    const statuses = await inOneMoment(replicas, async () => {
      const seen: [number, number][] = [];
      for (const [offset] of tries) {
        const { browser, form } = await firstStep(app.url, account);
        seen.push([offset, (await second(other.url, browser, form, codeOf(secret, now() + offset * 1_000))).status]);
      }
      return seen;
    });
    expect(statuses).toEqual(tries);
  });

  it("lets one of two replicas use a step, and one a recovery code", async () => {
    const { account, secret, recoveryCodes } = await newOwner();
    for (const code of [codeOf(secret, now()), recoveryCodes[0] ?? ""]) {
      const forms = await Promise.all([0, 1, 2, 3].map(() => firstStep(app.url, account)));
      const answers = await Promise.all(
        forms.map(({ browser, form }, at) => second((replicas[at % 2] as TestApp).url, browser, form, code)),
      );
      expect(answers.map(({ status }) => status).sort()).toEqual([303, 401, 401, 401]);
    }
  });

  it("ends where the first press ended when the button is pressed twice", async () => {
    const { account, secret, recoveryCodes } = await newOwner();
    for (const code of [codeOf(secret, now()), recoveryCodes[1] ?? ""]) {
      const { browser, form } = await firstStep(app.url, account);
      const first = await second(app.url, browser, form, code);
      const again = await second(other.url, browser, form, code);
      expect([first.status, again.status]).toEqual([303, 303]);
      expect(again.headers.getSetCookie()[0]).toBe(first.headers.getSetCookie()[0]);
    }
  });

  it("C-42 lets no one without the password use its tries up, and checks at most ten wrong codes of one who has it", async () => {
    const { account, secret, recoveryCodes } = await newOwner();
    const statuses: number[] = [];
    const { form, browser } = await firstStep(app.url, account, stranger());
    for (let wrong = 0; wrong < 30; wrong++) {
      const { headers } = stranger();
      Object.assign(browser.headers, headers);
      statuses.push((await second((replicas[wrong % 2] as TestApp).url, browser, form, "000000")).status);
    }
    expect(statuses.filter((status) => status === 401).length).toBeLessThanOrEqual(10);
    expect(statuses.at(-1)).toBe(429);
    // a browser that the owner signed in with has tries of its own; recovery codes have, too
    const owner = await setUpAppAgain(account, recoveryCodes[0] ?? "");
    const { form: own } = await firstStep(app.url, account, owner);
    expect((await second(app.url, owner, own, codeOf(secret, now()))).status).toBe(303);
  });

  it.each(["sessions", "devices"] as const)(
    "checks at most twenty wrong codes of all %s of an account together, and lets its owner in meanwhile",
    async (many) => {
      const account = await signUp(app.url);
      // who had the password before there was a second factor
      const thieves = await Promise.all(Array.from({ length: 10 }, () => firstStep(app.url, account)));
      const { secret, browser: owner } = await setUpApp(app.url, account, now);
      later(90);
      const step = async (browser: TestBrowser) => {
        if (many === "devices") return (await firstStep(app.url, account, browser)).form;
        const url = authorizeUrl(app.url, { extra: { acr_values: "urn:auth-service:acr:two-factor" } });
        const asked = await browser.get(new URL((await browser.get(url)).headers.get("location") ?? "", app.url).href);
        return hiddenFields(await asked.text());
      };
      const statuses = await Promise.all(
        thieves.map(async ({ browser }, at) => {
          const form = await step(browser);
          const seen: number[] = [];
          for (let wrong = 0; wrong < 4; wrong++) {
            const base = (replicas[(at + wrong) % 2] as TestApp).url;
            seen.push((await second(base, browser, form, "000000")).status);
          }
          return seen;
        }),
      );
      const counted = (status: number) => statuses.flat().filter((each) => each === status).length;
      expect([counted(401), counted(429)]).toEqual([20, 20]);
      // in the browser in which the app was set up
      owner.cookies.delete("auth_session");
      const { form: own } = await firstStep(app.url, account, owner);
      expect((await second(other.url, owner, own, codeOf(secret, now()))).status).toBe(303);
      later(30);
      // and at one that is new
      const { browser, form } = await firstStep(app.url, account);
      expect((await second(other.url, browser, form, codeOf(secret, now()))).status).toBe(303);
    },
  );

  async function setUpAppAgain(account: Account, recoveryCode: string): Promise<TestBrowser> {
    const { browser, form } = await firstStep(app.url, account);
    expect((await second(app.url, browser, form, recoveryCode)).status).toBe(303);
    return browser;
  }

  it("refuses a first step that is changed, too old, or of a password that was changed since", async () => {
    const { account, secret } = await newOwner();
    const { browser, form } = await firstStep(app.url, account);
    const toLogin = async (fields: Record<string, string>) => {
      const response = await second(app.url, browser, fields, codeOf(secret, now()));
      expect([response.status, response.headers.get("location")]).toEqual([303, "/login?ended=1"]);
      expect(isSignedIn(browser)).toBe(false);
    };
    await toLogin({ ...form, first: `${form["first"]}A` });
    await toLogin({ ...form, first: "" });
    later(601);
    await toLogin(form);
    later(-601);
    const token = await resetTokenFor(app, account.email);
    await new TestBrowser().submit(`${app.url}/password-reset?token=${token}`, { password: "another horse battery" });
    await toLogin(form);
  });

  it("gets a person in who lost password and phone: by a reset mail and a recovery code", async () => {
    const { account, recoveryCodes } = await newOwner();
    const token = await resetTokenFor(app, account.email);
    const password = "another horse battery";
    await new TestBrowser().submit(`${app.url}/password-reset?token=${token}`, { password });
    const { browser, form } = await firstStep(other.url, { ...account, password });
    const typed = (recoveryCodes[3] ?? "").toUpperCase().replaceAll("-", " ");
    expect((await second(app.url, browser, form, typed)).status).toBe(303);
    expect(isSignedIn(browser)).toBe(true);
    const kinds = () =>
      eventsOf(app)
        .filter(({ topic, key }) => topic === "user-security" && key === account.uuid)
        .map(({ event }) => event.payload["kind"]);
    await until(() => kinds().includes("RECOVERY_CODE_USED") || undefined);
    expect(kinds()).toContain("FACTOR_ADDED");
  });

  it("is asked of a sign-up form too that signs in to an account which was just made", async () => {
    const { account } = await newOwner();
    const browser = new TestBrowser();
    const response = await browser.submit(`${app.url}/signup`, account as unknown as Record<string, string>);
    expect(response.status).toBe(200);
    expect(await response.text()).toContain("/login/second-factor");
    expect(isSignedIn(browser)).toBe(false);
  });
});

describe("a remembered browser", () => {
  const remembered = async () => {
    const owner = await newOwner();
    const { browser, form } = await firstStep(app.url, owner.account);
    await second(app.url, browser, form, codeOf(owner.secret, now()), { remember: "on" });
    expect(browser.cookies.has("auth_remembered")).toBe(true);
    browser.cookies.delete("auth_session");
    return { ...owner, browser };
  };

  it("leaves out the second step for 30 days, on every replica, and never the password", async () => {
    const { account, browser } = await remembered();
    expect((await browser.submit(`${other.url}/login`, { email: account.email, password: "wrong" })).status).toBe(401);
    expect((await firstStep(other.url, account, browser)).status).toBe(303);
    browser.cookies.delete("auth_session");
    later(31 * 86_400);
    expect((await firstStep(other.url, account, browser)).status).toBe(200);
  });

  it("is forgotten with the password, and with a factor that is removed", async () => {
    const first = await remembered();
    const token = await resetTokenFor(app, first.account.email);
    const password = "another horse battery";
    await new TestBrowser().submit(`${app.url}/password-reset?token=${token}`, { password });
    expect((await firstStep(app.url, { ...first.account, password }, first.browser)).status).toBe(200);
    const second = await remembered();
    await makeRecoveryCodes(app.context, second.account.uuid, null, { asker: UNKNOWN_ASKER });
    expect((await firstStep(app.url, second.account, second.browser)).status).toBe(200);
  });

  it("is none for another account", async () => {
    const { browser } = await remembered();
    const { account } = await newOwner();
    expect((await firstStep(app.url, account, browser)).status).toBe(200);
  });
});

describe("changing factors", () => {
  const path = "/account/security/totp/remove";
  const send = async (browser: TestBrowser, form: Record<string, string>) =>
    (await browser.post(app.url + path, form)).headers.get("location");
  const remove = async (browser: TestBrowser) => {
    const page = await browser.get(app.url + path);
    return page.status === 200 ? send(browser, hiddenFields(await page.text())) : page.headers.get("location");
  };

  it("removes no factor without a fresh one", async () => {
    const { account, secret, browser } = await newOwner();
    const form = hiddenFields(await (await browser.get(app.url + path)).text());
    later(600);
    expect(await remove(browser)).toBe("/account/security/confirm");
    expect(await send(browser, form)).toBe("/account/security/confirm");
    const refused = await confirmAgain(app.url, browser, { password: account.password, code: "000000" });
    expect(refused.status).toBe(400);
    const wrong = await confirmAgain(app.url, browser, { password: "wrong", code: codeOf(secret, now()) });
    expect(wrong.status).toBe(400);
    expect((await app.context.store.factors.find(account.uuid)).totp).not.toBeNull();
    await confirmAgain(app.url, browser, { password: account.password, code: codeOf(secret, now()) });
    expect(await remove(browser)).toBe("/account/security?done=totpRemoved");
    expect(await app.context.store.factors.find(account.uuid)).toEqual({ totp: null, passkeys: [], recoveryCodes: 0 });
    expect((await firstStep(app.url, account)).status).toBe(303);
  });

  it("removes no factor from a session that a password alone opened", async () => {
    const { account, secret } = await newOwner();
    const { browser, form } = await firstStep(app.url, account);
    await second(app.url, browser, form, codeOf(secret, now()), { remember: "on" });
    browser.cookies.delete("auth_session");
    expect((await firstStep(app.url, account, browser)).status).toBe(303);
    expect(await remove(browser)).toBe("/account/security/confirm");
  });

  it("adds an app by a right code of its own account alone", async () => {
    const [one, two] = [await signUp(app.url), await signUp(app.url)];
    const browser = new TestBrowser();
    await browser.submit(`${app.url}/login`, { email: one.email, password: one.password });
    const path = `${app.url}/account/security/totp`;
    const wrong = await browser.submit(path, { code: "000000" });
    expect(wrong.status).toBe(400);
    const sealed = hiddenFields(await wrong.text())["sealed"] ?? "";
    expect(await app.context.store.factors.find(one.uuid)).toMatchObject({ totp: null });
    const foreign = new TestBrowser();
    await foreign.submit(`${app.url}/login`, { email: two.email, password: two.password });
    expect((await foreign.submit(path, { code: "000000", sealed })).status).toBe(400);
    expect((await foreign.submit(path, { code: "000000", sealed: "x" })).status).toBe(400);
    later(700);
    expect((await browser.get(path)).headers.get("location")).toBe("/account/security/confirm");
  });
});
