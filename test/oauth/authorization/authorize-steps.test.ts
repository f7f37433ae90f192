import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { hashOf } from "../../../src/crypto/hashes.ts";
import { AuthError } from "../../../src/errors.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  type Account,
  type AuthorizeOptions,
  authorizeUrl,
  getTokens,
  hiddenFields,
  pkce,
  redeem,
  signUp,
  TestBrowser,
} from "../../support/flow.ts";
import { countOf, rowsOf } from "../../support/sqlite.ts";

const clients = [
  { client_id: "web", redirect_uris: ["https://good.example/cb"], first_party: true, scope: "openid profile" },
  ...[true, false].map((first_party) => ({
    client_id: first_party ? "own-app" : "app",
    application_type: "native",
    redirect_uris: ["http://127.0.0.1/cb"],
    scope: "openid",
    first_party,
  })),
  { client_id: "album", redirect_uris: ["https://album.example/cb"], scope: "openid profile email" },
];
const web = { clientId: "web", redirectUri: "https://good.example/cb", scope: "openid" };
const album = { clientId: "album", redirectUri: "https://album.example/cb", scope: "openid" };

let app: TestApp;
let ada: Account & { uuid: string };
let browser: TestBrowser;
beforeAll(async () => {
  app = await startApp({}, clients);
  ada = await signUp(app.url);
  ({ browser } = await getTokens(app.url, ada));
});
afterEach(() => {
  jest.restoreAllMocks();
});
afterAll(() => app.close());

const urlOf = (options: AuthorizeOptions = web) => authorizeUrl(app.url, options);
const locationOf = (response: Response) => response.headers.get("location") ?? "";
const answerOf = (response: Response) => new URL(locationOf(response) || "none:").searchParams;
const codes = () => countOf(app, "oauth2_authorization_code");
const sessions = () => countOf(app, "browser_session");
const credentials = () => ({ email: ada.email, password: ada.password });
const follow = (by: TestBrowser, response: Response) => by.get(new URL(locationOf(response), app.url).href);

/** A fresh browser before the login, or with `signedIn` before the consent, of a request. */
async function atPage(options: AuthorizeOptions, signedIn = false) {
  const by = signedIn ? (await getTokens(app.url, await signUp(app.url), web)).browser : new TestBrowser();
  const html = await (await follow(by, await by.get(urlOf(options)))).text();
  return { by, html, fields: hiddenFields(html) };
}

