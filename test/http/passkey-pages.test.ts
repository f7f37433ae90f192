import { afterEach, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { signUp, TestBrowser } from "../support/flow.ts";
import { newPasskeyOwner, passkeyPage, signInWithPasskey } from "../support/passkeys.ts";

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
