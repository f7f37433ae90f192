import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser } from "playwright-core";
import { type Gateway, startGateway } from "../../examples/gateway/gateway.ts";
import { startPortal } from "../../examples/portal/server.ts";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { inBrowser, launchChromium, openProfile } from "../support/browser.ts";
import { postForm, signUp } from "../support/flow.ts";
import { internalOf, storedIn } from "../support/portal.ts";

describe("the example portal behind the example gateway, in Chromium", () => {
  let app: TestApp;
  let gateway: Gateway;
  let portal: { url: string; close(): Promise<void> };
  let browser: Browser | null;
  let shift = 0;

  beforeAll(async () => {
    const [port = 0] = await freePorts(1);
    const url = `http://localhost:${port}`;
    const client = { client_id: "portal", redirect_uris: [`${url}/callback`], scope: "openid profile read write" };
    app = await startApp({}, [{ ...client, first_party: true, refresh_token_rotation: false }]);
    gateway = await startGateway({
      port: 0,
      upstream: app.url,
      corsOrigins: [url],
      verifier: {
        issuer: app.url,
        audience: "portal",
        stream: {
          baseUrl: `http://${app.grpc}`,
          credentials: { clientId: "internal-service", clientSecret: "internal-service-secret" },
        },
        now: () => Date.now() + shift,
      },
    });
    await gateway.ready;
    const internal = internalOf(app);
    portal = { url, ...(await startPortal({ port, issuer: app.url, clientId: "portal", api: gateway.url, internal })) };
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser?.close();
    await portal?.close();
    await gateway?.close();
    await app?.close();
  });

  inBrowser(
    "the account comes through the gateway, Token Expired is answered by a refresh, a revoked session ends",
    async () => {
      const account = await signUp(app.url, { nickname: "Ada" });
      const { page, complaints, close } = await openProfile(browser, { locale: "en-US" });
      const calls: string[] = [];
      page.on("response", (response) => {
        const { origin, pathname } = new URL(response.url());
        if (pathname !== "/api/users/me" && pathname !== "/oauth2/token") return;
        if (response.request().method() !== "OPTIONS") {
          calls.push(`${origin === gateway.url ? "gateway" : "service"} ${pathname} ${response.status()}`);
        }
      });
      try {
        await page.goto(`${portal.url}/login`);
        await page.getByLabel("E-mail address").fill(account.email);
        await page.getByLabel("Password").fill(account.password);
        await page.getByRole("button", { name: "Sign in", exact: true }).click();
        await page.getByText(account.email).waitFor();
        expect(calls).toEqual(["service /oauth2/token 200", "gateway /api/users/me 200"]);

        shift = 180_000;
        app.clock.shift = 180_000;
        calls.length = 0;
        const answer = page.waitForResponse(
          (response) =>
            response.url().endsWith("/me") && response.status() === 200 && response.request().method() === "GET",
        );
        await page.getByRole("button", { name: "Load my account again" }).click();
        await answer;
        expect(calls).toEqual(["gateway /api/users/me 401", "service /oauth2/token 200", "gateway /api/users/me 200"]);

        const { refreshToken: token } = await storedIn(page);
        await postForm(`${app.url}/oauth2/revoke`, { token, client_id: "portal" });
        calls.length = 0;
        await page.waitForTimeout(500);
        await page.getByRole("button", { name: "Load my account again" }).click();
        await page.getByRole("heading", { name: "Your session ended" }).waitFor();
        expect(calls).toEqual(["gateway /api/users/me 401", "service /oauth2/token 401"]);
        expect(complaints).toEqual([]);
      } finally {
        await close();
      }
    },
  );
});
