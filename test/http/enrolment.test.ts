import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { codeOf, firstStep, giveApp } from "../support/factors.ts";
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
  TestBrowser,
  unescapeHtml,
} from "../support/flow.ts";
import { addPasskey, passkeyPage } from "../support/passkeys.ts";

const acr = (name: string) => `urn:auth-service:acr:${name}`;
const redirectUri = "https://shop.example/cb";
const totpPath = "/account/security/totp";
const passkeysPath = "/account/security/passkeys";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({}, [
    { client_id: "shop", redirect_uris: [redirectUri], scope: "openid", first_party: true },
    {
      client_id: "tv",
      grant_types: ["urn:ietf:params:oauth:grant-type:device_code"],
      scope: "openid",
      require_acr: acr("two-factor"),
    },
  ]);
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", app.url);
const factorsOf = (account: Account & { uuid: string }) => app.context.store.factors.find(account.uuid);
const sessionsOf = (account: Account & { uuid: string }) =>
  app.context.store.sessions.listOfUser(account.uuid, app.clock.now());

/** A browser that signed in with the password alone. */
async function signedIn(account: Account): Promise<TestBrowser> {
  const { browser } = await getTokens(app.url, account, { clientId: "shop", redirectUri, scope: "openid" });
  return browser;
}

/** The page with the QR code, filled in. */
async function filledApp(browser: TestBrowser): Promise<Record<string, string>> {
  const page = await (await browser.get(app.url + totpPath)).text();
  const secret = (/<code>([A-Z2-7 ]+)<\/code>/.exec(page)?.[1] ?? "").replaceAll(" ", "");
  return { ...hiddenFields(page), code: codeOf(secret, app.clock.now()) };
}

/** What "Continue to" of the security page leads to. */
async function goOn(browser: TestBrowser): Promise<URL> {
  const security = await (await browser.get(`${app.url}/account/security`)).text();
  const [, link = ""] = /href="(\/step-up\?request=[^"]+)">Continue to/.exec(security) ?? [];
  return locationOf(await browser.get(new URL(unescapeHtml(link), app.url).href));
}

async function claimsFrom(answer: URL, verifier: string): Promise<Record<string, unknown>> {
  const code = answer.searchParams.get("code") ?? "";
  const tokens = await redeem(app.url, code, verifier, { client_id: "shop", redirect_uri: redirectUri });
  return claimsOf(((await tokens.json()) as Record<string, string>)["access_token"] ?? "");
}

/** A browser at the page that asks to set something up, for an application. */
async function onTheWay(account: Account, extra: Record<string, string>) {
  const browser = await signedIn(account);
  const { challenge, verifier } = pkce();
  const asked = await browser.get(
    authorizeUrl(app.url, { clientId: "shop", redirectUri, scope: "openid", challenge, extra }),
  );
  return { browser, verifier, asked: locationOf(asked) };
}

