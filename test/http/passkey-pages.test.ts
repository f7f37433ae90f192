import { afterEach, describe, expect, it, jest } from "@jest/globals";
import { AuthError } from "../../src/errors.ts";
import { resetFactors } from "../../src/factors/factors.ts";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { listSessions } from "../../src/sessions/sessions.ts";
import { endSessions } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { firstStep, giveApp, setUpApp } from "../support/factors.ts";
import { hiddenFields, signUp, TestBrowser } from "../support/flow.ts";
import { newPasskeyOwner, optionsOf, passkeyPage, signInWithPasskey, signUpWithPasskey } from "../support/passkeys.ts";

let app: TestApp;
afterEach(() => app.close());

describe("where passkeys are used", () => {
  it("names related origins where there are some, and takes answers of their pages", async () => {
    app = await startApp({ PASSKEY_ORIGINS: "https://login.example.org,android:apk-key-hash:abc" });
    const listed = await fetch(`${app.url}/.well-known/webauthn`);
    expect(await listed.json()).toEqual({ origins: [app.url, "https://login.example.org"] });
    for (const origin of ["https://login.example.org", "android:apk-key-hash:abc"]) {
      const authenticator = new Authenticator(app.url);
      await newPasskeyOwner([app.url, app.url], authenticator);
      const related = await signInWithPasskey([app.url, app.url], authenticator, { lies: { origin } });
      expect(related.response.status).toBe(303);
    }
  });

  it("names none where the issuer's own is the only one", async () => {
    app = await startApp();
    expect((await fetch(`${app.url}/.well-known/webauthn`)).status).toBe(404);
  });

  it("offers none where the issuer's host is an address, and refuses what is sent all the same", async () => {
    app = await startApp();
    const { passkeys } = app.config;
    expect(passkeys?.rpId).toBe("localhost");
    Object.assign(app.config, { passkeys: null });
    const browser = new TestBrowser();
    for (const path of ["/login", "/signup"]) {
      const html = await (await browser.get(app.url + path)).text();
      expect(html).not.toContain("data-passkey");
      expect(html).not.toContain('webauthn"');
    }
    const { email, password } = await signUp(app.url);
    await browser.submit(`${app.url}/login`, { email, password });
    const security = await (await browser.get(`${app.url}/account/security`)).text();
    expect(security).not.toContain("/account/security/passkeys");
  });

  it("leads a form that is sent again, much later, to where it ended, in its own browser alone", async () => {
    app = await startApp();
    const bases = [app.url, app.url] as const;
    const authenticator = new Authenticator(app.url);
    await newPasskeyOwner(bases, authenticator);
    const { response, browser, sent } = await signInWithPasskey(bases, authenticator);
    const again = (by: TestBrowser) => by.post(`${app.url}/login/passkey`, sent);
    const seen = ({ status, headers }: Response) => [status, headers.get("location")];
    expect(seen(response)).toEqual([303, "/"]);
    app.clock.shift = 120_000;
    expect(seen(await again(browser))).toEqual([303, "/"]);
    const thief = new TestBrowser();
    for (const [name, value] of browser.cookies) if (name !== "auth_session") thief.cookies.set(name, value);
    expect((await again(thief)).status).toBe(401);
    expect(thief.cookies.has("auth_session")).toBe(false);
  });

  it("takes an answer again whose sign-in failed, though its owner signed in elsewhere meanwhile", async () => {
    app = await startApp();
    const bases = [app.url, app.url] as const;
    const authenticator = new Authenticator(app.url);
    await newPasskeyOwner(bases, authenticator);
    const { sessions } = app.context.store;
    jest.spyOn(sessions, "signIn").mockRejectedValueOnce(new AuthError("unavailable", "try again"));
    const { response, browser, sent } = await signInWithPasskey(bases, authenticator);
    expect(response.status).toBe(503);
    app.clock.shift += 2_000;
    expect((await signInWithPasskey(bases, authenticator)).response.status).toBe(303);
    const again = await browser.post(`${app.url}/login/passkey`, sent);
    expect([again.status, again.headers.get("location")]).toEqual([303, "/"]);
  });

  it("opens one session for an answer whose form has lost its name, however often it is sent at once", async () => {
    app = await startApp();
    const authenticator = new Authenticator(app.url);
    const { account } = await newPasskeyOwner([app.url, app.url], authenticator);
    await endSessions(app.context, account.uuid);
    const browser = new TestBrowser();
    const html = await (
      await browser.submit(`${app.url}/login`, { email: account.email, password: account.password })
    ).text();
    const { form: _, ...nameless } = hiddenFields(html);
    const sent = { ...nameless, credential: authenticator.get(optionsOf(html)) };
    const presses = Array.from({ length: 6 }, () => {
      const copy = new TestBrowser();
      for (const [name, value] of browser.cookies) copy.cookies.set(name, value);
      return copy.post(`${app.url}/login/second-factor`, sent);
    });
    const statuses = (await Promise.all(presses)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 303)).toHaveLength(1);
    expect(await listSessions(app.context, account.uuid)).toHaveLength(1);
  });

  it("leads on where an operator removed all factors: to the login, and without a password to the reset mail", async () => {
    app = await startApp();
    const account = await signUp(app.url);
    await giveApp(app, account.uuid);
    const { browser, form } = await firstStep(app.url, account);
    await resetFactors(app.context, account.uuid);
    const step = await browser.post(`${app.url}/login/second-factor`, { ...form, code: "123456" });
    expect([step.status, step.headers.get("location")]).toEqual([303, "/login?ended=1"]);

    const owner = await signUpWithPasskey([app.url, app.url], new Authenticator(app.url));
    const user = await app.context.store.users.findByEmail(owner.email);
    await resetFactors(app.context, user?.uuid ?? "");
    app.clock.shift += 20 * 60_000;
    const confirm = await (await owner.browser.get(`${app.url}/account/security/confirm`)).text();
    expect(confirm).toContain(FACTOR_MESSAGES.en.noWayIn);
    expect(confirm).toContain('href="/password-reset"');
  });

  it("shows no second authenticator app to who has one", async () => {
    app = await startApp();
    const account = await signUp(app.url);
    const { browser } = await setUpApp(app.url, account, () => app.clock.now());
    const answer = await browser.get(`${app.url}/account/security/totp`);
    expect([answer.status, answer.headers.get("location")]).toEqual([302, "/account/security?refused=totpExists"]);
  });

  it("leaves out the second step of a remembered browser no more once a passkey was added", async () => {
    app = await startApp();
    const { email, password } = await signUp(app.url);
    const browser = new TestBrowser();
    await browser.submit(`${app.url}/login`, { email, password });
    const authenticator = new Authenticator(app.url);
    const { options, form } = await passkeyPage(browser, `${app.url}/account/security/passkeys`);
    const sent = { ...form, name: "Phone", credential: authenticator.create(options) };
    expect((await browser.post(`${app.url}/account/security/passkeys`, sent)).status).toBe(303);
    browser.cookies.delete("auth_session");
    expect((await browser.submit(`${app.url}/login`, { email, password })).status).toBe(200);
  });
});
