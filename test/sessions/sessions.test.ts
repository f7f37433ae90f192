import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { hashOf, randomToken } from "../../src/crypto/hashes.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  type AuthorizeOptions,
  authorizeUrl,
  getCode,
  getTokens,
  hiddenFields,
  introspectSettled,
  postJson,
  redeem,
  refresh,
  signUp,
  TestBrowser,
} from "../support/flow.ts";
import { eventsOf, type ToldEvent, until } from "../support/resets.ts";
import { countOf, rowsOf } from "../support/sqlite.ts";

const clients = [
  { client_id: "album", client_name: "Photo <i>Album</i>", redirect_uris: ["https://album.example/cb"] },
];
const album = { clientId: "album", redirectUri: "https://album.example/cb", scope: "openid email" };
const cookieName = "auth_session";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ TRUST_PROXY: "loopback" }, clients);
});
afterEach(() => {
  app.clock.shift = 0;
  jest.restoreAllMocks();
});
afterAll(() => app.close());

const locationOf = (response: Response) => response.headers.get("location") ?? "";
const login = (by: TestBrowser, { email, password }: { email: string; password: string }, headers = {}) =>
  by.submit(`${app.url}/login`, { email, password }, headers);
/** Where an authorization request leads with this cookie: to the login, or back to the client. */
async function leadsTo(cookie: string | undefined, options: AuthorizeOptions = {}): Promise<string> {
  const by = new TestBrowser();
  by.cookies.set(cookieName, cookie ?? "");
  return locationOf(await by.get(authorizeUrl(app.url, options)));
}

