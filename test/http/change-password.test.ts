import { createHmac } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { endSessions } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { giveApp } from "../support/factors.ts";
import { type Account, authorizeUrl, getTokens, hiddenFields, refresh, signUp, TestBrowser } from "../support/flow.ts";
import { resetTokenFor } from "../support/resets.ts";

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

  it("C-30 sent again after Back, with the session that it opened, ends where it ended", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const fields = hiddenFields(await (await browser.get(page())).text());
    const form = { ...fields, current_password: account.password, password: next };
    for (const press of [1, 2, 3]) {
      const answer = await browser.post(page(), form);
      expect([press, answer.status, answer.headers.get("location")]).toEqual([press, 303, "/?done=password"]);
    }
    expect(await app.context.store.sessions.listOfUser(account.uuid, app.clock.now())).toHaveLength(1);
  });

  it("a form with a made-up session cookie signs nobody in, though its password is right", async () => {
    const account = await signUp(app.url);
    await giveApp(app, account.uuid);
    const reset = `${app.url}/password-reset?token=${await resetTokenFor(app, account.email)}`;
    const person = new TestBrowser();
    const { account: sealedThere = "", ...fields } = hiddenFields(await (await person.get(reset)).text());
    const confirm = `${app.url}/password-reset/confirm`;
    expect((await person.post(confirm, { ...fields, account: sealedThere, password: next })).status).toBe(200);

    // an attacker who reads the mail makes up a session cookie, and the form that fits it
    const csrf = createHmac("sha256", "x".repeat(43)).update("/account/password\n").digest("base64url");
    const invented = new TestBrowser();
    invented.cookies.set("auth_session", "x".repeat(43));
    for (const sealed of [sealedThere, fields["token"] ?? "", account.uuid]) {
      const form = { csrf, account: sealed, form: "y".repeat(43), current_password: next, password: next };
      expect((await invented.post(page(), form)).status).toBe(403);
    }
    expect(await isSignedIn(invented)).toBe(false);
  });

  it("a form that was kept past signing out everywhere signs nobody in", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const fields = hiddenFields(await (await browser.get(page())).text());
    await endSessions(app.context, account.uuid);
    const form = { ...fields, current_password: account.password, password: account.password };
    expect((await browser.post(page(), form)).status).toBe(403);
    expect(await isSignedIn(browser)).toBe(false);
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
