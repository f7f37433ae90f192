import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { afterAll, beforeAll, beforeEach, describe, expect } from "@jest/globals";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { startPortal } from "../../examples/portal/server.ts";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { inBrowser, launchChromium, openProfile, type Profile } from "../support/browser.ts";
import { codeOf, giveApp } from "../support/factors.ts";
import { type Account, postForm, refresh, signUp, uniqueEmail } from "../support/flow.ts";
import { internalOf, type StoredSession, storedIn } from "../support/portal.ts";

const axe = createRequire(import.meta.url).resolve("axe-core");

describe("the example portal in Chromium", () => {
  let app: TestApp;
  let portal: { url: string; close(): Promise<void> };
  let browser: Browser | null;

  beforeAll(async () => {
    const [port = 0] = await freePorts(1);
    const url = `http://localhost:${port}`;
    app = await startApp({}, [
      {
        client_id: "portal",
        client_name: "Portal",
        redirect_uris: [`${url}/callback`],
        post_logout_redirect_uris: [`${url}/`],
        scope: "openid profile email read write",
        first_party: true,
        refresh_token_rotation: false,
      },
    ]);
    const now = () => Date.now() + app.clock.shift;
    const running = await startPortal({ port, issuer: app.url, clientId: "portal", internal: internalOf(app), now });
    await running.ready;
    portal = { url, close: running.close };
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser?.close();
    await portal?.close();
    await app?.close();
  });
  beforeEach(() => {
    app.clock.shift = 0;
  });

  /** What the page sent to the token endpoint. */
  interface TokenCall {
    readonly type: string;
    readonly bearer: boolean;
    readonly body: string;
  }

  async function withPortal(work: (profile: Profile, calls: TokenCall[]) => Promise<void>): Promise<void> {
    const profile = await openProfile(browser, { locale: "en-US" });
    const calls: TokenCall[] = [];
    profile.context.on("request", (request) => {
      if (request.method() !== "POST" || !request.url().endsWith("/oauth2/token")) return;
      const headers = request.headers();
      const bearer = headers["authorization"]?.startsWith("Bearer ") ?? false;
      calls.push({ type: headers["content-type"] ?? "", bearer, body: request.postData() ?? "" });
    });
    try {
      await work(profile, calls);
      expect(profile.complaints).toEqual([]);
    } finally {
      await profile.close();
    }
  }

  async function signIn(page: Page, account: Pick<Account, "email" | "password">): Promise<void> {
    await page.getByLabel("E-mail address").fill(account.email);
    await page.getByLabel("Password").fill(account.password);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
  }

  const stored = async (page: Page, name: keyof StoredSession) => (await storedIn(page))[name];

  async function reload(page: Page): Promise<number> {
    const answer = page.waitForResponse((response) => response.url().endsWith("/me") && response.status() === 200);
    await page.getByRole("button", { name: "Load my account again" }).click();
    return (await answer).status();
  }

  inBrowser("signs up, signs in with PKCE, shows the account and signs out", () =>
    withPortal(async ({ page }) => {
      const email = uniqueEmail();
      await page.goto(portal.url);
      await page.getByRole("link", { name: "Create an account" }).click();
      const fill = async (password: string) => {
        await page.getByLabel("E-mail address").fill(email);
        await page.getByLabel("Nickname").fill("<b>nick</b>");
        await page.getByLabel("Password").fill(password);
        await page.getByRole("button", { name: "Sign up", exact: true }).click();
      };
      await fill("short");
      await page.getByRole("alert").waitFor();
      expect(await page.getByRole("alert").textContent()).toContain("password");
      await fill("correct horse battery");
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
      expect(new URL(page.url()).origin).toBe(app.url);
      await signIn(page, { email, password: "correct horse battery" });
      await page.getByText(email).waitFor();
      expect(await page.locator("#nickname").textContent()).toBe("<b>nick</b>");
      expect(page.url()).toBe(`${portal.url}/`);

      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByRole("link", { name: "Sign in" }).waitFor();
      expect(page.url()).toBe(`${portal.url}/`);
      await page.getByRole("link", { name: "Sign in" }).click();
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
    }),
  );

  inBrowser("an answer with another state or issuer is not taken", () =>
    withPortal(async ({ page }, calls) => {
      const state = "a-state";
      const flow = JSON.stringify({ state, nonce: "n", verifier: "v" });
      for (const query of [`code=x&state=other&iss=${app.url}`, `code=x&state=${state}&iss=http://evil.example`]) {
        await page.goto(portal.url);
        await page.evaluate(`sessionStorage.setItem("flow", ${JSON.stringify(flow)})`);
        await page.goto(`${portal.url}/callback?${query}`);
        await page.getByRole("heading", { name: "That didn’t work" }).waitFor();
      }
      expect(calls).toEqual([]);
    }),
  );

  inBrowser("when the access token expires the interceptor refreshes once, as JSON, and the call succeeds", () =>
    withPortal(async ({ page }, calls) => {
      const account = await signUp(app.url);
      await page.goto(`${portal.url}/login`);
      await signIn(page, account);
      await page.getByText(account.email).waitFor();
      const first = await stored(page, "refreshToken");
      for (const minutes of [3, 6]) {
        app.clock.shift = minutes * 60_000;
        calls.length = 0;
        const before = await stored(page, "accessToken");
        expect(await reload(page)).toBe(200);
        expect(calls.length).toBe(1);
        expect(calls[0]).toMatchObject({ type: "application/json", bearer: true });
        expect(JSON.parse(calls[0]?.body ?? "")).toEqual({
          grant_type: "refresh_token",
          refresh_token: first,
          client_id: "portal",
        });
        expect(await stored(page, "accessToken")).not.toBe(before);
        expect(await stored(page, "refreshToken")).toBe(first);
      }
    }),
  );

  inBrowser("a revoked refresh token ends on the login page, without a loop, and the next login works", () =>
    withPortal(async ({ page }, calls) => {
      const account = await signUp(app.url);
      await page.goto(`${portal.url}/login`);
      await signIn(page, account);
      await page.getByText(account.email).waitFor();
      const token = await stored(page, "refreshToken");
      calls.length = 0;
      expect((await postForm(`${app.url}/oauth2/revoke`, { token, client_id: "portal" })).status).toBe(200);
      // a renewal in its own time may be first, and takes the button away
      const reload = page.getByRole("button", { name: "Load my account again" });
      await reload.dispatchEvent("click", {}, { timeout: 10_000 }).catch(() => undefined);
      await page.getByRole("heading", { name: "Your session ended" }).waitFor();
      await page.waitForTimeout(1500);
      expect(new URL(page.url()).pathname).toBe("/login");
      expect(calls.length).toBe(1);
      expect(await storedIn(page)).toBeNull();
      await page.getByRole("button", { name: "Sign in again" }).click();
      await page.getByText(account.email).waitFor();
    }),
  );

  inBrowser("an interceptor that refreshes for its own refused refresh, too, is stopped by 429 on the third", () =>
    withPortal(async ({ page }, calls) => {
      const account = await signUp(app.url);
      await page.goto(`${portal.url}/login`);
      await signIn(page, account);
      await page.getByText(account.email).waitFor();
      // the portal's own script, which may renew at any moment, is left for a page of the same origin without it
      await page.goto(`${portal.url}/axios.js`);
      const token = await stored(page, "refreshToken");
      await postForm(`${app.url}/oauth2/revoke`, { token, client_id: "portal" });
      calls.length = 0;
      const statuses = await page.evaluate<number[]>(`(async () => {
        const { default: axios } = await import("/axios.js");
        const statuses = [];
        const api = axios.create({ baseURL: ${JSON.stringify(app.url)} });
        const refresh = () => api.post("/oauth2/token", {
          grant_type: "refresh_token", refresh_token: ${JSON.stringify(token)}, client_id: "portal",
        });
        api.interceptors.response.use(undefined, async (error) => {
          statuses.push(error.response.status);
          if (error.response.status === 401) return refresh();
          throw error;
        });
        await refresh().catch(() => undefined);
        return statuses;
      })()`);
      expect(statuses).toEqual([401, 401, 429]);
      expect(calls.length).toBe(3);
    }),
  );

  /** Signs a new account in on the first tab. */
  async function signedIn({ page }: Profile): Promise<Account & { uuid: string }> {
    const account = await signUp(app.url, { nickname: "Ada" });
    await page.goto(`${portal.url}/login`);
    await signIn(page, account);
    await page.getByRole("heading", { name: "Hello, Ada" }).waitFor();
    return account;
  }

  async function pay(page: Page, to: string, amount: string): Promise<void> {
    await page.getByLabel("To", { exact: true }).fill(to);
    await page.getByLabel("Amount in euros").fill(amount);
    await page.getByRole("button", { name: "Pay", exact: true }).click();
  }

  const shown = (page: Page, id: string) => page.locator(`#${id}`).textContent();

  inBrowser("shows how a person signed in, and where else; the account page is a link away", () =>
    withPortal(async (profile) => {
      const { page } = profile;
      const account = await signedIn(profile);
      expect([await shown(page, "acr"), await shown(page, "amr")]).toEqual(["Password", "password"]);
      const at = Date.parse((await page.locator("#auth-time").getAttribute("datetime")) ?? "");
      expect(Math.abs(at - Date.now())).toBeLessThan(60_000);

      // they are asked for once the page is there, and shown all at once
      const devices = page.locator("#devices li");
      await devices.first().waitFor();
      expect(await devices.count()).toBe(1);
      const other = await openProfile(browser, {
        userAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1",
      });
      await other.page.goto(`${portal.url}/login`);
      await signIn(other.page, account);
      await other.page.getByRole("heading", { name: "Hello, Ada" }).waitFor();
      await other.close();
      await page.reload();
      await page.getByText("Safari on iOS").waitFor();
      expect(await devices.count()).toBe(2);
      await page.getByRole("link", { name: "Manage your account" }).click();
      await page.getByRole("heading", { name: "Signed in", exact: false }).first().waitFor();
      expect(page.url()).toBe(`${app.url}/`);
    }),
  );

  inBrowser("a payment sends the browser for a second factor, comes back to the payment, and is made", () =>
    withPortal(async (profile) => {
      const { page } = profile;
      const account = await signedIn(profile);
      const secret = await giveApp(app, account.uuid);
      const refused = page.waitForResponse((response) => response.url() === `${portal.url}/payments`);
      await pay(page, "Grace", "12.50");
      const challenge = (await (await refused).headerValue("www-authenticate")) ?? "";
      expect(challenge).toContain('error="insufficient_user_authentication"');
      await page.locator("#code").fill(codeOf(secret, app.clock.now()));
      await page.locator("main button[type=submit]").first().click();

      await page.getByText("You confirmed that it is you").waitFor();
      expect(page.url()).toBe(`${portal.url}/`);
      expect([await shown(page, "acr"), await shown(page, "amr")]).toEqual([
        "Two factors",
        "password, one-time code, several factors",
      ]);
      expect(await page.getByLabel("To", { exact: true }).inputValue()).toBe("Grace");
      expect(await page.getByLabel("Amount in euros").inputValue()).toBe("12.50");
      await page.keyboard.press("Enter");
      await page.getByText("Paid €12.50 to Grace").waitFor();
      // the sign-in is good for the next one too
      await pay(page, "Lin", "1");
      await page.getByText("Paid €1.00 to Lin").waitFor();
    }),
  );

  inBrowser("who has no second factor may turn back to the payment, which is not made, or set one up on the way", () =>
    withPortal(async (profile) => {
      const { page } = profile;
      await signedIn(profile);
      await pay(page, "Grace", "12.50");
      await page.getByRole("link", { name: "Cancel and go back to Portal" }).click();
      await page.getByRole("alert").filter({ hasText: "Nothing was paid" }).waitFor();
      expect(await shown(page, "acr")).toBe("Password");
      expect(await page.getByLabel("Amount in euros").inputValue()).toBe("12.50");

      await page.getByRole("button", { name: "Pay", exact: true }).click();
      await page.getByRole("link", { name: "Set up an authenticator app" }).click();
      const secret = ((await page.locator("code").first().textContent()) ?? "").replaceAll(" ", "");
      await page.locator("#code").fill(codeOf(secret, app.clock.now()));
      await page.locator("main button[type=submit]").first().click();
      await page.getByRole("link", { name: "Continue to Portal" }).click();
      // the code that set the app up is asked for no second time
      await page.getByText("You confirmed that it is you").waitFor();
      await page.getByRole("button", { name: "Pay", exact: true }).click();
      await page.getByText("Paid €12.50 to Grace").waitFor();
    }),
  );

  inBrowser("a payment is not handed to somebody else who signs in for it", () =>
    withPortal(async (profile) => {
      const { page, context } = profile;
      await signedIn(profile);
      const other = await signUp(app.url, { nickname: "Lin" });
      await page.route("**/oauth2/authorize?*", async (route) => {
        const url = new URL(route.request().url());
        for (const name of ["id_token_hint", "acr_values", "max_age"]) url.searchParams.delete(name);
        await context.clearCookies();
        await route.fulfill({ status: 302, headers: { location: url.href } });
      });
      await pay(page, "Grace", "12.50");
      await signIn(page, other);
      await page.getByRole("heading", { name: "Hello, Lin" }).waitFor();
      expect(await page.getByLabel("To", { exact: true }).inputValue()).toBe("");
    }),
  );

  /** Nothing waits for the lock of a renewal, in any tab. */
  const renewalsEnded = (page: Page) =>
    page.waitForFunction("navigator.locks.query().then(({ held, pending }) => held.length + pending.length === 0)");

  async function secondTab(context: BrowserContext): Promise<Page> {
    const page = await context.newPage();
    await page.goto(portal.url);
    await page.getByRole("heading", { name: "Hello, Ada" }).waitFor();
    return page;
  }

  inBrowser("two tabs renew before the token expires with one refresh between them, and both go on", () =>
    withPortal(async (profile, calls) => {
      const { page, context } = profile;
      await context.clock.install();
      await signedIn(profile);
      const tab = await secondTab(context);
      const before = await stored(page, "accessToken");
      calls.length = 0;
      const renewed = context.waitForEvent("response", (response) => response.url().endsWith("/oauth2/token"));
      await context.clock.fastForward(95_000);
      expect((await renewed).status()).toBe(200);
      await renewalsEnded(page);
      await renewalsEnded(tab);
      expect(calls.length).toBe(1);
      expect(await stored(tab, "accessToken")).not.toBe(before);
      expect([await reload(page), await reload(tab)]).toEqual([200, 200]);
      expect(calls.length).toBe(1);
    }),
  );

  inBrowser("two tabs that find the token expired at the same time refresh once", () =>
    withPortal(async (profile, calls) => {
      const { page, context } = profile;
      await signedIn(profile);
      const tab = await secondTab(context);
      app.clock.shift = 3 * 60_000;
      calls.length = 0;
      expect(await Promise.all([reload(page), reload(tab)])).toEqual([200, 200]);
      expect(calls.length).toBe(1);
    }),
  );

  inBrowser("C-30 Back after a login leads to the account again, and Sign out pressed twice to the start", () =>
    withPortal(async (profile) => {
      const { page } = profile;
      await signedIn(profile);
      await page.goBack();
      await page.waitForURL(`${portal.url}/`);
      await page.getByRole("heading", { name: "Hello, Ada" }).waitFor();
      await page.getByRole("button", { name: "Sign out" }).dblclick();
      await page.getByRole("link", { name: "Sign in" }).waitFor();
      expect(page.url()).toBe(`${portal.url}/`);
    }),
  );

  inBrowser("signing out in one tab signs out the other, and ends its tokens", () =>
    withPortal(async (profile) => {
      const { page, context } = profile;
      const account = await signedIn(profile);
      const tab = await secondTab(context);
      const { refreshToken } = await storedIn(page);
      await page.getByRole("button", { name: "Sign out" }).click();
      await tab.getByText("You signed out in another tab.").waitFor();
      await page.getByRole("link", { name: "Sign in" }).waitFor();
      expect(await tab.getByText(account.email).count()).toBe(0);
      expect((await refresh(app.url, refreshToken, { client_id: "portal" })).status).toBe(401);
      // and signing in again is for both
      await page.getByRole("link", { name: "Sign in" }).click();
      await signIn(page, account);
      await tab.getByRole("heading", { name: "Hello, Ada" }).waitFor();
    }),
  );

  inBrowser("a service that cannot be reached ends no session", () =>
    withPortal(async (profile) => {
      const { page } = profile;
      const account = await signedIn(profile);
      app.clock.shift = 3 * 60_000;
      await page.route("**/oauth2/token", (route) => route.fulfill({ status: 503 }));
      await page.getByRole("button", { name: "Load my account again" }).click();
      await page.getByRole("heading", { name: "That didn’t work" }).waitFor();
      await page.unroute("**/oauth2/token");
      await page.getByRole("link", { name: "Back to the start" }).click();
      await page.getByText(account.email).waitFor();
    }),
  );

  describe.each([
    ["light", 390],
    ["dark", 390],
    ["light", 1280],
    ["dark", 1280],
  ] as const)("%s, %i px wide", (colorScheme, width) => {
    inBrowser("has nothing that axe finds, and fits the screen", async () => {
      const profile = await openProfile(browser, { locale: "en-US", colorScheme, viewport: { width, height: 800 } });
      const { page } = profile;
      try {
        for (const path of ["/", "/signup", "/login?ended"]) {
          await page.goto(portal.url + path);
          await page.getByRole("heading", { level: 1 }).waitFor();
          expect(await faultsOf(page)).toEqual([]);
        }
        await signedIn(profile);
        await page.locator("#devices:not([aria-busy])").waitFor();
        expect(await faultsOf(page)).toEqual([]);
      } finally {
        await profile.close();
      }
    });
  });

  inBrowser("is used by the keyboard alone, from the start page to a payment", () =>
    withPortal(async ({ page }) => {
      const account = await signUp(app.url, { nickname: "Ada" });
      const secret = await giveApp(app, account.uuid);
      const focused = () => page.evaluate<string>("document.activeElement.innerText || document.activeElement.name");
      const tabTo = async (name: string) => {
        for (let steps = 0; (await focused()) !== name; steps++) {
          if (steps > 30) throw new Error(`the keyboard does not reach ${name}`);
          await page.keyboard.press("Tab");
        }
      };
      await page.goto(portal.url);
      await page.getByRole("link", { name: "Sign in" }).waitFor();
      await tabTo("Sign in");
      await page.keyboard.press("Enter");
      await page.getByLabel("Password").waitFor();
      await tabTo("email");
      await page.keyboard.type(account.email);
      await tabTo("password");
      await page.keyboard.type(account.password);
      await page.keyboard.press("Enter");
      await page.locator("#code").waitFor();
      await tabTo("code");
      await page.keyboard.type(codeOf(secret, app.clock.now()));
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "Hello, Ada" }).waitFor();
      await tabTo("to");
      await page.keyboard.type("Grace");
      await page.keyboard.press("Tab");
      await page.keyboard.type("3");
      await page.keyboard.press("Enter");
      await page.getByText("Paid €3.00 to Grace").waitFor();
    }),
  );

  /** What axe finds on the page, and whether a reader has to scroll sideways. */
  async function faultsOf(page: Page): Promise<string[]> {
    // under the page's policy a script of its own would not run, so the debugger brings it
    const session = await page.context().newCDPSession(page);
    await session.send("Runtime.evaluate", { expression: readFileSync(axe, "utf8") });
    const found = await page.evaluate<string[]>(
      "axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ': ' + html)))",
    );
    const isTooWide = await page.evaluate<boolean>("document.documentElement.scrollWidth > innerWidth");
    return isTooWide ? [...found, "wider than the screen"] : found;
  }
});
