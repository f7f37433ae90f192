import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { inBrowser, launchChromium, openProfile, type Profile } from "../support/browser.ts";
import { type Account, refresh, signUp } from "../support/flow.ts";
import { programs } from "./toolchains.ts";

const clientId = "browser-app";
const library = createRequire(import.meta.url).resolve("oidc-client-ts/package.json");

/** The app's page and scripts; every path of it is the page. @param settings as it has them at that moment */
async function servePage(port: number, settings: () => object): Promise<Server> {
  const files: Record<string, [type: string, text: string]> = {
    "/app.js": ["text/javascript", readFileSync(join(programs, "oidc-client-ts/app.js"), "utf8")],
    "/oidc-client-ts.js": ["text/javascript", readFileSync(join(library, "../dist/browser/oidc-client-ts.js"), "utf8")],
  };
  const page = readFileSync(join(programs, "oidc-client-ts/index.html"), "utf8");
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://app");
    const [type, text] =
      pathname === "/settings.json"
        ? ["application/json", JSON.stringify(settings())]
        : (files[pathname] ?? ["text/html; charset=utf-8", page]);
    response.setHeader("content-type", type).setHeader("cache-control", "no-store").end(text);
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

describe("oidc-client-ts as the client, in Chromium", () => {
  let app: TestApp;
  let page: Server;
  let browser: Browser | null;
  /** The same page twice: on the service's site, and on another one. */
  let sameSite: string;
  let otherSite: string;
  let renewWithSecondsLeft = 60;

  beforeAll(async () => {
    const [port = 0] = await freePorts(1);
    sameSite = `http://localhost:${port}`;
    otherSite = `http://127.0.0.1:${port}`;
    const both = (path: string) => [`${sameSite}${path}`, `${otherSite}${path}`];
    app = await startApp({}, [
      {
        client_id: clientId,
        redirect_uris: [...both("/callback"), ...both("/silent")],
        post_logout_redirect_uris: both("/signed-out"),
        first_party: true,
      },
    ]);
    page = await servePage(port, () => ({
      authority: app.url,
      client_id: clientId,
      accessTokenExpiringNotificationTimeInSeconds: renewWithSecondsLeft,
    }));
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser?.close();
    page?.closeAllConnections();
    page?.close();
    await app?.close();
  });

  const click = (page: Page, name: string) => page.getByRole("button", { name, exact: true }).click();
  const says = (page: Page, text: string) => page.getByText(text, { exact: true }).waitFor();
  const signIn = async (page: Page, account: Account) => {
    await click(page, "Sign in");
    await page.getByLabel("E-mail address").fill(account.email);
    await page.getByLabel("Password").fill(account.password);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await says(page, `Signed in as ${account.nickname}, ${account.email}`);
  };
  const tokensOf = (page: Page) =>
    page.evaluate<{ access_token: string; refresh_token: string }>(
      'JSON.parse(Object.entries(sessionStorage).find(([name]) => name.startsWith("oidc.user:"))[1])',
    );
  const inProfile = async (work: (profile: Profile, account: Account) => Promise<void>) => {
    const account = await signUp(app.url, { nickname: "Zoë 🦊" });
    const profile = await openProfile(browser, { locale: "en-US" });
    try {
      await work(profile, account);
      expect(profile.complaints).toEqual([]);
    } finally {
      await profile.close();
    }
  };

  inBrowser("signs in, renews by its refresh token without a frame, signs out and has to sign in again", async () => {
    await inProfile(async ({ page }, account) => {
      await page.goto(otherSite);
      await says(page, "Signed out");
      await signIn(page, account);
      const first = await tokensOf(page);

      const frames: string[] = [];
      page.on("frameattached", (frame) => frames.push(frame.url()));
      const renewed = page.waitForResponse((response) => response.url() === `${app.url}/oauth2/token`);
      await click(page, "Renew");
      expect((await renewed).status()).toBe(200);
      await expectSoon(async () => (await tokensOf(page)).access_token !== first.access_token);
      const second = await tokensOf(page);
      expect(second.refresh_token).not.toBe(first.refresh_token);
      expect(frames).toEqual([]);
      await page.reload();
      await says(page, `Signed in as ${account.nickname}, ${account.email}`);

      await click(page, "Sign out");
      await says(page, "Signed out");
      expect(new URL(page.url()).origin).toBe(otherSite);
      expect((await refresh(app.url, second.refresh_token, { client_id: clientId })).status).toBe(401);
      await click(page, "Sign in");
      await page.getByLabel("Password").waitFor();
    });
  });

  inBrowser("renews by itself before the access token expires, and again", async () => {
    renewWithSecondsLeft = 118;
    try {
      await inProfile(async ({ page }, account) => {
        await page.goto(otherSite);
        await signIn(page, account);
        const seen = new Set([(await tokensOf(page)).access_token]);
        await expectSoon(async () => seen.add((await tokensOf(page)).access_token).size === 3);
      });
    } finally {
      renewWithSecondsLeft = 60;
    }
  });

  inBrowser("a frame with prompt=none finds the session from a page of the same site", async () => {
    await inProfile(async ({ page }, account) => {
      await page.goto(sameSite);
      await signIn(page, account);
      const { access_token } = await tokensOf(page);
      await click(page, "Renew in a frame");
      await says(page, `Signed in as ${account.nickname}, ${account.email}`);
      expect((await tokensOf(page)).access_token).not.toBe(access_token);
    });
  });

  inBrowser("a frame on another site has no session and gets login_required; a redirect has the session", async () => {
    await inProfile(async ({ page }, account) => {
      await page.goto(otherSite);
      await signIn(page, account);
      await click(page, "Renew in a frame");
      await says(page, "login_required");
      await page.reload();
      await says(page, "Signed out");

      await click(page, "Sign in without a form");
      await says(page, `Signed in as ${account.nickname}, ${account.email}`);
    });
  });

  inBrowser("signing in without a form answers login_required to a browser that is not signed in", async () => {
    await inProfile(async ({ page }) => {
      await page.goto(otherSite);
      await click(page, "Sign in without a form");
      await says(page, "login_required");
      await says(page, "Signed out");
    });
  });
});

async function expectSoon(holds: () => Promise<boolean>): Promise<void> {
  for (const from = performance.now(); !(await holds()); ) {
    if (performance.now() - from > 60_000) throw new Error("did not happen within 60 s");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
