import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { type Account, authorizeUrl, getTokens, hiddenFields, refresh, signUp, TestBrowser } from "../support/flow.ts";

const t = MESSAGES.en;
const next = "the owner's new password";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const page = () => `${app.url}/account/password`;
const typed = ({ email, password }: Account) => ({ email, password });
const login = (browser: TestBrowser, account: Account) => browser.submit(`${app.url}/login`, typed(account));

async function signedIn(account: Account): Promise<TestBrowser> {
  const browser = new TestBrowser();
  await login(browser, account);
  return browser;
}

async function isSignedIn(browser: TestBrowser): Promise<boolean> {
  const step = await browser.get(authorizeUrl(app.url, { extra: { prompt: "none" } }));
  return step.headers.get("location")?.includes("code=") ?? false;
}

describe("changing the password on the account page", () => {
  it("C-41 ends everything else, keeps this browser signed in and known, and says that it is done", async () => {
    const account = await signUp(app.url);
    const [here, elsewhere] = [await signedIn(account), await signedIn(account)];
    const tokens = await getTokens(app.url, account);
    expect(await (await here.get(`${app.url}/`)).text()).toContain('href="/account/password"');
    const before = here.cookies.get("auth_session");
    const done = await here.submit(page(), { current_password: account.password, password: next });
    expect([done.status, done.headers.get("location")]).toEqual([303, "/?done=password"]);
    expect(here.cookies.get("auth_session")).not.toBe(before);
    expect(await (await here.get(`${app.url}/?done=password`)).text()).toContain(t.changePasswordDone);
    expect([await isSignedIn(here), await isSignedIn(elsewhere)]).toEqual([true, false]);
    expect((await refresh(app.url, tokens.refresh_token)).status).toBe(401);
    expect((await login(new TestBrowser(), account)).status).toBe(401);

    // others' wrong passwords do not keep this browser out, but those where the account was used before
    for (let wrong = 0; wrong < 10; wrong++) await login(new TestBrowser(), { ...account, password: `wrong ${wrong}` });
    await here.submit(`${app.url}/connect/logout`, {});
    expect((await login(here, { ...account, password: next })).status).toBe(303);
  });

  it("C-38 names the account for password managers, and says what is wrong beside its field", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const html = await (await browser.get(page())).text();
    expect(/<input id="username"[^>]*>/.exec(html)?.[0]).toContain(`value="${account.email}"`);
    for (const autocomplete of ["username", "current-password", "new-password"]) {
      expect(html).toContain(`autocomplete="${autocomplete}"`);
    }
    const wrong = await browser.submit(page(), { current_password: "not it", password: next });
    expect([wrong.status, await wrong.text()]).toEqual([400, expect.stringContaining(t.currentPasswordWrong)]);
    const short = await browser.submit(page(), { current_password: account.password, password: "short" });
    const tooShort = t.fields(8).password.too_short;
    expect([short.status, await short.text()]).toEqual([400, expect.stringContaining(tooShort)]);
    expect(await isSignedIn(browser)).toBe(true);
    for (let n = 0; n < 10; n++) await browser.submit(page(), { current_password: `wrong ${n}`, password: next });
    const refused = await browser.submit(page(), { current_password: account.password, password: next });
    expect([refused.status, Number(refused.headers.get("retry-after")) > 0]).toEqual([429, true]);
  });

  it("C-30 pressed twice leaves one session, which the browser has, and takes no other password for it", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const fields = hiddenFields(await (await browser.get(page())).text());
    const second = new TestBrowser();
    for (const [name, value] of browser.cookies) second.cookies.set(name, value);
    const form = { ...fields, current_password: account.password, password: next };
    expect((await browser.post(page(), form)).status).toBe(303);
    expect((await second.post(page(), { ...form, password: "another one entirely" })).status).toBe(403);
    expect((await second.post(page(), form)).status).toBe(303);
    expect(second.cookies.get("auth_session")).toBe(browser.cookies.get("auth_session"));
    const { store, clock } = app.context;
    expect(await store.sessions.listOfUser(account.uuid, clock.now())).toHaveLength(1);
  });

  it("is found at /.well-known/change-password, and asks who is not signed in to sign in", async () => {
    const answer = await fetch(`${app.url}/.well-known/change-password`, { redirect: "manual" });
    expect([answer.status, answer.headers.get("location")]).toEqual([302, "/account/password"]);
    const stranger = await new TestBrowser().get(page());
    expect([stranger.status, stranger.headers.get("location")]).toEqual([302, "/login"]);
    expect((await new TestBrowser().post(page(), { password: next })).status).toBe(403);
    const evil = { origin: "https://evil.example", "sec-fetch-site": "cross-site" };
    const browser = await signedIn(await signUp(app.url));
    const fields = hiddenFields(await (await browser.get(page())).text());
    expect((await browser.post(page(), fields, evil)).status).toBe(403);
  });
});
