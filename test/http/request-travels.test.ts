import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { PAGE_OF_FORM } from "../../src/http/pages-of-forms.ts";
import { requestDeletion } from "../../src/users/deletion.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { codeOf, setUpApp } from "../support/factors.ts";
import { type Account, authorizeUrl, hiddenFields, signUp, TestBrowser } from "../support/flow.ts";
import { newPasskeyOwner } from "../support/passkeys.ts";
import { resetTokenFor } from "../support/resets.ts";

const clients = ["Photo Album", "Shop"].map((client_name) => ({
  client_id: client_name.toLowerCase().replace(" ", "-"),
  client_name,
  redirect_uris: ["https://app.example/cb"],
  scope: "openid",
}));

let app: TestApp;
beforeAll(async () => {
  app = await startApp({}, clients);
});
afterAll(() => app.close());

/** A browser with a tab at the album's login page, and another tab that was opened later for the shop. */
async function twoTabs(
  browser = new TestBrowser(),
  extra: Record<string, string> = {},
): Promise<{ browser: TestBrowser; request: string }> {
  const open = async (clientId: string) => {
    const url = authorizeUrl(app.url, { clientId, redirectUri: "https://app.example/cb", scope: "openid", extra });
    return new URL((await browser.get(url)).headers.get("location") ?? "", app.url).searchParams.get("request") ?? "";
  };
  const request = await open("photo-album");
  await open("shop");
  return { browser, request };
}

/** As a browser opens an address. */
const navigate = (browser: TestBrowser, url: string) => browser.request(url, { headers: { accept: "text/html,*/*" } });

const about = (path: string, request: string) => `${app.url}${path}?request=${request}`;

/** Sends the form of a page as it stands there. */
async function send(browser: TestBrowser, html: string, fields: Record<string, string>): Promise<string> {
  const action = /<form[^>]* action="([^"]+)"/.exec(html)?.[1] ?? "";
  return (await browser.post(new URL(action, app.url).href, { ...hiddenFields(html), ...fields })).text();
}

