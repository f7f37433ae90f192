import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  authorizeUrl,
  claimsOf,
  getTokens,
  hiddenFields,
  pkce,
  redeem,
  signUp,
  TestBrowser,
  uniqueEmail,
} from "../support/flow.ts";

const t = MESSAGES.en;
const album = { clientId: "album", redirectUri: "https://album.example/cb", scope: "openid" };
const own = { clientId: "own", redirectUri: "https://own.example/cb", scope: "openid" };
const clients = [
  { client_id: "album", client_name: "Photo Album", redirect_uris: [album.redirectUri], scope: "openid" },
  { client_id: "own", client_name: "Notes", redirect_uris: [own.redirectUri], scope: "openid", first_party: true },
];

let app: TestApp;
beforeAll(async () => {
  app = await startApp({}, clients);
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const locationOf = (answer: Response) => new URL(answer.headers.get("location") ?? "", app.url);
const typed = ({ email, password }: Account) => ({ email, password });
const htmlAt = async (browser: TestBrowser, url: URL) => (await browser.get(url.href)).text();
const linkOf = (html: string, text: string) => {
  const before = html.slice(0, html.indexOf(`>${text}</a>`));
  const href = before.slice(before.lastIndexOf('href="') + 6).split('"')[0] ?? "";
  return new URL(href.replaceAll("&amp;", "&"), app.url);
};

async function signedIn(account: Account): Promise<TestBrowser> {
  const browser = new TestBrowser();
  await browser.submit(`${app.url}/login`, typed(account));
  return browser;
}

/** The user that a code is for. */
async function subjectOf(answer: URL, verifier: string, { clientId, redirectUri }: typeof own): Promise<unknown> {
  const extra = { client_id: clientId, redirect_uri: redirectUri };
  const tokens = await redeem(app.url, answer.searchParams.get("code") ?? "", verifier, extra);
  return claimsOf(((await tokens.json()) as { id_token: string }).id_token)["sub"];
}

describe("an application that asks for one account (id_token_hint)", () => {
  it("gets that account alone, and the page says so to who signs in with another", async () => {
    const [ada, cem] = [await signUp(app.url), await signUp(app.url)];
    const { id_token } = await getTokens(app.url, ada, own);
    const asks = authorizeUrl(app.url, { ...own, extra: { id_token_hint: id_token } });
    const browser = await signedIn(cem);
    const login = locationOf(await browser.get(asks));
    const page = await htmlAt(browser, login);
    expect(page).toContain(t.errors["other_expected"]);
    expect(page).toContain(t.cancelTo("Notes"));
    expect(page).not.toContain(ada.email);
    // as the same again
    const again = locationOf(await browser.submit(login.href, typed(cem)));
    expect(await htmlAt(browser, again)).toContain(t.errors["other_expected"]);
    const answer = locationOf(await browser.submit(again.href, typed(ada)));
    expect([answer.origin, answer.searchParams.has("code")]).toEqual(["https://own.example", true]);
    // nobody is signed in: there is nothing to say
    const other = new TestBrowser();
    expect(await htmlAt(other, locationOf(await other.get(asks)))).not.toContain(t.errors["other_expected"]);
  });
});

describe("a way back from the login", () => {
  it.each(["/login", "/signup"])(
    "C-30 %s has a link that cancels: the application gets access_denied, with state and iss",
    async (page) => {
      const browser = new TestBrowser();
      const login = locationOf(await browser.get(authorizeUrl(app.url, { ...album, state: "s 1" })));
      const html = await htmlAt(browser, new URL(page + login.search, app.url));
      const answer = await browser.get(linkOf(html, t.cancelTo("Photo Album")).href);
      const { origin, searchParams } = locationOf(answer);
      expect([answer.status, origin]).toEqual([302, "https://album.example"]);
      expect(Object.fromEntries(searchParams)).toMatchObject({ error: "access_denied", state: "s 1", iss: app.url });
      // it waits no longer: a login page that names no request leads to the account
      expect((await browser.submit(`${app.url}/login`, typed(await signUp(app.url)))).headers.get("location")).toBe(
        "/",
      );
    },
  );

  it("C-30 a cancelled form_post request is answered by a form, and one that is none by a page", async () => {
    const browser = new TestBrowser();
    const extra = { response_mode: "form_post" };
    const login = locationOf(await browser.get(authorizeUrl(app.url, { ...album, extra })));
    const html = await htmlAt(browser, linkOf(await htmlAt(browser, login), t.cancelTo("Photo Album")));
    expect(hiddenFields(html)).toMatchObject({ error: "access_denied", iss: app.url });
    expect((await browser.get(`${app.url}/cancel?request=none`)).status).toBe(403);
    expect((await browser.get(`${app.url}/cancel`)).status).toBe(403);
    expect(await htmlAt(browser, new URL("/login", app.url))).not.toContain("/cancel");
  });
});

describe("another account", () => {
  it("C-30 consent says who is signed in, and “not you?” comes back to the same consent as somebody else", async () => {
    const [one, two] = [await signUp(app.url), await signUp(app.url)];
    const browser = await signedIn(one);
    const { verifier, challenge } = pkce();
    const consent = locationOf(await browser.get(authorizeUrl(app.url, { ...album, state: "mine", challenge })));
    const html = await htmlAt(browser, consent);
    expect(html).toContain(`<dd>${one.email}</dd>`);
    const login = linkOf(html, t.notYou);
    expect(await htmlAt(browser, login)).toContain("Photo Album");
    const again = await browser.submit(login.href, typed(two));
    const second = locationOf(again);
    expect(second.pathname).toBe("/consent");
    expect(await htmlAt(browser, second)).toContain(`<dd>${two.email}</dd>`);
    const answer = locationOf(await browser.submit(second.href, { decision: "allow" }));
    expect(answer.searchParams.get("state")).toBe("mine");
    expect(await subjectOf(answer, verifier, album)).toBe(two.uuid);
  });

  it("C-30 prompt=select_account shows who is signed in and goes on as that, without a password", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const { verifier, challenge } = pkce();
    const extra = { prompt: "select_account" };
    const page = locationOf(await browser.get(authorizeUrl(app.url, { ...own, challenge, extra })));
    expect(page.pathname).toBe("/select-account");
    const html = await htmlAt(browser, page);
    expect(html).toContain(t.continueAs(account.email));
    expect(html).not.toContain('type="password"');
    expect(locationOf(await browser.get(linkOf(html, t.cancelTo("Notes")).href)).searchParams.get("error")).toBe(
      "access_denied",
    );
    const answer = locationOf(await browser.submit(page.href, {}));
    expect(await subjectOf(answer, verifier, own)).toBe(account.uuid);
    // asked again each time, and the login page of such a request leads here too
    const next = locationOf(await browser.get(authorizeUrl(app.url, { ...own, extra })));
    expect(next.pathname).toBe("/select-account");
    const fromLogin = await browser.get(new URL(`/login${next.search}`, app.url).href);
    expect(locationOf(fromLogin).pathname).toBe("/select-account");
  });

  it("C-30 prompt=select_account lets another account sign in", async () => {
    const [one, two] = [await signUp(app.url), await signUp(app.url)];
    const browser = await signedIn(one);
    const { verifier, challenge } = pkce();
    const extra = { prompt: "select_account" };
    const page = locationOf(await browser.get(authorizeUrl(app.url, { ...own, challenge, extra })));
    const login = linkOf(await htmlAt(browser, page), t.otherAccount);
    const answer = locationOf(await browser.submit(login.href, typed(two)));
    expect(await subjectOf(answer, verifier, own)).toBe(two.uuid);
  });

  it("C-30 a choice of account is no login: max_age and prompt=login still ask for the password, and signed-out browsers too", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    app.clock.shift = 120_000;
    const at = async (by: TestBrowser, extra: Record<string, string>) =>
      locationOf(await by.get(authorizeUrl(app.url, { ...own, extra }))).pathname;
    expect(await at(browser, { prompt: "select_account", max_age: "60" })).toBe("/login");
    expect(await at(browser, { prompt: "select_account login" })).toBe("/login");
    expect(await at(new TestBrowser(), { prompt: "select_account" })).toBe("/login");
    // chosen, and too old by the time of the answer
    const extra = { prompt: "select_account", max_age: "180" };
    const page = locationOf(await browser.get(authorizeUrl(app.url, { ...own, extra })));
    expect(page.pathname).toBe("/select-account");
    app.clock.shift = 200_000;
    expect(locationOf(await browser.submit(page.href, {})).pathname).toBe("/login");
    // a choice in one session is none in another
    const stranger = await signedIn(await signUp(app.url));
    const form = hiddenFields(await htmlAt(browser, page));
    expect((await stranger.post(`${app.url}/select-account`, form)).status).toBe(403);
  });

  it("C-30 prompt=create leads to the sign-up, whoever is signed in, and from there to the application", async () => {
    const account = await signUp(app.url);
    for (const browser of [new TestBrowser(), await signedIn(account)]) {
      const { verifier, challenge } = pkce();
      const extra = { prompt: "create" };
      const page = locationOf(await browser.get(authorizeUrl(app.url, { ...own, challenge, extra })));
      expect(page.pathname).toBe("/signup");
      const email = uniqueEmail();
      const form = { email, password: "correct horse battery", nickname: "New" };
      const answer = locationOf(await browser.submit(page.href, form));
      const created = await app.context.store.users.findByEmail(email);
      expect(await subjectOf(answer, verifier, own)).toBe(created?.uuid);
    }
    // who has an account may sign in instead
    const browser = new TestBrowser();
    const page = locationOf(await browser.get(authorizeUrl(app.url, { ...own, extra: { prompt: "create" } })));
    const login = linkOf(await htmlAt(browser, page), t.signIn);
    expect(locationOf(await browser.submit(login.href, typed(account))).searchParams.has("code")).toBe(true);
    const both = authorizeUrl(app.url, { ...own, extra: { prompt: "none create" } });
    expect(locationOf(await browser.get(both)).searchParams.get("error")).toBe("invalid_request");
    const discovery = await (await fetch(`${app.url}/.well-known/openid-configuration`)).json();
    expect((discovery as Record<string, unknown>)["prompt_values_supported"]).toContain("create");
  });
});
