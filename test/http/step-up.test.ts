import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { codeOf, giveApp } from "../support/factors.ts";
import {
  type Account,
  authorizeUrl,
  claimsOf,
  getTokens,
  hiddenFields,
  pkce,
  redeem,
  signUp,
  type TestBrowser,
} from "../support/flow.ts";

const acr = (name: string) => `urn:auth-service:acr:${name}`;
const redirectUri = "https://shop.example/cb";
const clients = [
  { client_id: "shop", redirect_uris: [redirectUri], scope: "openid", first_party: true },
  {
    client_id: "bank",
    redirect_uris: [redirectUri],
    scope: "openid",
    first_party: true,
    require_acr: acr("two-factor"),
  },
];

let app: TestApp;
beforeAll(async () => {
  app = await startApp({}, clients);
});
afterAll(() => app.close());

const start = (clientId: string, challenge: string, extra: Record<string, string> = {}) =>
  authorizeUrl(app.url, { clientId, redirectUri, scope: "openid", challenge, extra });

/** A browser that signed in with the password alone. */
async function signedIn(account: Account): Promise<TestBrowser> {
  const { browser } = await getTokens(app.url, account, { clientId: "shop", redirectUri, scope: "openid" });
  return browser;
}

const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", app.url);

describe("an application that wants a second factor", () => {
  it.each([
    ["by acr_values", "shop", { acr_values: acr("two-factor") }],
    [
      "by an essential claim",
      "shop",
      { claims: JSON.stringify({ id_token: { acr: { essential: true, value: acr("two-factor") } } }) },
    ],
    ["by its registration", "bank", {}],
  ])("%s gets it of who is signed in, and its tokens say so", async (_, clientId, extra) => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const secret = await giveApp(app, account.uuid);
    const { challenge, verifier } = pkce();
    const asked = locationOf(await browser.get(start(clientId, challenge, extra)));
    expect(asked.pathname).toBe("/step-up");
    const page = await (await browser.get(asked.href)).text();
    expect(page).toContain('autocomplete="one-time-code"');
    const form = { ...hiddenFields(page), code: codeOf(secret, app.clock.now()) };
    const answer = locationOf(await browser.post(`${app.url}/login/second-factor`, form));
    const code = answer.searchParams.get("code") ?? "";
    const tokens = (await (
      await redeem(app.url, code, verifier, { client_id: clientId, redirect_uri: redirectUri })
    ).json()) as Record<string, string>;
    const signIn = { acr: acr("two-factor"), amr: ["pwd", "otp", "mfa"] };
    expect(claimsOf(tokens["access_token"] ?? "")).toMatchObject(signIn);
    expect(claimsOf(tokens["id_token"] ?? "")).toMatchObject({ ...signIn, sub: account.uuid });
    // the session has it from now on
    const again = locationOf(await browser.get(start(clientId, challenge, extra)));
    expect(again.searchParams.get("code")).toMatch(/./);
  });

  it("asks who has none to set one up first, and leads back to the application", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const asked = locationOf(await browser.get(start("bank", pkce().challenge)));
    const page = await (await browser.get(asked.href)).text();
    expect(page).toContain('href="/account/security/totp"');
    expect(page).toContain('href="/account/security/passkeys"');
    const secret = await giveApp(app, account.uuid);
    // the security page leads back, once there is one
    const security = await (await browser.get(`${app.url}/account/security`)).text();
    const [, link = ""] = /href="(\/step-up\?request=[^"]+)">Continue to/.exec(security) ?? [];
    const back = await (await browser.get(new URL(link, app.url).href)).text();
    const form = { ...hiddenFields(back), code: codeOf(secret, app.clock.now()) };
    const answer = locationOf(await browser.post(`${app.url}/login/second-factor`, form));
    expect(answer.origin + answer.pathname).toBe(redirectUri);
    expect(answer.searchParams.get("code")).toMatch(/./);
  });

  it("gets login_required where it may not ask, and a weaker sign-in only where it does not insist", async () => {
    const browser = await signedIn(await signUp(app.url));
    const outcome = async (clientId: string, extra: Record<string, string>) => {
      const answer = locationOf(await browser.get(start(clientId, pkce().challenge, { prompt: "none", ...extra })));
      return answer.searchParams.get("error") ?? (answer.searchParams.has("code") ? "code" : answer.pathname);
    };
    expect(await outcome("bank", {})).toBe("login_required");
    expect(await outcome("shop", { acr_values: acr("two-factor") })).toBe("code");
    expect(await outcome("shop", { acr_values: `${acr("two-factor")} ${acr("password")}` })).toBe("code");
  });

  it("is not let past the step by a request that goes on from another page", async () => {
    const browser = await signedIn(await signUp(app.url));
    const asked = locationOf(await browser.get(start("bank", pkce().challenge)));
    const login = await browser.get(`${app.url}/login${asked.search}`);
    expect(locationOf(login).pathname).toBe("/step-up");
  });
});
