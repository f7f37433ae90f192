import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { AuthError } from "../../src/errors.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startReplicas, type TestApp } from "../support/app.ts";
import { inOneMoment } from "../support/clocks.ts";
import {
  type Account,
  authorizeUrl,
  hiddenFields,
  postForm,
  signUp,
  TestBrowser,
  uniqueEmail,
} from "../support/flow.ts";
import { eventsOf, resetTokenFor, until } from "../support/resets.ts";

const t = MESSAGES.en;
const album = { clientId: "album", redirectUri: "https://album.example/cb", scope: "openid" };
const clients = [
  { client_id: "album", client_name: "Photo Album", redirect_uris: [album.redirectUri], scope: "openid" },
  { client_id: "tv", grant_types: ["urn:ietf:params:oauth:grant-type:device_code"], scope: "openid" },
];

let app: TestApp;
beforeAll(async () => {
  [app] = (await startReplicas(1, {}, clients)) as [TestApp];
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const sessionsOf = ({ uuid }: { uuid: string }) => app.context.store.sessions.listOfUser(uuid, app.clock.now());
const locationOf = (answer: Response) => new URL(answer.headers.get("location") ?? "", app.url);
const login = (browser: TestBrowser, account: Account) =>
  browser.submit(`${app.url}/login`, { email: account.email, password: account.password });

/** The fields of the form at this address, and where it is sent. */
async function formAt(browser: TestBrowser, url: string): Promise<{ action: string; fields: Record<string, string> }> {
  const html = await (await browser.get(url)).text();
  const action = new URL(/<form[^>]* action="([^"]+)"/.exec(html)?.[1] ?? "", app.url).href;
  return { action, fields: hiddenFields(html) };
}

/** Two presses, of which neither has seen the answer to the other: each is sent with the cookies of the page. */
async function pressTwice(browser: TestBrowser, action: string, fields: Record<string, string>): Promise<Response[]> {
  const copies = [browser, new TestBrowser(browser.headers)];
  for (const [name, value] of browser.cookies) copies[1]?.cookies.set(name, value);
  // presses on either side of a minute's end open two sessions
  return inOneMoment([app], () => Promise.all(copies.map((each) => each.post(action, fields))));
}

describe("a form that is sent twice", () => {
  it.each([0, 1, 2])("C-30 a login gives one session, whichever answer the browser keeps (%s)", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const { action, fields } = await formAt(browser, `${app.url}/login`);
    const typed = { ...fields, email: account.email, password: account.password };
    const answers = await pressTwice(browser, action, typed);
    expect(answers.map(({ status }) => status)).toEqual([303, 303]);
    const cookies = answers.map((each) => each.headers.getSetCookie().find((line) => line.startsWith("auth_session=")));
    expect(new Set(cookies.map((line) => line?.split(";")[0])).size).toBe(1);
    expect(await sessionsOf(account)).toHaveLength(1);
    expect(await (await browser.get(`${app.url}/`)).text()).toContain(t.homeSignedIn);
  });

  it("C-30 the same login form gives another session later, and to another browser or user", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const { action, fields } = await formAt(browser, `${app.url}/login`);
    const cookies = new Set<string | undefined>();
    const send = async ({ email, password }: Account) => {
      await browser.post(action, { ...fields, email, password });
      cookies.add(browser.cookies.get("auth_session"));
    };
    await send(account);
    await send(await signUp(app.url));
    app.clock.shift = 61_000;
    await send(account);
    expect(cookies.size).toBe(3);
  });

  it("C-30 a sign-up gives one session, and its account once", async () => {
    const browser = new TestBrowser();
    const { action, fields } = await formAt(browser, `${app.url}/signup`);
    const account = { email: uniqueEmail(), password: "correct horse battery", nickname: "Ann" };
    const answers = await pressTwice(browser, action, { ...fields, ...account });
    expect(answers.map(({ status }) => status)).toEqual([303, 303]);
    const { uuid } = (await app.context.store.users.findByEmail(account.email)) ?? { uuid: "" };
    expect(await sessionsOf({ uuid })).toHaveLength(1);
  });

  it("C-30 a new password is said to be set by both presses, an hour later too, but not for another password", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const token = await resetTokenFor(app, account.email);
    const { action, fields } = await formAt(browser, `${app.url}/password-reset?token=${token}`);
    const typed = { ...fields, password: "another horse battery" };
    for (const answer of await pressTwice(browser, action, typed)) {
      expect([answer.status, await answer.text()]).toEqual([200, expect.stringContaining(t.resetDoneTitle)]);
    }
    const other = await browser.post(action, { ...typed, password: "a third horse battery" });
    expect([other.status, await other.text()]).toEqual([400, expect.stringContaining(t.resetAgain)]);
    app.clock.shift = 3_600_000;
    expect((await browser.post(action, typed)).status).toBe(200);
    // the form names its account itself: a made-up one is none
    expect((await browser.post(action, { ...typed, account: "x" })).status).toBe(400);
    const guesses = Array.from({ length: 11 }, (_, n) =>
      browser.post(action, { ...typed, password: `guess ${n} of ten` }),
    );
    expect(new Set((await Promise.all(guesses)).map(({ status }) => status))).toEqual(new Set([400]));
    expect((await browser.post(action, typed)).status).toBe(400);
  });

  it.each(["allow", "deny"])(
    "C-30 a device decision (%s) is told by both presses, and the first one holds",
    async (decision) => {
      const account = await signUp(app.url);
      const browser = new TestBrowser();
      await login(browser, account);
      const code = await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "tv", scope: "openid" });
      const { user_code } = (await code.json()) as { user_code: string };
      const page = await browser.submit(`${app.url}/device`, { user_code });
      const fields = hiddenFields(await page.text());
      const done = decision === "allow" ? t.deviceAllowedTitle : t.deviceDeniedTitle;
      for (const answer of await pressTwice(browser, `${app.url}/device/decision`, { ...fields, decision })) {
        expect([answer.status, await answer.text()]).toEqual([200, expect.stringContaining(done)]);
      }
      const changed = decision === "allow" ? "deny" : "allow";
      const late = await browser.post(`${app.url}/device/decision`, { ...fields, decision: changed });
      expect(await late.text()).toContain(done);
      expect(await (await browser.submit(`${app.url}/device`, { user_code })).text()).toContain(done);
      // to others the code is one that never was
      const stranger = new TestBrowser();
      await login(stranger, await signUp(app.url));
      expect((await stranger.submit(`${app.url}/device`, { user_code })).status).toBe(400);
    },
  );

  it("C-30 has one mail sent by both presses, and another one by a new form or for another address", async () => {
    const account = await signUp(app.url);
    const owner = new TestBrowser();
    await login(owner, account);
    const moved = uniqueEmail();
    const forms: [TestBrowser, string, string, string, Record<string, string>][] = [
      [new TestBrowser(), "/password-reset", "password-reset", account.email, {}],
      [new TestBrowser(), "/verify-email", "user-email-verification", account.email, {}],
      [owner, "/account/email", "user-email-verification", moved, { current_password: account.password }],
    ];
    const mailsOf = (topic: string, to: string) =>
      eventsOf(app).filter((told) => told.topic === topic && told.event.payload["email"] === to).length;
    // the link of the sign-up
    await until(() => (mailsOf("user-email-verification", account.email) > 0 ? true : undefined));
    for (const [browser, path, topic, email, more] of forms) {
      const mails = (to = email) => mailsOf(topic, to);
      const before = mails();
      const action = path === "/verify-email" ? `${path}/send` : path;
      const fieldsNow = async () => {
        const html = await (await browser.get(app.url + path)).text();
        return { ...hiddenFields(html.slice(html.indexOf(`action="${action}"`))), email, ...more };
      };
      const fields = await fieldsNow();
      const answers = await pressTwice(browser, app.url + action, fields);
      expect(new Set(answers.map(({ status }) => status)).size).toBe(1);
      const other = uniqueEmail();
      const wanted = path === "/account/email" ? other : (await signUp(app.url, { email: other })).email;
      await browser.post(app.url + action, { ...fields, email: wanted });
      await browser.post(app.url + action, await fieldsNow());
      // the events of a user come in order
      await until(() => (mails() >= before + 2 && mails(wanted) > 0 ? true : undefined));
      expect([path, mails() - before]).toEqual([path, 2]);
    }
  });

  it("C-30 has the mail sent by the next press where the first one failed", async () => {
    const account = await signUp(app.url);
    const owner = new TestBrowser();
    await login(owner, account);
    const moved = uniqueEmail();
    const { users, emailVerifications } = app.context.store;
    const links = { store: emailVerifications, method: "create" };
    const forms: [TestBrowser, string, string, Record<string, string>, { store: object; method: string }, number][] = [
      [new TestBrowser(), "/password-reset", account.email, {}, { store: users, method: "createPasswordReset" }, 200],
      [new TestBrowser(), "/verify-email", account.email, {}, links, 200],
      [owner, "/account/email", moved, { current_password: account.password }, links, 303],
    ];
    for (const [browser, path, email, more, { store, method }, status] of forms) {
      const mails = () =>
        eventsOf(app).filter(({ topic, event }) => topic !== "user-signup" && event.payload["email"] === email).length;
      await until(() => (path !== "/verify-email" || mails() === 2 ? true : undefined));
      const before = mails();
      const action = path === "/verify-email" ? `${path}/send` : path;
      const html = await (await browser.get(app.url + path)).text();
      const fields = { ...hiddenFields(html.slice(html.indexOf(`action="${action}"`))), email, ...more };
      Object.assign(store, { [method]: () => Promise.reject(new AuthError("unavailable", "the connection was cut")) });
      const failed = await browser.post(app.url + action, fields);
      Reflect.deleteProperty(store, method);
      expect([path, failed.status]).toEqual([path, 503]);
      expect((await browser.post(app.url + action, fields)).status).toBe(status);
      await until(() => (mails() > before ? true : undefined));
    }
  });

  it("C-30 signing out everywhere tells both presses that it is done", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    await login(browser, account);
    const html = await (await browser.get(`${app.url}/`)).text();
    const action = `${app.url}/account/sign-out-everywhere`;
    const form = html.slice(html.indexOf('action="/account/sign-out-everywhere"'));
    const answers = await pressTwice(browser, action, hiddenFields(form.slice(0, form.indexOf("</form>"))));
    for (const answer of answers) {
      expect([answer.status, locationOf(answer).pathname]).toEqual([303, "/connect/logout"]);
    }
  });
});

describe("a form that is out of date", () => {
  it("C-30 leads on to the application by its name, after another user signed in", async () => {
    const browser = new TestBrowser();
    await login(browser, await signUp(app.url));
    const consent = locationOf(await browser.get(authorizeUrl(app.url, album))).href;
    const { action, fields } = await formAt(browser, consent);
    await login(browser, await signUp(app.url));
    const refused = await browser.post(action, { ...fields, decision: "allow" });
    const html = await refused.text();
    expect([refused.status, html.includes(t.continueTo("Photo Album"))]).toEqual([403, true]);
    const retry = /<a class="button" href="([^"]+)"/.exec(html)?.[1] ?? "";
    const answer = await browser.submit(new URL(retry, app.url).href, { decision: "allow" });
    expect(locationOf(answer).searchParams.has("code")).toBe(true);
  });
});
