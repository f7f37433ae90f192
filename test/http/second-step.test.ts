import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { LANGUAGES, type Language } from "../../src/config/languages.ts";
import { AuthError } from "../../src/errors.ts";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { endSessions } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { codeOf, firstStep, giveApp } from "../support/factors.ts";
import { hiddenFields, signUp, TestBrowser, unescapeHtml } from "../support/flow.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const speaking = (language: Language) => new TestBrowser({ "accept-language": language });
/** What the page says beside the field of the code, which is marked as wrong. */
const besideCode = async (response: Response) => {
  const html = await response.text();
  const isMarked = /<input id="code"[^>]* aria-invalid="true"/.test(html);
  return isMarked ? unescapeHtml(/<p class="wrong" id="code-wrong">([^<]*)</.exec(html)?.[1] ?? "") : "not marked";
};

describe.each([...LANGUAGES])("a code that is refused says in %s", (language) => {
  const f = FACTOR_MESSAGES[language];

  it("that it is wrong or late, and nothing of a code that is right later", async () => {
    const account = await signUp(app.url);
    const secret = await giveApp(app, account.uuid);
    const browser = speaking(language);
    const { form } = await firstStep(app.url, account, browser);
    const at = app.clock.now();
    const send = async (code: string) => {
      const answer = await browser.post(`${app.url}/login/second-factor`, { ...form, code });
      return [answer.status, await besideCode(answer)];
    };
    const step = (steps: number) => codeOf(secret, at + steps * 30_000);
    expect(await send("000000")).toEqual([401, f.codeWrong]);
    expect(await send(step(-3))).toEqual([401, f.codeLate]);
    expect(await send(step(-15))).toEqual([401, f.codeLate]);
    expect(await send(step(-25))).toEqual([401, f.codeWrong]);
    expect(await send(step(3))).toEqual([401, f.codeWrong]);
    expect(await send("abcd-efgh-jkmn-pqrs")).toEqual([401, f.codeRecoveryWrong]);
    expect(await send("abcd-efgh-jkmn-pqr")).toEqual([401, f.codeRecoveryWrong]);
  });

  it("how long to wait after too many, whatever code is right then", async () => {
    const account = await signUp(app.url);
    const secret = await giveApp(app, account.uuid);
    const browser = speaking(language);
    const { form } = await firstStep(app.url, account, browser);
    const send = (code: string) => browser.post(`${app.url}/login/second-factor`, { ...form, code });
    for (let wrong = 0; wrong < 10; wrong++) expect((await send("000000")).status).toBe(401);
    const answer = await send(codeOf(secret, app.clock.now()));
    expect([answer.status, unescapeHtml(await answer.text())]).toEqual([
      429,
      expect.stringContaining(MESSAGES[language].rateLimitedFor(15)),
    ]);
  });

  it("at the set-up that the clock of the device is wrong", async () => {
    const account = await signUp(app.url);
    const browser = speaking(language);
    await browser.submit(`${app.url}/login`, { email: account.email, password: account.password });
    const path = `${app.url}/account/security/totp`;
    const page = await (await browser.get(path)).text();
    const secret = (/<code>([A-Z2-7 ]+)<\/code>/.exec(page)?.[1] ?? "").replaceAll(" ", "");
    const send = async (code: string) => besideCode(await browser.post(path, { ...hiddenFields(page), code }));
    expect(await send("no code")).toBe(f.totpWrong);
    for (const minutes of [-50, -5, 5, 50]) {
      expect(await send(codeOf(secret, app.clock.now() + minutes * 60_000))).toBe(f.totpClock);
    }
    expect((await app.context.store.factors.find(account.uuid)).totp).toBeNull();
  });
});

it("takes a code in full-width digits, and any other six characters for a wrong one", async () => {
  const account = await signUp(app.url);
  const secret = await giveApp(app, account.uuid);
  const { browser, form } = await firstStep(app.url, account);
  const send = (code: string) => browser.post(`${app.url}/login/second-factor`, { ...form, code });
  const code = codeOf(secret, app.clock.now());
  for (const wrong of ["é12345", "\u0661\u0662\u0663\u0664\u0665\u0666", "\u200b12345"]) {
    expect([wrong, (await send(wrong)).status]).toEqual([wrong, 401]);
  }
  const wide = code.replaceAll(/./g, (digit) => String.fromCodePoint(0xff10 + Number(digit)));
  expect((await send(wide)).status).toBe(303);
});

it("counts no code that could not be checked", async () => {
  const account = await signUp(app.url);
  const secret = await giveApp(app, account.uuid);
  const browser = new TestBrowser();
  const { form } = await firstStep(app.url, account, browser);
  const send = () => browser.post(`${app.url}/login/second-factor`, { ...form, code: codeOf(secret, app.clock.now()) });
  const { factors } = app.context.store;
  const away = jest.spyOn(factors, "useTotpStep").mockRejectedValue(new AuthError("unavailable", "away"));
  for (let press = 0; press < 12; press++) expect((await send()).status).toBe(503);
  away.mockRestore();
  expect((await send()).status).toBe(303);
});

describe("a form whose code was used", () => {
  const stepPath = () => `${app.url}/login/second-factor`;
  const isSignedIn = async (browser: TestBrowser) => (await browser.get(`${app.url}/account/security`)).status === 200;

  it("is answered as before while its session lives, and signs nobody in once that has ended", async () => {
    const account = await signUp(app.url);
    const secret = await giveApp(app, account.uuid);
    const { browser, form } = await firstStep(app.url, account);
    app.clock.shift += 1_000;
    const filled = { ...form, code: codeOf(secret, app.clock.now()) };
    for (let press = 0; press < 2; press++) {
      expect((await browser.post(stepPath(), filled)).status).toBe(303);
      expect(await isSignedIn(browser)).toBe(true);
    }
    const old = browser.cookies.get("auth_session") ?? "";
    await endSessions(app.context, account.uuid);
    const again = await browser.post(stepPath(), filled);
    expect([again.status, await isSignedIn(browser)]).toEqual([401, false]);
    const thief = new TestBrowser();
    thief.cookies.set("auth_session", old);
    expect(await isSignedIn(thief)).toBe(false);
  });

  it("of a confirmation opens nothing for who has no more than the cookies and the code", async () => {
    const account = await signUp(app.url);
    const secret = await giveApp(app, account.uuid);
    const { browser, form } = await firstStep(app.url, account);
    await browser.post(stepPath(), { ...form, code: codeOf(secret, app.clock.now()) });
    app.clock.shift += 11 * 60_000;
    const confirm = `${app.url}/account/security/confirm`;
    const thief = new TestBrowser();
    for (const [name, value] of browser.cookies) thief.cookies.set(name, value);
    const [page, own] = await Promise.all(
      [browser.get(confirm), thief.get(confirm)].map(async (get) => (await get).text()),
    );
    const code = codeOf(secret, app.clock.now());
    const right = { ...hiddenFields(page ?? ""), password: account.password, code };
    expect((await browser.post(confirm, right)).status).toBe(303);
    const stolen = await thief.post(confirm, { ...hiddenFields(own ?? ""), password: "wrong", code });
    expect([stolen.status, await isSignedIn(thief)]).toEqual([403, false]);
  });
});