describe("the session cookie", () => {
  it("S-034 opens no session for a login without a token of its own form, from another site or of another type", async () => {
    const ada = await signUp(app.url);
    const [by, other] = [new TestBrowser(), new TestBrowser()];
    const pages = await Promise.all([by, other].map(async (who) => (await who.get(`${app.url}/login`)).text()));
    const [own = {}, foreign = {}] = pages.map(hiddenFields);
    const fields = { email: ada.email, password: ada.password };
    const before = by.cookies.get(cookieName);
    const send = (form: Record<string, string>, headers = {}) => by.post(`${app.url}/login`, form, headers);
    const crossSite = { origin: "https://evil.example", "sec-fetch-site": "cross-site" };
    const answers = [
      await send(fields),
      await send({ ...fields, ...foreign }),
      await send({ ...fields, ...own }, { origin: "https://evil.example" }),
      await send({ ...fields, ...own }, crossSite),
      await send({ ...fields, ...own }, { ...crossSite, origin: "null" }),
    ];
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 403));
    for (const type of ["text/plain", "application/json"]) {
      const body = JSON.stringify({ ...fields, ...own });
      const response = await by.request(`${app.url}/login`, {
        method: "POST",
        body,
        headers: { "content-type": type },
      });
      expect([type, response.status]).toEqual([type, 415]);
    }
    expect(by.cookies.get(cookieName)).toBe(before);
    expect(rowsOf(app, "SELECT * FROM browser_session WHERE user_id = ?", ada.uuid)).toEqual([]);
    // a request that no application made leads to no application
    const changed = await send({ ...fields, ...own, request: "x".repeat(22) });
    expect([changed.status, locationOf(changed)]).toEqual([303, "/"]);
  });

  it("S-035 is another one before a login, after it and after the next, and the older ones open nothing", async () => {
    const ada = await signUp(app.url);
    const by = new TestBrowser();
    await by.get(`${app.url}/login`);
    const values = [by.cookies.get(cookieName)];
    for (const _ of [1, 2]) {
      expect((await login(by, ada)).status).toBe(303);
      values.push(by.cookies.get(cookieName));
    }
    expect(new Set(values).size).toBe(3);
    const [before, first, second] = values;
    expect(await leadsTo(before)).toMatch(/^\/login/);
    expect(await leadsTo(first)).toMatch(/^\/login/);
    expect(await leadsTo(second)).toContain("code=");
    // a value that somebody else chose is not taken over
    const fixed = new TestBrowser();
    fixed.cookies.set(cookieName, "A".repeat(43));
    await login(fixed, ada);
    expect(fixed.cookies.get(cookieName)).not.toBe("A".repeat(43));
    expect(await leadsTo("A".repeat(43))).toMatch(/^\/login/);
  });

  it("S-036 belongs to this host alone with an https issuer, unread by scripts and unsent by other sites", async () => {
    const port = new URL(app.url).port;
    const secure = await startApp({ ISSUER: `https://localhost:${port}` });
    try {
      const by = new TestBrowser();
      const page = await by.get(`${secure.url}/login`);
      const fields = { ...hiddenFields(await page.text()), ...(await signUp(secure.url)) };
      const signedIn = await by.post(`${secure.url}/login`, fields);
      expect(signedIn.status).toBe(303);
      const lines = [page, signedIn].flatMap((response) => response.headers.getSetCookie());
      expect(lines.map((line) => line.split("=")[0])).toEqual([
        "__Host-auth_browser",
        "__Host-auth_session",
        "__Host-auth_device",
      ]);
      for (const line of lines) {
        const [pair, ...attributes] = line.split("; ");
        expect(pair).toMatch(/=[\w.-]{43,}$/);
        const where = attributes.filter((attribute) => !attribute.startsWith("Max-Age="));
        expect([line, where.sort()]).toEqual([line, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]]);
      }
    } finally {
      await secure.close();
    }
  });

  it("C-37 outlives a restart of the browser: the cookie lasts as long as the session may", async () => {
    const { email, password } = await signUp(app.url);
    const by = new TestBrowser();
    await by.get(`${app.url}/login`);
    const signedIn = await by.submit(`${app.url}/login`, { email, password });
    const [line] = signedIn.headers.getSetCookie().filter((each) => each.startsWith("auth_session="));
    const maxAge = Number(/; Max-Age=(\d+)/.exec(line ?? "")?.[1]);
    expect(maxAge).toBeGreaterThan(14 * 86_400 - 60);
    expect(maxAge).toBeLessThanOrEqual(14 * 86_400);
  });

  it("S-037 holds 256 random bits: twenty thousand are all different, and only hashes are kept", async () => {
    const ids = Array.from({ length: 20_000 }, randomToken);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.every((id) => /^[\w-]{43}$/.test(id))).toBe(true);
    // of 64^3 beginnings a fair generator shows about 19,260 here
    expect(new Set(ids.map((id) => id.slice(0, 3))).size).toBeGreaterThan(18_500);
    const cookies: string[] = [];
    const ada = await signUp(app.url);
    for (let n = 0; n < 10; n++) {
      const by = new TestBrowser();
      await login(by, ada);
      cookies.push(by.cookies.get(cookieName) ?? "");
    }
    expect(cookies.every((id) => /^[\w-]{43}$/.test(id))).toBe(true);
    const stored = JSON.stringify(rowsOf(app, "SELECT * FROM browser_session"));
    for (const cookie of cookies) {
      expect(stored).toContain(hashOf(cookie));
      expect(stored).not.toContain(cookie);
    }
  });

  it("S-038 ends after a day without use, and after fourteen days whatever its use", async () => {
    const day = 86_400_000;
    const ada = await signUp(app.url);
    const { browser: idle } = await getCode(app.url, ada);
    app.clock.shift = day - 60_000;
    expect(await leadsTo(idle.cookies.get(cookieName))).toContain("code=");
    app.clock.shift = 2 * day;
    expect(await leadsTo(idle.cookies.get(cookieName))).toMatch(/^\/login/);

    app.clock.shift = 0;
    const { browser: busy } = await getCode(app.url, ada);
    for (let days = 0.9; days < 14; days += 0.9) {
      app.clock.shift = days * day;
      expect([days, await leadsTo(busy.cookies.get(cookieName))]).toEqual([days, expect.stringContaining("code=")]);
    }
    app.clock.shift = 14 * day + 1_000;
    expect(await leadsTo(busy.cookies.get(cookieName))).toMatch(/^\/login/);
  });

  it("S-039 opens nothing after a logout, and nothing after a restart either", async () => {
    const own = await startApp();
    const ada = await signUp(own.url);
    const { browser } = await getTokens(own.url, ada);
    const cookie = browser.cookies.get(cookieName) ?? "";
    await browser.submit(`${own.url}/connect/logout`, {});
    const anonymous = async (base: string) => {
      const by = new TestBrowser();
      by.cookies.set(cookieName, cookie);
      expect(locationOf(await by.get(authorizeUrl(base)))).toMatch(/^\/login/);
      expect(await (await by.get(`${base}/`)).text()).not.toContain(ada.email);
    };
    await anonymous(own.url);
    await own.close();
    const again = await startApp(own.env);
    await anonymous(again.url);
    await again.close();
  });
});

