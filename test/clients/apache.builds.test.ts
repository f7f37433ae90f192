import { randomBytes } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import { hasApache, startApache } from "../support/apache.ts";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { inBrowser, launchChromium, openProfile, skip } from "../support/browser.ts";
import { claimsOf, signUp } from "../support/flow.ts";
import { registerAsIn, settingsOf } from "./how-to.ts";

const minutes = 60_000;
const found = hasApache();
const withApache: (name: string, work: () => Promise<void>) => void = found
  ? inBrowser
  : (name) => skip(name, "Apache and mod_auth_openidc of Debian");

describe("Apache with mod_auth_openidc before an app", () => {
  let app: TestApp;
  let url: string;
  let upstream: Server;
  let browser: Browser | null;
  let apache: Awaited<ReturnType<typeof startApache>>;

  beforeAll(async () => {
    if (!found) return;
    const [port = 0, upstreamPort] = await freePorts(2);
    upstream = createServer((request, response) => response.end(JSON.stringify(request.headers)));
    await new Promise<void>((resolve) => upstream.listen(upstreamPort, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${port}`;
    // what has less than a minute left is refreshed: here, at each request
    app = await startApp({ ACCESS_TOKEN_TTL: "60" });
    const addresses = {
      "https://app.example.com": url,
      "https://auth.example.com": app.url,
      "127.0.0.1:3000": `127.0.0.1:${upstreamPort}`,
    };
    const secret = await registerAsIn("Apache", app, addresses);
    apache = await startApache(settingsOf("apache/app.conf", addresses), port, {
      OIDC_CLIENT_SECRET: secret,
      OIDC_CRYPTO_PASSPHRASE: randomBytes(16).toString("hex"),
    });
    browser = await launchChromium();
  }, 5 * minutes);
  afterAll(async () => {
    await browser?.close();
    await apache?.stop();
    upstream?.closeAllConnections();
    upstream?.close();
    await app?.close();
  });

  /** In a browser of its own, signed in as a new account at the app behind Apache. */
  const signedIn = async (work: (page: Page, account: Awaited<ReturnType<typeof signUp>>) => Promise<void>) => {
    const account = await signUp(app.url);
    const profile = await openProfile(browser, { locale: "en-US" });
    try {
      const { page } = profile;
      await page.goto(`${url}/orders`);
      await page.getByLabel("E-mail address").fill(account.email);
      await page.getByLabel("Password").fill(account.password);
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      await page.waitForURL(`${url}/orders`);
      await work(page, account);
    } finally {
      await profile.close();
    }
  };
  /** What the app is told of the browser. */
  const forwarded = async (page: Page): Promise<IncomingHttpHeaders> => {
    await page.goto(`${url}/orders`);
    return JSON.parse((await page.textContent("body")) ?? "") as IncomingHttpHeaders;
  };
  const asksForLogin = async (page: Page) => {
    await page.goto(`${url}/orders`);
    await page.getByLabel("Password").waitFor();
    expect(new URL(page.url()).origin).toBe(app.url);
  };
  const tokenOf = (headers: IncomingHttpHeaders) => String(headers["oidc_access_token"]);

  withApache("signs in with PKCE, tells the app who it is, refreshes, and signs out of both", async () => {
    await signedIn(async (page, account) => {
      const first = await forwarded(page);
      expect(first).toMatchObject({
        oidc_claim_sub: account.uuid,
        oidc_claim_email: account.email,
        oidc_claim_roles: "ROLE_USER",
      });
      const second = await forwarded(page);
      expect(tokenOf(second)).not.toBe(tokenOf(first));
      expect(claimsOf(tokenOf(second))["sid"]).toBe(claimsOf(tokenOf(first))["sid"]);

      await page.goto(`${url}/oidc?logout=${encodeURIComponent(`${url}/signed-out`)}`);
      await page.waitForURL(`${url}/signed-out`);
      await asksForLogin(page);
    });
  });

  withApache("refreshes at its refresh hook, too", async () => {
    await signedIn(async (page) => {
      const access = tokenOf(await forwarded(page));
      await page.goto(`${url}/oidc?${new URLSearchParams({ refresh: `${url}/orders`, access_token: access })}`);
      expect(page.url()).toBe(`${url}/orders`);
      expect(await page.textContent("body")).not.toContain(access);
    });
  });

  withApache("ends its session once the service refuses the refresh", async () => {
    await signedIn(async (page) => {
      await page.goto(`${app.url}/connect/logout`);
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByRole("heading", { name: /signed out/i }).waitFor();
      await page.goto(`${url}/orders`);
      expect(await page.textContent("body")).toContain("Logged Out");
      await asksForLogin(page);
      expect(apache.output()).toContain("invalid_grant");
    });
  });

  withApache("shows the error of a login that failed, and begins none by itself", async () => {
    const profile = await openProfile(browser);
    try {
      const { page } = profile;
      await page.goto(`${url}/orders`);
      const [request] = await Promise.all([
        page.waitForRequest((each) => each.url().startsWith(`${app.url}/oauth2/authorize`)),
        page.goto(`${url}/orders`),
      ]);
      await page.goto(`${request.url()}&prompt=none`);
      expect(new URL(page.url()).origin).toBe(url);
      expect(await page.textContent("body")).toContain("login_required");
    } finally {
      await profile.close();
    }
  });
});
