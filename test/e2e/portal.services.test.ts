import { afterAll, beforeAll, beforeEach, describe, expect } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import { startPortal } from "../../examples/portal/server.ts";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { inBrowser, launchChromium, openProfile, type Profile } from "../support/browser.ts";
import { type Account, postForm, signUp, uniqueEmail } from "../support/flow.ts";

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
    portal = { url, ...(await startPortal({ port, issuer: app.url, clientId: "portal" })) };
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
    profile.page.on("request", (request) => {
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
    await page.getByRole("button", { name: "Sign in" }).click();
  }

  const stored = (page: Page, name: string) => page.evaluate<string>(`sessionStorage.getItem("${name}")`);

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
        await page.getByRole("button", { name: "Sign up" }).click();
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
      expect((await postForm(`${app.url}/oauth2/revoke`, { token, client_id: "portal" })).status).toBe(200);
      calls.length = 0;
      await page.getByRole("button", { name: "Load my account again" }).click();
      await page.getByRole("heading", { name: "Your session ended" }).waitFor();
      await page.waitForTimeout(1500);
      expect(new URL(page.url()).pathname).toBe("/login");
      expect(calls.length).toBe(1);
      expect(await stored(page, "accessToken")).toBeNull();
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
});