/** The addresses of this service's pages that a page leads to, which are about a request where they are about signing in. */
function leadsTo(html: string): URL[] {
  const urls = [...html.matchAll(/ (?:href|data-path)="([^"#]+)"/g)].map(
    ([, url = ""]) => new URL(url.replaceAll("&amp;", "&"), app.url),
  );
  return urls.filter(
    ({ origin, pathname }) => origin === app.url && /^\/(login|signup|password-reset|cancel)/.test(pathname),
  );
}

function expectAllAbout(request: string, html: string): void {
  const others = leadsTo(html).filter(({ searchParams }) => searchParams.get("request") !== request);
  expect(others.map(String)).toEqual([]);
  expect(leadsTo(html).length).toBeGreaterThan(0);
}

describe("C-31 the request of an application", () => {
  let owner: Awaited<ReturnType<typeof setUpApp>>;
  beforeAll(async () => {
    owner = await setUpApp(app.url, await signUp(app.url), () => app.clock.now());
  });

  const signIn = (browser: TestBrowser, html: string, { email, password }: Account) =>
    send(browser, html, { email, password });

  it("stays with its tab through every page of signing in, whatever another tab is about", async () => {
    const { browser, request } = await twoTabs();
    const login = await (await browser.get(about("/login", request))).text();
    const wrong = await signIn(browser, login, { ...owner.account, password: "not this one" });
    const resetPage = leadsTo(login).find(({ pathname }) => pathname === "/password-reset");
    const reset = await (await browser.get(resetPage?.href ?? "")).text();
    const badReset = await send(browser, reset, { email: "nonsense" });
    const sent = await send(browser, reset, { email: owner.account.email });
    const signup = await (await browser.get(about("/signup", request))).text();
    const badSignup = await send(browser, signup, { email: "nonsense", password: "short", nickname: "" });
    const second = await signIn(browser, login, owner.account);
    expect(second).toContain('name="code"');
    const badCode = await send(browser, second, { code: "000000" });
    for (const page of [login, wrong, reset, badReset, sent, signup, badSignup, second, badCode]) {
      expectAllAbout(request, page);
    }
  });

  it("waits for another account once its user asked for one, whatever page comes between", async () => {
    const [ada, bob] = [await signUp(app.url), await signUp(app.url)];
    const browser = new TestBrowser();
    await browser.submit(`${app.url}/login`, { email: ada.email, password: ada.password });
    const { request } = await twoTabs(browser);
    const consent = await (await browser.get(about("/consent", request))).text();
    expect(consent).toContain(ada.email);
    const open = async (html: string, pattern: RegExp) => {
      const answer = await browser.get(new URL((pattern.exec(html)?.[1] ?? "").replaceAll("&amp;", "&"), app.url).href);
      expect([pattern, answer.status]).toEqual([pattern, 200]);
      return answer.text();
    };
    const signInPage = /href="([^"]*\/login\?request=[^"]+)"/;
    const login = await open(consent, /href="([^"]+account=other)"/);
    const reset = await open(login, /href="([^"]*\/password-reset[^"]*)"/);
    const sent = await send(browser, reset, { email: ada.email });
    const signup = await open(login, /href="([^"]*\/signup[^"]*)"/);
    const wrong = await signIn(browser, login, { ...ada, password: "not this one" });
    const german = /href="(\?[^"]*language=de[^"]*)"/.exec(wrong)?.[1]?.replaceAll("&amp;", "&") ?? "";
    const again = await browser.get(`${app.url}/login${german}`);
    const pages = [await open(reset, signInPage), await open(sent, signInPage), await open(signup, signInPage)];
    for (const page of [...pages, await again.text()]) {
      expect(page).toContain('name="password"');
      expect(page).toContain("Photo Album");
    }
    const { email, password } = bob;
    const fields = { ...hiddenFields(pages[0] ?? ""), email, password };
    const next = (await browser.post(`${app.url}/login`, fields)).headers.get("location") ?? "";
    expect(next).toMatch(/^\/consent\?/);
    expect(await (await browser.get(new URL(next, app.url).href)).text()).toContain(bob.email);
  });

  it("is kept where the address of a form is opened without it", async () => {
    const { browser, request } = await twoTabs();
    for (const path of ["/login/passkey", "/login/second-factor", "/signup/passkey", "/account/restore"]) {
      const answer = await navigate(browser, about(path, request));
      const target = new URL(answer.headers.get("location") ?? "", app.url);
      expect([path, answer.status, target.searchParams.get("request")]).toEqual([path, 302, request]);
      const page = await (await browser.get(target.href)).text();
      expect([path, page.includes("Photo Album")]).toEqual([path, true]);
    }
    const send = await navigate(browser, about("/verify-email/send", request));
    expect(send.headers.get("location")).toBe(`/verify-email?request=${request}`);
  });

  it("is where a page about lost cookies leads, by the application's name", async () => {
    const closed = await signUp(app.url);
    const { browser, request } = await twoTabs();
    await requestDeletion(app.context, closed.uuid);
    const login = await (await browser.get(about("/login", request))).text();
    const pages = [
      login,
      await (await browser.get(about("/signup", request))).text(),
      await (await browser.get(about("/password-reset", request))).text(),
      await (await browser.get(about("/verify-email", request))).text(),
      await signIn(browser, login, owner.account),
      await signIn(browser, login, closed),
    ];
    for (const page of pages) {
      const refused = await send(new TestBrowser(), page, {});
      expect(refused).toContain("Photo Album");
      const back = /<a class="button" href="([^"]+)"/.exec(refused)?.[1] ?? "";
      expect(new URL(back, app.url).searchParams.get("request")).toBe(request);
      const again = await (await new TestBrowser().get(new URL(back, app.url).href)).text();
      expect(again).toContain("Photo Album");
    }
  });

  it.each(["/login", "/signup", "/password-reset", "/login/passkey", "/login/second-factor"])(
    "is where a form to %s leads that cannot be read, by the application's name",
    async (path) => {
      const { browser, request } = await twoTabs();
      const body = "credential=a&credential=b&email=a&email=b";
      const answer = await browser.request(about(path, request), {
        method: "POST",
        body,
        headers: { "content-type": "application/x-www-form-urlencoded", accept: "text/html" },
      });
      const html = await answer.text();
      expect(answer.status).toBe(400);
      expect(html).toContain(MESSAGES.en.continueTo("Photo Album"));
      expectAllAbout(request, html);
    },
  );

  it("stays with its tab while a second factor is set up that it wants", async () => {
    const account = await signUp(app.url);
    const signedIn = new TestBrowser();
    await signedIn.submit(`${app.url}/login`, { email: account.email, password: account.password });
    const { browser, request } = await twoTabs(signedIn, { acr_values: "urn:auth-service:acr:two-factor" });
    const follow = async (html: string, path: string) => {
      const found = [...html.matchAll(/ href="([^"#]+)"/g)].map(([, url = ""]) => new URL(url, app.url));
      const link = found.find(({ pathname, search }) => pathname === path && search !== "");
      return browser.get(link?.href ?? `${app.url}/no-link-to${path}`);
    };
    const stepUp = await (await browser.get(about("/step-up", request))).text();
    const setUp = await (await follow(stepUp, "/account/security/totp")).text();
    const secret = (/<code>([A-Z2-7 ]+)<\/code>/.exec(setUp)?.[1] ?? "").replaceAll(" ", "");
    const action = /<form[^>]* action="([^"]+)"/.exec(setUp)?.[1] ?? "";
    const form = { ...hiddenFields(setUp), code: codeOf(secret, app.clock.now()) };
    const added = await browser.post(new URL(action, app.url).href, form);
    const security = await (await browser.get(new URL(added.headers.get("location") ?? "", app.url).href)).text();
    expect(security).toContain("Continue to Photo Album");
    const onward = await follow(security, "/step-up");
    expect(new URL(onward.headers.get("location") ?? "", app.url).searchParams.get("request")).toBe(request);
  });

  it("is kept where the session is over by the time something is set up, and where a passkey is renamed or removed", async () => {
    const { browser, request } = await twoTabs();
    for (const path of ["", "/totp", "/passkeys", "/confirm", "/totp/remove", "/passkeys/remove"]) {
      const answer = await browser.get(about(`/account/security${path}`, request));
      expect([path, answer.headers.get("location")]).toEqual([path, `/login?request=${request}`]);
    }
    const account = await newPasskeyOwner([app.url, app.url], new Authenticator(app.url));
    const owned = await (await account.browser.get(about("/account/security", request))).text();
    const changing = [...owned.matchAll(/ (?:href|action)="([^"]*passkeys\/(?:name|remove)[^"]*)"/g)];
    expect(changing).toHaveLength(2);
    for (const [, url = ""] of changing) {
      const { searchParams } = new URL(url.replaceAll("&amp;", "&"), app.url);
      expect(searchParams.get("request")).toBe(request);
    }
  });

  it.each(["passkeys/name", "recovery-codes"])("is kept where %s is opened again without its form", async (page) => {
    const { browser, request } = await twoTabs();
    const answer = await navigate(browser, about(`/account/security/${page}`, request));
    expect(answer.headers.get("location")).toBe(`/account/security?request=${request}`);
  });

  it("is kept by the page that sends a link, which mails the account it was about, whoever is signed in by then", async () => {
    const { browser, request } = await twoTabs();
    const [ada, eve] = [await signUp(app.url), await signUp(app.url)];
    await browser.submit(`${app.url}/login`, { email: ada.email, password: ada.password });
    const page = await (await browser.get(about("/verify-email", request))).text();
    await browser.submit(`${app.url}/login?account=other`, { email: eve.email, password: eve.password });
    const sent = await send(browser, page, {});
    expect([sent.includes(ada.email), sent.includes(eve.email)]).toEqual([true, false]);
  });

  it("is kept by a second step that comes too late, which says so", async () => {
    const { browser, request } = await twoTabs();
    const second = await signIn(browser, await (await browser.get(about("/login", request))).text(), owner.account);
    app.clock.shift = 3_700_000;
    try {
      const answer = await browser.post(about("/login/second-factor", request), {
        ...hiddenFields(second),
        code: codeOf(owner.secret, app.clock.now()),
      });
      const page = await (await browser.get(new URL(answer.headers.get("location") ?? "", app.url).href)).text();
      expect(page).toContain("took too long");
      expect(page).toContain("Photo Album");
      expectAllAbout(request, page);
    } finally {
      app.clock.shift = 0;
    }
  });
});