describe("the account page", () => {
  const chrome =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36";
  const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

  /** The forms of the page that lead to `path`, each with the label of its button. */
  const formsOf = (html: string, path: string) =>
    html
      .split("<form ")
      .slice(1)
      .filter((form) => form.includes(`action="${path}"`))
      .map((form) => ({
        label: /aria-label="([^"]*)"/.exec(form)?.[1] ?? "",
        fields: hiddenFields(form.split("</form>")[0] ?? ""),
      }));
  const pageOf = async (by: TestBrowser) => (await by.get(`${app.url}/`)).text();
  const endPath = "/account/sessions/end";
  const removePath = "/account/applications/remove";
  const isSignedIn = async (by: TestBrowser) =>
    locationOf(await by.get(authorizeUrl(app.url, { extra: { prompt: "none" } }))).includes("code=");

  async function threeBrowsers(account: Account) {
    const browsers = [new TestBrowser({ "user-agent": chrome }), new TestBrowser({ "user-agent": firefox })];
    browsers.push(new TestBrowser({ "user-agent": `<b>curl</b> ${"x".repeat(200)}` }));
    const tokens = [];
    for (const [n, by] of browsers.entries()) {
      by.headers["x-forwarded-for"] = `192.0.2.${n + 1}`;
      tokens.push(await getTokens(app.url, account, { browser: by }));
    }
    const [one, two, three] = browsers as [TestBrowser, TestBrowser, TestBrowser];
    return { one, two, three, tokens };
  }

  it("S-042 lists where the user is signed in, ends one of them at once and leaves the others", async () => {
    const ada = await signUp(app.url);
    const { one, two, three, tokens } = await threeBrowsers(ada);
    const html = await pageOf(one);
    expect(html).toContain(ada.email);
    for (const text of ["Chrome on Windows", "Firefox on Linux", "192.0.2.1", "192.0.2.2", "192.0.2.3"]) {
      expect(html).toContain(text);
    }
    expect(html).toMatch(/Chrome on Windows<\/strong> <em>this browser<\/em>/);
    expect(html).toContain("&lt;b&gt;curl&lt;/b&gt; xxx");
    expect(html).not.toContain("x".repeat(80));
    expect(html.match(/this browser/g)).toHaveLength(1);
    // no cookie, and nothing that the store knows a session by
    for (const by of [one, two, three]) {
      const cookie = by.cookies.get(cookieName) ?? "";
      expect([html.includes(cookie), html.includes(hashOf(cookie))]).toEqual([false, false]);
    }
    const forms = formsOf(html, endPath);
    expect(forms.map(({ label }) => label)).toEqual([
      expect.stringMatching(/^Sign out: &lt;b&gt;curl/),
      "Sign out: Firefox on Linux, 192.0.2.2",
    ]);
    const ended = await one.post(`${app.url}${endPath}`, forms[1]?.fields ?? {});
    expect([ended.status, locationOf(ended)]).toEqual([303, "/"]);
    expect([await isSignedIn(one), await isSignedIn(two), await isSignedIn(three)]).toEqual([true, false, true]);
    expect(await introspectSettled(app.url, tokens[1]?.access_token ?? "")).toEqual({ active: false });
    expect((await refresh(app.url, tokens[1]?.refresh_token ?? "")).status).toBe(401);
    expect((await refresh(app.url, tokens[2]?.refresh_token ?? "")).status).toBe(200);
    expect(formsOf(await pageOf(one), endPath)).toHaveLength(1);
    // a second click is no fault
    expect((await one.post(`${app.url}${endPath}`, forms[1]?.fields ?? {})).status).toBe(303);
  });

  it("S-042 ends only the user's own sessions, and none by a form of another site or of another button", async () => {
    const [ada, eve] = [await signUp(app.url), await signUp(app.url)];
    const { one, two } = await threeBrowsers(ada);
    const evil = await threeBrowsers(eve);
    const [button] = formsOf(await pageOf(one), endPath);
    const [others] = formsOf(await pageOf(evil.one), endPath);
    const handle = button?.fields["session"] ?? "";
    const attempts: [TestBrowser, Record<string, string>, Record<string, string>][] = [
      [evil.one, button?.fields ?? {}, {}],
      [evil.one, { ...others?.fields, session: handle }, {}],
      [evil.one, { ...others?.fields, session: hashOf(two.cookies.get(cookieName) ?? "") }, {}],
      [one, { session: handle }, {}],
      [one, button?.fields ?? {}, { origin: "https://evil.example", "sec-fetch-site": "cross-site" }],
      [new TestBrowser(), button?.fields ?? {}, {}],
    ];
    for (const [by, fields, headers] of attempts) {
      for (const path of [endPath, "/account/sign-out-everywhere", removePath]) {
        expect((await by.post(`${app.url}${path}`, fields, headers)).status).toBe(403);
      }
    }
    for (const by of [one, two, evil.one, evil.two]) expect(await isSignedIn(by)).toBe(true);
  });

  it("S-042 lists applications with what they may do; one whose access was removed has none and asks again", async () => {
    const ada = await signUp(app.url);
    const by = new TestBrowser();
    const portalTokens = await getTokens(app.url, ada, { browser: by });
    const first = await by.get(authorizeUrl(app.url, album));
    await by.submit(new URL(locationOf(first), app.url).href, { decision: "allow" });
    const albumTokens = await getTokens(app.url, ada, { ...album, browser: by });
    const html = await pageOf(by);
    expect(html).toContain("Photo &lt;i&gt;Album&lt;/i&gt;");
    const names = formsOf(html, removePath).map(({ label }) => label);
    expect(names).toEqual(["Remove access: Photo &lt;i&gt;Album&lt;/i&gt;", "Remove access: Portal"]);
    const [albums = "", portals = ""] = html.split('id="applications"')[1]?.split("Remove access:") ?? [];
    expect(albums).toContain("see your e-mail address");
    expect(albums).not.toContain("change your data");
    expect(portals).toContain("change your data");

    const [remove] = formsOf(html, removePath);
    const removed = await by.post(`${app.url}${removePath}`, remove?.fields ?? {});
    expect([removed.status, locationOf(removed)]).toEqual([303, "/"]);
    expect(await introspectSettled(app.url, albumTokens.access_token)).toEqual({ active: false });
    expect((await refresh(app.url, albumTokens.refresh_token, { client_id: "album" })).status).toBe(401);
    expect((await refresh(app.url, portalTokens.refresh_token)).status).toBe(200);
    expect(locationOf(await by.get(authorizeUrl(app.url, album)))).toMatch(/^\/consent/);
    expect(formsOf(await pageOf(by), removePath).map(({ label }) => label)).toEqual(["Remove access: Portal"]);
    expect((await by.post(`${app.url}${removePath}`, remove?.fields ?? {})).status).toBe(303);
  });

  it("S-042 signs out everywhere at once", async () => {
    const ada = await signUp(app.url);
    const { one, two, three, tokens } = await threeBrowsers(ada);
    const [everywhere] = formsOf(await pageOf(one), "/account/sign-out-everywhere");
    const answer = await one.post(`${app.url}/account/sign-out-everywhere`, everywhere?.fields ?? {});
    expect(answer.status).toBe(303);
    const said = await one.get(new URL(answer.headers.get("location") ?? "", app.url).href);
    expect([said.status, await said.text()]).toEqual([200, expect.stringContaining("You are signed out")]);
    expect(one.cookies.has(cookieName)).toBe(false);
    for (const by of [one, two, three]) expect(await isSignedIn(by)).toBe(false);
    for (const each of tokens) expect((await refresh(app.url, each.refresh_token)).status).toBe(401);
  });

  it("lists no session that has ended for want of use", async () => {
    const ada = await signUp(app.url);
    const { one } = await threeBrowsers(ada);
    app.clock.shift = 12 * 3_600_000;
    await pageOf(one);
    app.clock.shift = 25 * 3_600_000;
    expect(formsOf(await pageOf(one), endPath)).toEqual([]);
  });
});

