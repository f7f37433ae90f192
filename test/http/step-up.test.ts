import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { endSessions } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { codeOf, confirmAgain, firstStep, giveApp } from "../support/factors.ts";
import {
  type Account,
  authorizeUrl,
  claimsOf,
  getTokens,
  hiddenFields,
  pkce,
  postForm,
  redeem,
  signUp,
  type TestBrowser,
  unescapeHtml,
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
  {
    client_id: "tv",
    grant_types: ["urn:ietf:params:oauth:grant-type:device_code"],
    scope: "openid",
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

  it("gets it on a device too, from the code's page to the tokens, and nothing before", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const secret = await giveApp(app, account.uuid);
    const asked = await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "tv", scope: "openid" });
    const { device_code, user_code } = (await asked.json()) as Record<"device_code" | "user_code", string>;
    const poll = async () => {
      const grant_type = "urn:ietf:params:oauth:grant-type:device_code";
      const form = { grant_type, client_id: "tv", device_code };
      return (await (await postForm(`${app.url}/oauth2/token`, form)).json()) as Record<string, string>;
    };
    const device = `${app.url}/device`;
    const weak = locationOf(await browser.submit(device, { user_code }));
    expect(weak.pathname).toBe("/step-up");
    const page = await (await browser.get(weak.href)).text();
    const form = { ...hiddenFields(page), code: codeOf(secret, app.clock.now()) };
    const back = locationOf(await browser.post(`${app.url}/login/second-factor`, form));
    expect(back.pathname).toBe("/device");
    const typed = await (await browser.get(back.href)).text();
    expect(typed).toContain(user_code);
    const confirm = await browser.post(device, { ...hiddenFields(typed), user_code });
    const decision = { ...hiddenFields(await confirm.text()), decision: "allow" };
    expect((await poll())["error"]).toBe("authorization_pending");
    expect((await browser.post(`${device}/decision`, decision)).status).toBe(200);
    app.clock.shift += 10_000;
    const tokens = await poll();
    expect(claimsOf(tokens["access_token"] ?? "")).toMatchObject({
      acr: acr("two-factor"),
      amr: ["pwd", "otp", "mfa"],
    });
  });

  it("lets somebody else sign in in the place of who cannot take the step", async () => {
    const owner = await signUp(app.url);
    const browser = await signedIn(owner);
    await giveApp(app, owner.uuid);
    const asked = locationOf(await browser.get(start("bank", pkce().challenge)));
    const page = await (await browser.get(asked.href)).text();
    const [, link = ""] = /href="([^"]+account=other)"/.exec(page) ?? [];
    const other = await signUp(app.url);
    const { email, password } = other;
    const step = await browser.submit(new URL(link.replaceAll("&amp;", "&"), app.url).href, { email, password });
    // this one has no second step yet, and may set one up
    expect(locationOf(step).pathname).toBe("/step-up");
    expect(await (await browser.get(locationOf(step).href)).text()).toContain(FACTOR_MESSAGES.en.stepUpNone);
  });

  it("asks who has none to set one up on the way to a device", async () => {
    const browser = await signedIn(await signUp(app.url));
    const asked = await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "tv", scope: "openid" });
    const { user_code = "" } = (await asked.json()) as Record<string, string>;
    const weak = locationOf(await browser.submit(`${app.url}/device`, { user_code }));
    const page = await (await browser.get(weak.href)).text();
    expect(page).toContain(FACTOR_MESSAGES.en.stepUpIntro(FACTOR_MESSAGES.en.stepUpDevice));
    expect(page).not.toContain("null");
  });

  it("asks who has none to set one up first, and leads back to the application", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const asked = locationOf(await browser.get(start("bank", pkce().challenge)));
    const page = await (await browser.get(asked.href)).text();
    expect(page).toContain('href="/account/security/totp?request=');
    expect(page).toContain('href="/account/security/passkeys?request=');
    expect(page).not.toContain('role="alert"');
    // who goes on without one hears that it is missing, and is not sent around in silence
    const onward = unescapeHtml(/href="(\/step-up\?[^"]+)"/.exec(page)?.[1] ?? "");
    const again = await (await browser.get(app.url + onward)).text();
    expect(unescapeHtml(/role="alert"[^>]*>([^<]*)</.exec(again)?.[1] ?? "")).toBe(FACTOR_MESSAGES.en.stepUpNone);
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

  it("gets nothing from a step whose session was signed out everywhere, whatever code is right", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const secret = await giveApp(app, account.uuid);
    const asked = locationOf(await browser.get(start("bank", pkce().challenge)));
    const form = hiddenFields(await (await browser.get(asked.href)).text());
    await endSessions(app.context, account.uuid);
    const code = codeOf(secret, app.clock.now());
    const answer = locationOf(await browser.post(`${app.url}/login/second-factor`, { ...form, code }));
    expect([answer.pathname, answer.searchParams.has("code")]).toEqual(["/login", false]);
    const again = locationOf(await browser.get(start("bank", pkce().challenge, { prompt: "none" })));
    expect(again.searchParams.get("error")).toBe("login_required");
  });

  it("leaves the owner's codes alone where somebody guesses with a session and without the password", async () => {
    const account = await signUp(app.url);
    const thief = await signedIn(account);
    thief.cookies.delete("auth_device");
    const secret = await giveApp(app, account.uuid);
    const asked = locationOf(await thief.get(start("bank", pkce().challenge)));
    const form = hiddenFields(await (await thief.get(asked.href)).text());
    const right = codeOf(secret, app.clock.now());
    const wrong = right === "000000" ? "000001" : "000000";
    const statuses: number[] = [];
    for (let n = 0; n < 12; n++) {
      statuses.push((await thief.post(`${app.url}/login/second-factor`, { ...form, code: wrong })).status);
    }
    expect([statuses[0], statuses.at(-1)]).toEqual([401, 429]);
    const { browser, form: step } = await firstStep(app.url, account);
    expect((await browser.post(`${app.url}/login/second-factor`, { ...step, code: right })).status).toBe(303);
  });

  it("is asked no second time after it has got its answer", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const asked = locationOf(await browser.get(start("bank", pkce().challenge)));
    await browser.get(asked.href);
    const secret = await giveApp(app, account.uuid);
    const form = { password: account.password, code: codeOf(secret, app.clock.now()) };
    await confirmAgain(app.url, browser, form);
    const answer = locationOf(await browser.get(asked.href));
    expect(answer.searchParams.get("code")).toMatch(/./);
    expect(await (await browser.get(`${app.url}/account/security`)).text()).not.toContain("/step-up?request=");
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