describe("C-31 an address of a form that is opened without it", () => {
  it("leads to the page that the form belongs to", async () => {
    const browser = new TestBrowser();
    const ends = await Promise.all(
      Object.keys(PAGE_OF_FORM).map(async (path) => {
        const answer = await navigate(browser, app.url + path);
        return [path, answer.status, answer.headers.get("location")];
      }),
    );
    expect(ends).toEqual(Object.entries(PAGE_OF_FORM).map(([path, page]) => [path, 302, page]));
    // a form that is sent by GET, and a program that looks
    expect((await navigate(browser, `${app.url}/password-reset/confirm?password=x`)).status).toBe(405);
    expect((await browser.get(`${app.url}/password-reset/confirm`)).status).toBe(405);
  });
});

it("C-31 a page about lost cookies leads back to the link of a mail, which is good still", async () => {
  const account = await signUp(app.url);
  const token = await resetTokenFor(app, account.email);
  const page = await (await new TestBrowser().get(`${app.url}/password-reset?token=${token}`)).text();
  const refused = await send(new TestBrowser(), page, { password: "another good password" });
  const back = /<a class="button" href="([^"]+)"/.exec(refused)?.[1] ?? "";
  const browser = new TestBrowser();
  const again = await (await browser.get(new URL(back, app.url).href)).text();
  await send(browser, again, { password: "another good password" });
  const signedIn = await browser.submit(`${app.url}/login`, {
    email: account.email,
    password: "another good password",
  });
  expect(signedIn.status).toBe(303);
});