describe("what a login may do", () => {
  it("S-041 a reset ends every session, code, refresh token and access token", async () => {
    const ada = await signUp(app.url);
    const tokens = await getTokens(app.url, ada);
    const { browser: other } = await getCode(app.url, ada);
    const pending = await getCode(app.url, ada, { browser: other });
    await postJson(`${app.url}/api/users/password-reset`, { email: ada.email });
    const token = await resetTokenOf(ada.uuid);
    const body = { token, newPassword: "another good password" };
    expect((await postJson(`${app.url}/api/users/password-reset/confirm`, body)).status).toBe(204);
    expect(await introspectSettled(app.url, tokens.access_token)).toEqual({ active: false });
    expect((await refresh(app.url, tokens.refresh_token)).status).toBe(401);
    expect((await redeem(app.url, pending.code, pending.verifier)).status).toBe(400);
    for (const by of [tokens.browser, other]) {
      expect(await leadsTo(by.cookies.get(cookieName))).toMatch(/^\/login/);
    }
  });

  it("S-043 never redirects to another origin that a page's parameter names", async () => {
    const targets = [
      "https://evil.example",
      "//evil.example",
      "/\\evil.example",
      "\\\\evil.example",
      "/%09/evil.example",
      "/\t/evil.example",
      "/%00//evil.example",
      "javascript:alert(1)",
      "https:evil.example",
    ];
    const ada = await signUp(app.url);
    const { browser: signedIn } = await getTokens(app.url, ada);
    const stays = async (by: TestBrowser, response: Response) => {
      const location = response.headers.get("location");
      if (location !== null) expect(new URL(location, app.url).origin).toBe(app.url);
      const html = await response.text();
      expect(html).not.toMatch(/(href|action|src)="[^"]*evil\.example|="\s*javascript:/i);
      expect(html).not.toContain("http-equiv");
      return by;
    };
    for (const target of targets) {
      for (const name of ["continue", "next", "return_to", "request", "redirect", "post_logout_redirect_uri"]) {
        const query = new URLSearchParams({ [name]: target });
        for (const path of ["/", "/login", "/signup", "/consent", "/device", "/password-reset", "/connect/logout"]) {
          for (const by of [signedIn, new TestBrowser()]) await stays(by, await by.get(`${app.url}${path}?${query}`));
        }
      }
      const by = new TestBrowser();
      const fields = hiddenFields(await (await by.get(`${app.url}/login`)).text());
      const form = { ...fields, email: ada.email, password: ada.password, continue: target, next: target };
      const answer = await by.post(`${app.url}/login?return_to=${encodeURIComponent(target)}`, form);
      expect([answer.status, locationOf(answer)]).toEqual([303, "/"]);
    }
  });

  it("S-044 hashes ten of a hundred wrong passwords for one account from fifty addresses, then not even the right one", async () => {
    const [ada, bob] = [await signUp(app.url), await signUp(app.url)];
    const verify = jest.spyOn(app.context.passwords, "verify");
    const statuses: number[] = [];
    for (let n = 0; n < 101; n++) {
      const by = new TestBrowser({ "x-forwarded-for": `198.51.100.${n % 50}` });
      statuses.push((await login(by, { ...ada, password: `wrong ${n}` })).status);
    }
    const right = await login(new TestBrowser({ "x-forwarded-for": "203.0.113.1" }), ada);
    expect(right.status).toBe(429);
    expect(Number(right.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(verify).toHaveBeenCalledTimes(10);
    expect(statuses.filter((status) => status === 401)).toHaveLength(10);
    // of one account: the neighbour at the same address is let in
    expect((await login(new TestBrowser({ "x-forwarded-for": "198.51.100.1" }), bob)).status).toBe(303);
  });

  it("C-36 lets thirty right logins of one account in at once: only wrong passwords count", async () => {
    const ada = await signUp(app.url);
    const answers = await Promise.all(
      Array.from({ length: 30 }, async () => {
        const browser = new TestBrowser();
        const answer = await login(browser, ada);
        // where the hashing queue is full, the service says when to come back
        if (answer.status !== 429 || Number(answer.headers.get("retry-after")) > 2) return answer.status;
        await new Promise((resolve) => setTimeout(resolve, 2_000));
        return (await login(browser, ada)).status;
      }),
    );
    expect(new Set(answers)).toEqual(new Set([303]));
    for (let wrong = 0; wrong < 10; wrong++) {
      expect((await login(new TestBrowser(), { ...ada, password: "not the password" })).status).toBe(401);
    }
    expect((await login(new TestBrowser(), ada)).status).toBe(429);
  });

  it("S-047 knows one account and one count by every spelling of an address", async () => {
    const name = `bob.k${Date.now()}`;
    const email = `${name}@x.example`;
    const wide = (text: string) => text.replace(/[a-z]/g, (c) => String.fromCodePoint(c.charCodeAt(0) + 0xfee0));
    const spellings = [
      `Bob${name.slice(3)}@x.example`,
      `${email} `,
      `\u3000${email}\n`,
      wide(email),
      email.toUpperCase(),
      wide(email).normalize("NFD"),
      // the Kelvin sign is a K in NFC and in NFD
      email.replace("k", "\u212a"),
    ];
    const ada = await signUp(app.url, { email: spellings[0] ?? "" });
    for (const spelling of spellings) {
      const body = { email: spelling, password: "correct horse battery", nickname: "n" };
      expect((await postJson(`${app.url}/api/users/signup`, body)).status).toBe(409);
      expect((await login(new TestBrowser(), { email: spelling, password: ada.password })).status).toBe(303);
    }
    expect(rowsOf(app, "SELECT email FROM users WHERE uuid = ?", ada.uuid)).toEqual([{ email }]);
    const statuses: number[] = [];
    for (let n = 0; n < 14; n++) {
      const spelling = spellings[n % spellings.length] ?? "";
      statuses.push((await login(new TestBrowser(), { email: spelling, password: "wrong" })).status);
    }
    expect(statuses).toEqual([...Array(10).fill(401), ...Array(4).fill(429)]);
  });

  it("S-047 counts guesses together for an address that no account can have, composed or not", async () => {
    const email = `jos\u00e9.${Date.now()}@x.example`;
    const spellings = [email.normalize("NFC"), email.normalize("NFD")];
    expect(new Set(spellings).size).toBe(2);
    for (const spelling of spellings) {
      const body = { email: spelling, password: "correct horse battery", nickname: "n" };
      expect((await postJson(`${app.url}/api/users/signup`, body)).status).toBe(400);
    }
    const statuses: number[] = [];
    for (let n = 0; n < 12; n++) {
      const wrong = { email: spellings[n % 2] ?? "", password: "wrong" };
      statuses.push((await login(new TestBrowser(), wrong)).status);
    }
    expect(statuses).toEqual([...Array(10).fill(401), ...Array(2).fill(429)]);
  });

  it("S-049 after a thousand wrong passwords the owner gets in by a reset", async () => {
    const ada = await signUp(app.url);
    const attacker = new TestBrowser();
    const fields = hiddenFields(await (await attacker.get(`${app.url}/login`)).text());
    for (let n = 0; n < 1_000; n++) {
      const form = { ...fields, email: ada.email, password: `wrong ${n}` };
      await (await attacker.post(`${app.url}/login`, form)).arrayBuffer();
    }
    const owner = new TestBrowser();
    expect((await login(owner, ada)).status).toBe(429);
    await owner.submit(`${app.url}/password-reset`, { email: ada.email });
    const token = await resetTokenOf(ada.uuid);
    const reset = await owner.submit(`${app.url}/password-reset?token=${token}`, { password: "another good password" });
    expect(reset.status).toBe(200);
    expect((await login(owner, { ...ada, password: "another good password" })).status).toBe(303);
  });

  it("S-052 GET requests alone neither sign in nor issue a code", async () => {
    const ada = await signUp(app.url);
    const { browser: signedIn } = await getTokens(app.url, ada);
    const signedInRows = () => rowsOf(app, "SELECT * FROM browser_session WHERE user_id IS NOT NULL").length;
    const before = [signedInRows(), countOf(app, "oauth2_authorization_code"), countOf(app, "oauth2_authorization")];
    const prefetch = new TestBrowser({ "sec-purpose": "prefetch;prerender", purpose: "prefetch" });
    const query = new URLSearchParams({ email: ada.email, password: ada.password, decision: "allow", csrf: "x" });
    for (const path of ["/", "/login", "/signup", "/consent", "/password-reset", "/device", "/device/decision"]) {
      for (const url of [`${app.url}${path}`, `${app.url}${path}?${query}`]) {
        await prefetch.get(url);
        await signedIn.get(url);
      }
    }
    for (const options of [{}, album, { extra: { prompt: "none" } }]) {
      let response = await prefetch.get(authorizeUrl(app.url, options));
      for (let step = 0; step < 5 && locationOf(response).startsWith("/"); step++) {
        response = await prefetch.get(new URL(locationOf(response), app.url).href);
      }
      expect(locationOf(response)).not.toContain("code=");
    }
    // who is signed in and was not asked yet is asked, again by a form
    expect(locationOf(await signedIn.get(authorizeUrl(app.url, album)))).toMatch(/^\/consent/);
    const after = [signedInRows(), countOf(app, "oauth2_authorization_code"), countOf(app, "oauth2_authorization")];
    expect(after).toEqual(before);
  });
});

async function resetTokenOf(uuid: string): Promise<string> {
  const isMine = ({ topic, key }: ToldEvent) => topic === "password-reset" && key === uuid;
  const { event } = await until(() => eventsOf(app).findLast(isMine));
  return event.payload["resetToken"] ?? "";
}
