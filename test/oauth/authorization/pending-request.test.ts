import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { findClient } from "../../../src/oauth/clients/clients.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  type Account,
  type AuthorizeOptions,
  authorizeUrl,
  getTokens,
  hiddenFields,
  pkce,
  portal,
  postForm,
  signUp,
  TestBrowser,
} from "../../support/flow.ts";
import { rowsOf } from "../../support/sqlite.ts";

const album = { clientId: "album", redirectUri: "https://album.example/cb", scope: "openid profile" };
const clients = [{ client_id: "album", redirect_uris: [album.redirectUri], scope: "openid profile email" }];

let app: TestApp;
let ada: Account & { uuid: string };
beforeAll(async () => {
  app = await startApp({}, clients);
  ada = await signUp(app.url);
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const locationOf = (response: Response) => response.headers.get("location") ?? "";
const stateOf = (response: Response) => new URL(locationOf(response)).searchParams.get("state");
const login = () => ({ email: ada.email, password: ada.password });
const follow = (by: TestBrowser, response: Response) => by.get(new URL(locationOf(response), app.url).href);
const fieldsAt = async (page: Response) => hiddenFields(await page.text());

/** The login page of an application's request. */
async function loginPage(by: TestBrowser, options: AuthorizeOptions = {}) {
  return fieldsAt(await follow(by, await by.get(authorizeUrl(app.url, options))));
}

describe("a request that waits in its browser", () => {
  it("C-31 three tabs that are restored at once, without a cookie, each reach their own application", async () => {
    const tabs = ["one", "two", "three"];
    const pages = await Promise.all(
      tabs.map(async (state) => {
        const tab = new TestBrowser();
        return { fields: await loginPage(tab, { state }), cookies: tab.cookies };
      }),
    );
    // one browser: of the cookies the last one stays
    const by = new TestBrowser({ "sec-fetch-site": "same-origin", origin: "null" });
    for (const { cookies } of pages) for (const [name, value] of cookies) by.cookies.set(name, value);
    for (const [index, { fields }] of pages.entries()) {
      const answer = await by.post(`${app.url}/login`, { ...fields, ...login() });
      expect([answer.status, stateOf(answer)]).toEqual([303, tabs[index]]);
    }
  });

  it("C-31 a form of another browser is taken only where the browser says that this service's page sent it", async () => {
    const fields = await loginPage(new TestBrowser());
    for (const headers of [{}, { origin: "null" }, { "sec-fetch-site": "cross-site", origin: "null" }]) {
      const other = new TestBrowser(headers);
      await other.get(`${app.url}/login`);
      expect((await other.post(`${app.url}/login`, { ...fields, ...login() })).status).toBe(403);
    }
  });

  it("C-31 a login page that was opened before the application asked leads to the account, and spends no other tab's request", async () => {
    const by = new TestBrowser();
    const early = await fieldsAt(await by.get(`${app.url}/login`));
    expect(early["request"]).toBe("");
    const late = await loginPage(by, { state: "late" });
    expect(locationOf(await by.post(`${app.url}/login`, { ...early, ...login() }))).toBe("/");
    expect(stateOf(await by.post(`${app.url}/login`, { ...late, ...login() }))).toBe("late");
  });

  it("C-31 a form that is hours old, and a reload of its page, still lead to the application", async () => {
    const by = new TestBrowser();
    const first = await by.get(authorizeUrl(app.url, { state: "old" }));
    const fields = await fieldsAt(await follow(by, first));
    app.clock.shift = 5 * 3_600_000;
    const reloaded = await fieldsAt(await follow(by, first));
    for (const form of [fields, reloaded]) {
      const browser = new TestBrowser({ "sec-fetch-site": "same-origin" });
      browser.cookies.set("auth_browser", by.cookies.get("auth_browser") ?? "");
      const answer = await browser.post(`${app.url}/login`, { ...form, ...login() });
      expect([stateOf(answer), locationOf(answer)]).toEqual(["old", expect.stringContaining("code=")]);
    }
  });

  it.each([{ extra: { prompt: "login" } }, { extra: { max_age: "1" } }])(
    "a login counts for the request whose form it was sent with, for an hour: $extra",
    async (options) => {
      const by = new TestBrowser();
      const fields = await loginPage(by, options);
      app.clock.shift = 2_000;
      // signed in elsewhere meanwhile: the form is shown all the same
      await by.post(`${app.url}/login`, { ...login(), csrf: fields["csrf"] ?? "", request: "" });
      app.clock.shift = 10_000;
      const shown = await by.get(`${app.url}/login?request=${fields["request"]}`);
      expect(shown.status).toBe(200);
      // hours later one login is enough
      app.clock.shift = 5 * 3_600_000;
      const done = await by.post(`${app.url}/login`, { ...(await fieldsAt(shown)), ...login() });
      expect(locationOf(done)).toContain("code=");
      const back = await by.get(`${app.url}/login?request=${fields["request"]}`);
      expect(options.extra.prompt === undefined || back.status === 200).toBe(true);
    },
  );

  it("a consent form is answered as it was, however old it is: a denial gives no code", async () => {
    const by = new TestBrowser();
    const step = await by.post(`${app.url}/login`, {
      ...(await loginPage(by, { ...album, scope: "openid" })),
      ...login(),
    });
    const [old, fresh] = [await fieldsAt(await follow(by, step)), await fieldsAt(await follow(by, step))];
    app.clock.shift = 3_700_000;
    expect(locationOf(await by.post(`${app.url}/consent`, { ...fresh, decision: "allow" }))).toContain("code=");
    expect(locationOf(await by.post(`${app.url}/consent`, { ...old, decision: "deny" }))).toContain(
      "error=access_denied",
    );
  });

  it("C-87 stores nothing for a browser in which no one signed in, whatever it asks for", async () => {
    const tables = rowsOf(app, "SELECT name FROM sqlite_master WHERE type = 'table'").map(({ name }) => String(name));
    const count = () => tables.map((table) => [table, rowsOf(app, `SELECT COUNT(*) AS n FROM ${table}`)[0]?.["n"]]);
    const before = count();
    const junk = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`junk${n}`, "x".repeat(1_000)]));
    const query = Object.fromEntries(new URL(authorizeUrl(app.url)).searchParams);
    const posted = await postForm(`${app.url}/oauth2/authorize`, { ...query, ...junk });
    expect(posted.status).toBe(303);
    // the same as without the unknown parameters
    const plain = await postForm(`${app.url}/oauth2/authorize`, query);
    expect(locationOf(posted)).toHaveLength(locationOf(plain).length);
    const by = new TestBrowser();
    await loginPage(by);
    for (const path of ["/login", "/signup", "/password-reset", "/device", "/"]) await by.get(app.url + path);
    expect(count()).toEqual(before);
  });

  it("C-87 one that would not fit into a URL is refused at the client, whether its user is signed in or not", async () => {
    const claims = JSON.stringify({ userinfo: { name: { value: "x".repeat(6_000) } } });
    const answer = await new TestBrowser().get(authorizeUrl(app.url, { extra: { claims } }));
    expect(new URL(locationOf(answer)).searchParams.get("error")).toBe("invalid_request");
    const longest = { state: "s".repeat(2_000), extra: { nonce: "n".repeat(2_000) } };
    const by = new TestBrowser();
    const page = await follow(by, await by.get(authorizeUrl(app.url, longest)));
    expect(page.url.length).toBeLessThan(8_190);
    const done = await by.post(`${app.url}/login`, { ...(await fieldsAt(page)), ...login() });
    expect(stateOf(done)).toBe(longest.state);
  });

  it("is opened by the service alone: who reads the URL learns nothing of it", async () => {
    const { request = "" } = await loginPage(new TestBrowser(), {
      state: "a-secret-state",
      extra: { login_hint: ada.email },
    });
    const bytes = Buffer.from(request.slice(3), "base64url").toString("latin1");
    for (const secret of ["a-secret-state", ada.email, "portal-client"]) expect(bytes).not.toContain(secret);
  });

  it("C-30 a button that is pressed twice ends where one press does: login, consent, sign-up", async () => {
    const by = new TestBrowser();
    const fields = await loginPage(by, album);
    const twice = async (path: string, form: Record<string, string>) => {
      const answers = await Promise.all([1, 2].map(() => by.post(app.url + path, form)));
      for (const answer of answers) expect(answer.status).toBe(303);
      return answers;
    };
    const signedIn = await twice("/login", { ...fields, ...login() });
    for (const answer of signedIn) expect(locationOf(answer)).toMatch(/^\/consent\?request=/);
    const [step] = signedIn;
    if (step === undefined) throw new Error("no answer");
    const asked = await fieldsAt(await follow(by, step));
    for (const answer of await twice("/consent", { ...asked, decision: "allow" })) {
      expect(locationOf(answer)).toMatch(/^https:\/\/album\.example\/cb\?code=/);
    }
    const fresh = new TestBrowser();
    const { request = "" } = await loginPage(fresh);
    const form = await fieldsAt(await fresh.get(`${app.url}/signup?request=${request}`));
    const account = { email: `twice-${Date.now()}@example.test`, password: "correct horse battery", nickname: "n" };
    const presses = [1, 2].map(() => fresh.post(`${app.url}/signup`, { ...form, ...account }));
    for (const answer of await Promise.all(presses)) expect(locationOf(answer)).toContain("/callback?code=");
    const other = await fresh.post(`${app.url}/signup`, { ...form, ...account, password: "another long password" });
    expect([other.status, await other.text()]).toEqual([409, expect.stringContaining("already")]);
  });

  it("C-30 a pushed request's form that is sent twice gives a code each time, and to no one else", async () => {
    const { challenge } = pkce();
    const query = Object.fromEntries(new URL(authorizeUrl(app.url, { challenge })).searchParams);
    const pushed = await postForm(`${app.url}/oauth2/par`, query);
    const { request_uri: uri } = (await pushed.json()) as { request_uri: string };
    const link = `${app.url}/oauth2/authorize?${new URLSearchParams({ client_id: "portal-client", request_uri: uri })}`;
    const by = new TestBrowser();
    const fields = await fieldsAt(await follow(by, await by.get(link)));
    const press = () => by.post(`${app.url}/login`, { ...fields, ...login() });
    for (const answer of await Promise.all([press(), press()])) expect(locationOf(answer)).toContain("code=");
    // the link itself was used
    expect((await by.get(link)).status).toBe(400);
    app.clock.shift = 11_000;
    const late = locationOf(await press());
    expect([late.startsWith(portal.redirectUri), late.includes("code=")]).toEqual([true, false]);
    expect(new URL(late).searchParams.get("error")).toBe("invalid_request_uri");
  });

  it("a HEAD of the login page gives no code, and a page whose client is gone opens without it", async () => {
    const by = new TestBrowser();
    const { request = "" } = await loginPage(by, { state: "head" });
    const { browser } = await getTokens(app.url, ada);
    const head = await browser.request(`${app.url}/login?request=${request}`, { method: "HEAD" });
    expect([head.status, locationOf(head)]).toEqual([200, ""]);
    const find = app.context.clients.find.bind(app.context.clients);
    app.context.clients.find = async (id) => (id === "portal-client" ? null : find(id));
    try {
      const plain = await by.get(`${app.url}/login`);
      expect([plain.status, (await fieldsAt(plain))["request"]]).toEqual([200, ""]);
    } finally {
      app.context.clients.find = find;
    }
    expect(by.cookies.has("auth_request")).toBe(false);
  });

  it("a form without the field leads to the browser's latest request, unless that was too long to remember", async () => {
    const by = new TestBrowser();
    await loginPage(by, { state: "first" });
    const { csrf = "" } = await loginPage(by, { state: "second" });
    expect(stateOf(await by.post(`${app.url}/login`, { csrf, ...login() }))).toBe("second");
    const other = new TestBrowser();
    await loginPage(other, { state: "short" });
    const long = await loginPage(other, { state: "l".repeat(2_000), extra: { nonce: "n".repeat(1_500) } });
    expect(locationOf(await other.post(`${app.url}/login`, { csrf: long["csrf"] ?? "", ...login() }))).toBe("/");
  });

  it("a second press of the logout's button says the same as the first", async () => {
    const { browser } = await getTokens(app.url, ada);
    const form = await fieldsAt(await browser.get(`${app.url}/connect/logout`));
    const pages = [];
    for (const _ of [1, 2]) {
      const answer = await browser.post(`${app.url}/connect/logout`, form);
      pages.push([answer.status, await answer.text()]);
    }
    expect(pages[1]).toEqual(pages[0]);
  });

  it("a sign-up with an address that has been taken for long costs its owner no attempt", async () => {
    const owner = await signUp(app.url);
    app.clock.shift = 3_700_000;
    for (let n = 0; n < 11; n++) {
      const by = new TestBrowser();
      const form = { email: owner.email, password: `another password ${n}`, nickname: "n" };
      expect((await by.submit(`${app.url}/signup`, form)).status).toBe(409);
    }
    const by = new TestBrowser();
    const answer = await by.submit(`${app.url}/login`, { email: owner.email, password: owner.password });
    expect(answer.status).toBe(303);
  });

  it("C-32 a browser without cookies is told that cookies are needed", async () => {
    for (const path of ["/login", "/signup", "/password-reset"]) {
      const fields = await fieldsAt(await fetch(app.url + path));
      const answer = await postForm(app.url + path, { ...fields, ...login(), nickname: "n" });
      expect([path, answer.status]).toEqual([path, 403]);
      const page = await answer.text();
      expect(page).toContain("This page needs cookies");
      // a way on
      expect(page).toContain(`href="${path}`);
    }
  });

  it("grants what the consent page showed, and asks again where the client may ask for more by now", async () => {
    const { verifier, challenge } = pkce();
    const by = new TestBrowser();
    // no scope: all that the client may have
    const url = new URL(authorizeUrl(app.url, { ...album, challenge }));
    url.searchParams.delete("scope");
    const fields = await fieldsAt(await follow(by, await by.get(url.href)));
    const consent = await by.post(`${app.url}/login`, { ...fields, ...login() });
    const client = await findClient(app.context, "album");
    if (client === null) throw new Error("no client");
    const withScope = (scope: string) => ({ ...client, metadata: { ...client.metadata, scope } });
    const find = app.context.clients.find.bind(app.context.clients);
    const registeredAs = (scope: string) => {
      app.context.clients.find = async (id) => (id === "album" ? withScope(scope) : find(id));
    };
    try {
      registeredAs("openid profile");
      const shown = await fieldsAt(await follow(by, consent));
      registeredAs("openid profile email");
      const answer = await by.post(`${app.url}/consent`, { ...shown, decision: "allow" });
      expect(locationOf(answer)).toMatch(/^\/consent\?request=/);
      const again = await fieldsAt(await follow(by, answer));
      registeredAs("openid");
      const granted = await by.post(`${app.url}/consent`, { ...again, decision: "allow" });
      const code = new URL(locationOf(granted)).searchParams.get("code") ?? "";
      const form = { grant_type: "authorization_code", code, code_verifier: verifier, client_id: "album" };
      expect(
        await (await postForm(`${app.url}/oauth2/token`, { ...form, redirect_uri: album.redirectUri })).json(),
      ).toMatchObject({ scope: "openid" });
    } finally {
      app.context.clients.find = find;
    }
  });
});