describe("a factor that is set up on the way to an application", () => {
  it("is not asked for again: the code that proved an authenticator app counts, once", async () => {
    const account = await signUp(app.url);
    const { browser, verifier, asked } = await onTheWay(account, { acr_values: acr("two-factor") });
    expect(asked.pathname).toBe("/step-up");
    await browser.get(asked.href);
    const before = browser.cookies.get("auth_session");
    app.clock.shift += 5 * 60_000;
    const form = await filledApp(browser);
    expect(locationOf(await browser.post(app.url + totpPath, form)).search).toBe("?done=totpAdded");
    const claims = await claimsFrom(await goOn(browser), verifier);
    expect(claims).toMatchObject({ acr: acr("two-factor"), amr: ["pwd", "otp", "mfa"] });
    expect(claims["auth_time"]).toBeGreaterThanOrEqual(Math.floor(app.clock.now() / 1000) - 60);
    // a new session took the place of the old one
    expect(browser.cookies.get("auth_session")).not.toBe(before);
    expect(await sessionsOf(account)).toHaveLength(1);
    const other = await firstStep(app.url, account);
    const again = await other.browser.post(`${app.url}/login/second-factor`, {
      ...other.form,
      code: form["code"] ?? "",
    });
    expect(again.status).toBe(401);
  });

  it("is not asked for again: making a passkey counts as using it", async () => {
    const account = await signUp(app.url);
    const { browser, verifier, asked } = await onTheWay(account, { acr_values: acr("passkey") });
    await browser.get(asked.href);
    expect((await addPasskey([app.url, app.url], browser, new Authenticator(app.url))).status).toBe(303);
    expect(await claimsFrom(await goOn(browser), verifier)).toMatchObject({
      acr: acr("passkey"),
      amr: ["pwd", "hwk", "user", "mfa"],
    });
  });

  it("leaves a sign-in that the application asked for as good as it was", async () => {
    const account = await signUp(app.url);
    const { browser, verifier, asked } = await onTheWay(account, { prompt: "login", acr_values: acr("two-factor") });
    const login = hiddenFields(await (await browser.get(asked.href)).text());
    const { email, password } = account;
    const step = locationOf(await browser.post(`${app.url}/login`, { ...login, email, password }));
    expect(step.pathname).toBe("/step-up");
    await browser.get(step.href);
    await browser.post(app.url + totpPath, await filledApp(browser));
    expect(await claimsFrom(await goOn(browser), verifier)).toMatchObject({ acr: acr("two-factor") });
  });

  it("leaves it so by a confirmation on the way, too", async () => {
    const account = await signUp(app.url);
    const extra = { acr_values: acr("two-factor"), prompt: "login" };
    const { browser, verifier, asked } = await onTheWay(account, extra);
    const { email, password } = account;
    const step = locationOf(await browser.submit(asked.href, { email, password }));
    const request = step.searchParams.get("request") ?? "";
    const confirm = `${app.url}/account/security/confirm?request=${request}`;
    const html = await (await browser.get(confirm)).text();
    const back = locationOf(await browser.post(confirm, { ...hiddenFields(html), password }));
    const carried = back.searchParams.get("request") ?? "";
    const setUp = `${app.url}${totpPath}?request=${carried}`;
    const page = await (await browser.get(setUp)).text();
    const secret = (/<code>([A-Z2-7 ]+)<\/code>/.exec(page)?.[1] ?? "").replaceAll(" ", "");
    const form = { ...hiddenFields(page), code: codeOf(secret, app.clock.now()) };
    const security = locationOf(await browser.post(setUp, form));
    const onward = await browser.get(`${app.url}/step-up?request=${security.searchParams.get("request")}`);
    expect(await claimsFrom(locationOf(onward), verifier)).toMatchObject({ acr: acr("two-factor") });
  });

  it("leads back to the page of a device, too", async () => {
    const account = await signUp(app.url);
    const started = await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "tv" });
    const { user_code } = (await started.json()) as { user_code: string };
    const browser = new TestBrowser();
    await browser.submit(`${app.url}/login`, { email: account.email, password: account.password });
    const step = locationOf(await browser.submit(`${app.url}/device`, { user_code }));
    const security = `${app.url}/account/security${step.search}`;
    const page = await (await browser.get(security)).text();
    expect(page).toContain(`href="/step-up${step.search}"`);
  });

  it("is not set up, and raises nothing, where the sign-in was too long ago", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const form = await filledApp(browser);
    const { options, form: other } = await passkeyPage(browser, app.url + passkeysPath);
    const passkey = { ...other, name: "Phone", credential: new Authenticator(app.url).create(options) };
    const before = await sessionsOf(account);
    app.clock.shift += 10 * 60_000;
    expect(locationOf(await browser.post(app.url + totpPath, form)).pathname).toBe("/account/security/confirm");
    expect(locationOf(await browser.post(app.url + passkeysPath, passkey)).pathname).toBe("/account/security/confirm");
    expect(await factorsOf(account)).toMatchObject({ totp: null, passkeys: [] });
    expect((await sessionsOf(account)).map(({ idHash, methods }) => [idHash, methods])).toEqual(
      before.map(({ idHash }) => [idHash, ["pwd"]]),
    );
  });

  it.each(["one after the other", "at once", "once the browser has the first answer"])(
    "ends where the first press ended when its form is pressed twice, %s",
    async (when) => {
      for (const kind of ["app", "passkey"]) {
        const account = await signUp(app.url);
        const browser = await signedIn(account);
        const path = app.url + (kind === "app" ? totpPath : passkeysPath);
        const passkey = async () => {
          const { options, form } = await passkeyPage(browser, path);
          return { ...form, name: "Phone", credential: new Authenticator(app.url).create(options) };
        };
        const form = kind === "app" ? await filledApp(browser) : await passkey();
        const cookies = new Map(browser.cookies);
        const press = () => {
          if (when !== "once the browser has the first answer") {
            for (const [name, value] of cookies) browser.cookies.set(name, value);
          }
          return browser.post(path, form);
        };
        const answers = when === "at once" ? await Promise.all([press(), press()]) : [await press(), await press()];
        const done = kind === "app" ? "?done=totpAdded" : "?done=passkeyAdded";
        expect(answers.map((answer) => [kind, locationOf(answer).search])).toEqual([
          [kind, done],
          [kind, done],
        ]);
        const cookieOf = (answer: Response) =>
          /^auth_session=([^;]+)/m.exec(answer.headers.getSetCookie().join("\n"))?.[1];
        expect(cookieOf(answers[1] as Response)).toBe(cookieOf(answers[0] as Response));
        expect(await sessionsOf(account)).toHaveLength(1);
        // the session is signed in by the factor
        expect((await browser.get(path)).status).toBe(kind === "app" ? 302 : 200);
      }
    },
  );

  it("opens nothing to another browser that has its form, nor once its session was signed out", async () => {
    const account = await signUp(app.url);
    const [browser, other] = [await signedIn(account), await signedIn(account)];
    const form = await filledApp(browser);
    await browser.post(app.url + totpPath, form);
    expect((await other.post(app.url + totpPath, form)).status).toBe(403);
    const { idHash } = (await sessionsOf(account)).find(({ methods }) => methods.includes("mfa")) ?? { idHash: "" };
    await app.context.store.sessions.end(idHash, app.clock.now());
    expect((await browser.post(app.url + totpPath, form)).status).toBe(403);
  });
});