describe("the authorization endpoint's answers", () => {
  it("S-016 answers every form that ends in a redirect with 303", async () => {
    const login = await atPage(album);
    const consent = await login.by.post(`${app.url}/login`, { ...login.fields, ...credentials() });
    expect([consent.status, locationOf(consent)]).toEqual([303, expect.stringMatching(/^\/consent/)]);
    const page = await (await follow(login.by, consent)).text();
    const answer = await login.by.post(`${app.url}/consent`, { ...hiddenFields(page), decision: "deny" });
    expect([answer.status, answerOf(answer).get("error")]).toEqual([303, "access_denied"]);
    const { by } = await atPage(web);
    const signup = { email: `s-${Date.now()}@example.test`, password: "correct horse battery", nickname: "n" };
    const signedUp = await by.submit(`${app.url}/signup`, signup);
    expect([signedUp.status, answerOf(signedUp).has("code")]).toEqual([303, true]);
    const posted = await browser.post(`${app.url}/oauth2/authorize`, Object.fromEntries(new URL(urlOf()).searchParams));
    expect([posted.status, answerOf(posted).has("code")]).toEqual([303, true]);
  });

  it("S-016 brings the client's callback a GET without a body, also as the answer to a password or a consent", async () => {
    const got: [method: string, url: string, body: string][] = [];
    const callback = createServer(async (request, response) => {
      const body = (await request.toArray()).join("");
      got.push([request.method ?? "", request.url ?? "", body]);
      response.end();
    });
    await new Promise<void>((resolve) => callback.listen(0, "127.0.0.1", resolve));
    const redirectUri = `http://127.0.0.1:${(callback.address() as AddressInfo).port}/cb`;
    const post = (by: TestBrowser, path: string, form: Record<string, string>) =>
      by.request(app.url + path, { method: "POST", body: new URLSearchParams(form), redirect: "follow" });
    try {
      const login = await atPage({ clientId: "own-app", redirectUri, scope: "openid" });
      await post(login.by, "/login", { ...login.fields, ...credentials() });
      const consent = await atPage({ clientId: "app", redirectUri, scope: "openid" }, true);
      await post(consent.by, "/consent", { ...consent.fields, decision: "allow" });
      const code = expect.stringMatching(/^\/cb\?code=[\w-]{43}&state=a-state&iss=/);
      expect(got).toEqual([
        ["GET", code, ""],
        ["GET", code, ""],
      ]);
    } finally {
      callback.close();
    }
  });

  it("S-022 lets no other origin read an answer of the authorization endpoint", async () => {
    for (const method of ["GET", "POST", "OPTIONS"]) {
      const headers = { origin: "https://evil.example", "access-control-request-method": "GET" };
      const response = await browser.request(urlOf(), { method, headers });
      const names = [...response.headers.keys()].filter((name) => name.startsWith("access-control-"));
      expect([method, names]).toEqual([method, []]);
    }
  });

  it("S-024 tells a registered client that prompt=none needs a login, and never redirects to an unknown client", async () => {
    const silent = await new TestBrowser().get(urlOf({ ...web, extra: { prompt: "none" } }));
    expect(locationOf(silent)).toMatch(/^https:\/\/good\.example\/cb\?error=login_required&/);
    const wrong = await new TestBrowser().get(urlOf({ ...web, scope: "x", extra: { prompt: "none" } }));
    expect(locationOf(wrong)).toMatch(/^https:\/\/good\.example\/cb\?error=invalid_scope&/);
    for (const options of [
      { ...web, clientId: "never-seen", redirectUri: "https://phishing.example/" },
      { ...web, redirectUri: "https://phishing.example/" },
    ]) {
      for (const extra of [{ prompt: "none" }, { scope: "x" }, { response_type: "" }]) {
        const response = await new TestBrowser().get(urlOf({ ...options, extra: extra as Record<string, string> }));
        expect([response.status, response.headers.get("location")]).toEqual([400, null]);
      }
    }
  });

  it("S-025 takes the request as a form too, refuses it as JSON, and does nothing at HEAD", async () => {
    const parameters = Object.fromEntries(new URL(urlOf()).searchParams);
    const before = codes();
    const form = await browser.post(`${app.url}/oauth2/authorize`, parameters);
    expect(answerOf(form).get("code")).toBeTruthy();
    expect(codes()).toBe(before + 1);
    const json = await browser.request(`${app.url}/oauth2/authorize`, {
      method: "POST",
      body: JSON.stringify(parameters),
      headers: { "content-type": "application/json" },
    });
    expect([json.status, json.headers.get("location")]).toEqual([415, null]);
    const open = sessions();
    for (const by of [browser, new TestBrowser()]) {
      const head = await by.request(urlOf(), { method: "HEAD" });
      expect([head.status, head.headers.get("location"), head.headers.getSetCookie()]).toEqual([405, null, []]);
    }
    expect([codes(), sessions()]).toEqual([before + 1, open]);
  });

  it("S-026 refuses request objects, foreign request URIs and the registration parameter, and fetches none of them", async () => {
    let connections = 0;
    const listener = createServer((_request, response) => response.end()).on("connection", () => connections++);
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    const there = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
    const none = Buffer.from('{"alg":"none"}').toString("base64url");
    const claims = Buffer.from(JSON.stringify({ redirect_uri: there, request_uri: there })).toString("base64url");
    try {
      for (const [extra, error] of [
        [{ request: `${none}.${claims}.` }, "request_not_supported"],
        [{ request: there }, "request_not_supported"],
        [{ request_uri: `${there}/request.jwt` }, "request_uri_not_supported"],
        [{ registration: JSON.stringify({ jwks_uri: there, redirect_uris: [there] }) }, "registration_not_supported"],
      ] as const) {
        for (const by of [browser, new TestBrowser()]) {
          expect(answerOf(await by.get(urlOf({ ...web, extra }))).get("error")).toBe(error);
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(connections).toBe(0);
    } finally {
      listener.close();
    }
  });

  it("S-028 lets markup and line ends of any parameter or field reach neither a page nor a header", async () => {
    const hostile = `"><script>alert(1)</script><img src=x>{{1337*7331}}<%= 1337*7331 %>\r\nSet-Cookie: evil=1\r\n\r\n<b>`;
    const names = [...new URL(urlOf()).searchParams.keys(), "nonce", "prompt", "max_age", "login_hint", "ui_locales"];
    names.push("claims", "id_token_hint", "acr_values", "resource", "response_mode", "dpop_jkt", "request", hostile);
    const look = async (response: Response) => {
      expect([...response.headers].flat().filter((text) => /[\r\n]|^evil=1/.test(text))).toEqual([]);
      expect(response.headers.getSetCookie().filter((line) => line.startsWith("evil"))).toEqual([]);
      const html = await response.text();
      for (const raw of ["<script>alert", "<img src=x", "9801547", "<b>"]) {
        // our own style may hold digits; what was sent stands in the body
        expect(html.slice(html.indexOf("<body>"))).not.toContain(raw);
      }
    };
    for (const name of names) {
      const by = new TestBrowser();
      const response = await by.get(urlOf({ ...web, extra: { [name]: hostile } }));
      await look(response.clone());
      if (locationOf(response).startsWith("/")) await look(await follow(by, response));
    }
    const { by, fields } = await atPage(web);
    for (const field of ["email", "password", "request", "csrf"]) {
      await look(await by.post(`${app.url}/login`, { ...fields, ...credentials(), [field]: hostile }));
    }
  });

  it("S-029 redirects a server error to the client once its URI is verified, and shows a page before", async () => {
    const { authorizations: store } = app.context.store;
    const away = new AuthError("unavailable", "the database is away", { retryAfter: 1 });
    for (const [failure, error] of [
      [away, "temporarily_unavailable"],
      [new Error("secret detail"), "server_error"],
    ] as const) {
      const failing = jest.spyOn(store, "createCode").mockRejectedValue(failure);
      const answer = await browser.get(urlOf());
      failing.mockRestore();
      expect(locationOf(answer)).toMatch(/^https:\/\/good\.example\/cb\?/);
      expect(Object.fromEntries(answerOf(answer))).toMatchObject({ error, state: "a-state", iss: app.url });
      expect(locationOf(answer)).not.toContain("secret");
    }
    jest.spyOn(app.context.clients, "find").mockRejectedValue(away);
    const early = await new TestBrowser().get(urlOf());
    expect([early.status, early.headers.get("location")]).toEqual([503, null]);
    expect(Number(early.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await early.text()).not.toMatch(/\bat .+:\d+|the database/);
  });

  it("S-029 tells the client that the user denied, or that the server failed after a login or a consent, with state and iss", async () => {
    const told = { state: "a-state", iss: app.url };
    const consent = await atPage(album, true);
    const decide = (decision: string) => consent.by.post(`${app.url}/consent`, { ...consent.fields, decision });
    const failing = jest.spyOn(app.context.store.authorizations, "createCode");
    failing.mockRejectedValue(new Error("secret detail"));
    const { sessions } = app.context.store;
    const signIn = sessions.signIn.bind(sessions);
    const failingLogin = jest.spyOn(sessions, "signIn").mockImplementation(async (session, proof, first) => {
      if (first != null) throw new Error("secret detail");
      return signIn(session, proof);
    });
    const login = await atPage(web);
    for (const answer of [
      await browser.get(urlOf()),
      await login.by.post(`${app.url}/login`, { ...login.fields, ...credentials() }),
      await decide("allow"),
    ]) {
      expect(Object.fromEntries(answerOf(answer))).toMatchObject({ error: "server_error", ...told });
      expect(locationOf(answer)).not.toMatch(/secret|code=/);
    }
    failing.mockRestore();
    failingLogin.mockRestore();
    const denied = await decide("deny");
    expect(locationOf(denied)).toMatch(/^https:\/\/album\.example\/cb\?/);
    expect(Object.fromEntries(answerOf(denied))).toMatchObject({ error: "access_denied", ...told });
  });
});

describe("the steps of an authorization", () => {
  it("leads to the login, not back to the client, where the session was replaced while the code was made, as by a step-up in another tab", async () => {
    const { authorizations } = app.context.store;
    jest.spyOn(authorizations, "createCode").mockResolvedValueOnce("session_ended");
    const answer = await browser.get(urlOf());
    expect([answer.status, locationOf(answer)]).toEqual([302, expect.stringMatching(/^\/login\?request=/)]);
    // who is signed in there goes on without a password
    const goesOn = await follow(browser, answer);
    expect([goesOn.status, answerOf(goesOn).get("code")]).toEqual([302, expect.any(String)]);
    jest.spyOn(authorizations, "createCode").mockResolvedValueOnce("session_ended");
    const silent = await browser.get(`${urlOf()}&prompt=none`);
    expect(answerOf(silent).get("error")).toBe("login_required");
  });

  it("S-030 binds the code to client, URI, challenge, user, scope, nonce and time of login, and keeps its hash only", async () => {
    const { verifier, challenge } = pkce();
    const seen: string[] = [];
    const by = new TestBrowser();
    const keep = async (response: Response) => {
      seen.push(JSON.stringify([...response.headers]), await response.clone().text());
      return response;
    };
    const options = { ...web, scope: "openid profile", challenge, extra: { nonce: "a-nonce" } };
    const page = await keep(await follow(by, await keep(await by.get(urlOf(options)))));
    const fields = { ...hiddenFields(await page.text()), ...credentials() };
    const before = Date.now();
    const answer = await keep(await by.post(`${app.url}/login`, fields));
    const after = Date.now();
    const code = answerOf(answer).get("code") ?? "";
    const rows = rowsOf(app, "SELECT * FROM oauth2_authorization_code WHERE code_hash = ?", hashOf(code));
    expect(rows).toEqual([
      expect.objectContaining({
        client_id: "web",
        redirect_uri: web.redirectUri,
        user_id: ada.uuid,
        scope: "openid profile",
        nonce: "a-nonce",
        code_challenge: challenge,
        redeemed_at: null,
      }),
    ]);
    expect(Number(rows[0]?.["auth_time"])).toBeGreaterThanOrEqual(before);
    expect(Number(rows[0]?.["auth_time"])).toBeLessThanOrEqual(after);
    expect(JSON.stringify(rows)).not.toContain(code);
    expect(Number(rows[0]?.["expires_at"]) - Number(rows[0]?.["created_at"])).toBe(60_000);
    const body = { client_id: "web", redirect_uri: web.redirectUri };
    await keep(await redeem(app.url, code, verifier, body));
    expect(seen.filter((text) => text.includes(challenge))).toEqual([]);
    expect(seen.at(-1)).toContain("access_token");
  });

  it("S-031 refuses to skip a step and to answer for another browser; a form that is sent again ends where it ended before", async () => {
    const before = codes();
    const { by, fields, html } = await atPage(album);
    expect(html).toContain("album");
    // consent before the login
    const skipped = locationOf(await by.get(`${app.url}/consent?request=${fields["request"]}`));
    expect(skipped).toBe(`/login?request=${fields["request"]}`);
    const early = await by.post(`${app.url}/consent`, { ...fields, decision: "allow" });
    expect(early.status).toBe(403);
    // nothing at all
    for (const [path, status] of [
      ["/oauth2/authorize", 400],
      ["/login", 403],
      ["/consent", 403],
      ["/signup", 403],
    ] as const) {
      for (const who of [by, browser, new TestBrowser()]) {
        const empty = await who.post(app.url + path, {});
        expect([path, empty.status, empty.headers.get("location")]).toEqual([path, status, null]);
        const nothing = await who.request(app.url + path, { method: "POST" });
        expect([path, nothing.status, nothing.headers.get("location")]).toEqual([path, 415, null]);
      }
    }
    // another browser, signed in, with the same request: it is asked as if it had followed the application's link
    const elsewhere = await browser.get(`${app.url}/consent?request=${fields["request"]}`);
    const form = hiddenFields(await elsewhere.text());
    expect(elsewhere.status).toBe(200);
    expect((await by.post(`${app.url}/consent`, { ...form, decision: "allow" })).status).toBe(403);
    // a request that no one made
    for (const request of [`${fields["request"]}x`, "v1.", "v1.AAAA", "A".repeat(22), "A".repeat(8_000)]) {
      const changed = await browser.get(`${app.url}/consent?request=${request}`);
      expect([changed.status, changed.headers.get("location")]).toEqual([403, null]);
    }
    expect(codes()).toBe(before);

    const consent = await by.post(`${app.url}/login`, { ...fields, ...credentials() });
    const asked = hiddenFields(await (await follow(by, consent)).text());
    for (let press = 1; press <= 2; press++) {
      const allowed = await by.post(`${app.url}/consent`, { ...asked, decision: "allow" });
      expect(answerOf(allowed).get("code")).toBeTruthy();
      expect(codes()).toBe(before + press);
    }
    const repeated = await by.post(`${app.url}/login`, { ...fields, ...credentials() });
    expect([repeated.status, answerOf(repeated).has("code")]).toEqual([303, true]);
    const denied = await by.post(`${app.url}/login`, { ...fields, email: ada.email });
    expect([denied.status, denied.headers.get("location")]).toEqual([401, null]);
  });

  it("S-032 asks for consent until it was given for these scopes, at prompt=consent again, and skips it for first parties only", async () => {
    const owner = await signUp(app.url);
    const { browser: by } = await getTokens(app.url, owner, web);
    const step = async (options: AuthorizeOptions) => locationOf(await by.get(urlOf(options)));
    expect(await step(album)).toMatch(/^\/consent/);
    expect(await step(album)).toMatch(/^\/consent/);
    const silent = await by.get(urlOf({ ...album, extra: { prompt: "none" } }));
    expect(answerOf(silent).get("error")).toBe("consent_required");
    const both = { ...album, scope: "openid email" };
    await by.submit(new URL(await step(both), app.url).href, { decision: "allow" });
    // the same scopes, and fewer of them
    for (const scope of ["openid email", "email openid", "openid", "email"]) {
      expect([scope, await step({ ...album, scope })]).toEqual([scope, expect.stringMatching(/[?&]code=/)]);
    }
    for (const scope of ["openid email profile", "profile"]) {
      expect([scope, await step({ ...album, scope })]).toEqual([scope, expect.stringMatching(/^\/consent/)]);
    }
    for (const client of [album, web]) {
      expect(await step({ ...client, extra: { prompt: "consent" } })).toMatch(/^\/consent/);
    }
  });

  it("S-033 binds the consent form to its session and to its request", async () => {
    const [one, other] = [await atPage(album, true), await atPage(album, true)];
    const before = codes();
    const second = await one.by.get(urlOf({ ...album, scope: "openid email", extra: { prompt: "consent" } }));
    const reference = new URL(locationOf(second), app.url).searchParams.get("request") ?? "";
    for (const form of [
      { request: one.fields["request"] ?? "" },
      { ...one.fields, csrf: other.fields["csrf"] ?? "" },
      { ...one.fields, request: reference },
      { ...other.fields },
      { ...one.fields, csrf: "" },
    ]) {
      const response = await one.by.post(`${app.url}/consent`, { ...form, decision: "allow" });
      expect([response.status, response.headers.get("location")]).toEqual([403, null]);
    }
    const crossSite = { origin: "https://evil.example", "sec-fetch-site": "cross-site" };
    const forged = await one.by.post(`${app.url}/consent`, { ...one.fields, decision: "allow" }, crossSite);
    expect(forged.status).toBe(403);
    expect(codes()).toBe(before);
    const own = await one.by.post(`${app.url}/consent`, { ...one.fields, decision: "allow" });
    expect(answerOf(own).get("code")).toBeTruthy();
  });
});