describe("a second authenticator app", () => {
  it("is refused in words, at its page and at its form", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const form = await filledApp(browser);
    await giveApp(app, account.uuid);
    for (const answer of [await browser.post(app.url + totpPath, form), await browser.get(app.url + totpPath)]) {
      const to = locationOf(answer);
      expect(to.pathname).toBe("/account/security");
      expect(await (await browser.get(to.href)).text()).toContain(FACTOR_MESSAGES.en.totpExists);
    }
  });

  it("that is gone by the time its removal is asked for is said to be gone", async () => {
    const browser = await signedIn(await signUp(app.url));
    for (const page of ["totp/remove", "passkeys/remove?passkey=x"]) {
      const to = locationOf(await browser.get(`${app.url}/account/security/${page}`));
      expect(await (await browser.get(to.href)).text()).toContain(FACTOR_MESSAGES.en.factorGone);
    }
  });
});

it("C-31 the pages on which a factor is set up for an application speak the language that it asks for, on the way and back", async () => {
  const browser = await signedIn(await signUp(app.url));
  const extra = { acr_values: acr("two-factor"), ui_locales: "ja" };
  const step = locationOf(
    await browser.get(authorizeUrl(app.url, { clientId: "shop", redirectUri, scope: "openid", extra })),
  );
  expect(step.pathname).toBe("/step-up");
  const read = async (response: Response) => /<html lang="(\w+)"/.exec(await response.text())?.[1];
  for (const path of ["/step-up", "/account/security", totpPath, passkeysPath]) {
    expect([path, await read(await browser.get(`${app.url}${path}${step.search}`))]).toEqual([path, "ja"]);
  }
  const fields = await filledApp(browser);
  const refused = await browser.post(app.url + totpPath + step.search, { ...fields, code: "000000" });
  expect([refused.status, await read(refused)]).toEqual([400, "ja"]);
  expect(await read(await browser.get(app.url + totpPath))).toBe("en");
  expect(await read(await browser.get(`${app.url}${totpPath}${step.search}&language=fr`))).toBe("fr");
});
