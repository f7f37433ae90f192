import { afterAll, afterEach, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import type { Language } from "../../src/config/languages.ts";
import { LANGUAGES } from "../../src/config/languages.ts";
import { resetFactors } from "../../src/factors/factors.ts";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type ClientServer,
  inBrowser,
  launchChromium,
  openProfile,
  type Profile,
  startClientServer,
} from "../support/browser.ts";
import { authorizeUrl, signUp, uniqueEmail } from "../support/flow.ts";
import { type FingerprintReader, giveAuthenticator } from "../support/virtual-authenticator.ts";

let app: TestApp;
let client: ClientServer;
let browser: Browser | null;
const clientId = "album";
afterEach(() => {
  app.clock.shift = 0;
});
beforeAll(async () => {
  client = await startClientServer("localhost");
  app = await startApp({}, [
    { client_id: clientId, redirect_uris: [`${client.origin}/cb`], scope: "openid", first_party: true },
  ]);
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  await client?.close();
  await app?.close();
});

const open = (options: Parameters<typeof openProfile>[1] = {}): Promise<Profile> => openProfile(browser, options);
const authorize = () => authorizeUrl(app.url, { clientId, redirectUri: `${client.origin}/cb`, scope: "openid" });
const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });
const atClient = (page: Page) => page.waitForURL((url) => url.origin === client.origin && url.searchParams.has("code"));

/** Opens a page while its user does not take what the browser offers in the address field. */
async function openUnrecognised(page: Page, authenticator: FingerprintReader, url: string): Promise<void> {
  await authenticator.setUser(false);
  await page.goto(url);
  await page.locator("button[data-passkey]").waitFor();
  await authenticator.setUser(true);
}

/** Signs up from an application. The fields are filled by the keyboard. */
async function signUpByKeyboard(page: Page, language: Language): Promise<string> {
  const [t, f] = [MESSAGES[language], FACTOR_MESSAGES[language]];
  const email = uniqueEmail();
  await page.goto(authorize());
  await page.getByRole("link", { name: t.signUp }).press("Enter");
  await page.locator("#email").press("Shift");
  await page.keyboard.type(email);
  await page.keyboard.press("Tab");
  await page.keyboard.type("Zoë");
  for (let tab = 0; tab < 6; tab++) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate("document.activeElement?.textContent");
    if (focused === f.passkeySignUp) break;
  }
  await page.keyboard.press("Enter");
  await atClient(page);
  return email;
}

/** Takes all passkeys of an account away; its devices do not hear of it. */
async function removeBehind(email: string): Promise<void> {
  const { uuid = "" } = (await app.context.store.users.findByEmail(email)) ?? {};
  await resetFactors(app.context, uuid);
}

/** Waits until the device has no passkey any more. */
async function forgotten(page: Page, authenticator: FingerprintReader): Promise<void> {
  while ((await authenticator.count()) > 0) await page.evaluate("new Promise(requestAnimationFrame)");
}

describe("passkeys in a browser", () => {
  inBrowser("sign up to an application in two clicks, without a password, and sign in again in one", async () => {
    const { page, context, complaints, close } = await open();
    const authenticator = await giveAuthenticator(page);
    await page.goto(authorize());
    await page.getByRole("link", { name: MESSAGES.en.signUp }).click();
    await page.locator("#email").fill(uniqueEmail());
    await page.locator("#nickname").fill("Zoë");
    await button(page, "Use a passkey instead of a password").click();
    await atClient(page);
    expect(await authenticator.count()).toBe(1);
    await context.clearCookies();
    await openUnrecognised(page, authenticator, authorize());
    await button(page, "Use a passkey").click();
    await atClient(page);
    expect(complaints).toEqual([]);
    await close();
  });

  for (const language of LANGUAGES) {
    inBrowser(`are used by the keyboard alone, in ${language}`, async () => {
      const { page, context, complaints, close } = await open({
        locale: language,
        colorScheme: language === "de" ? "dark" : "light",
        viewport: { width: language === "ja" ? 390 : 1280, height: 800 },
      });
      const f = FACTOR_MESSAGES[language];
      const authenticator = await giveAuthenticator(page);
      await signUpByKeyboard(page, language);
      await page.goto(`${app.url}/account/security`);
      expect(await page.locator("h1").textContent()).toBe(f.securityTitle);
      await context.clearCookies();
      await openUnrecognised(page, authenticator, `${app.url}/login`);
      await button(page, f.passkeyUse).press("Enter");
      await page.waitForURL(`${app.url}/`);
      expect(complaints).toEqual([]);
      await close();
    });
  }

  inBrowser("are offered in the address field: who takes one there presses nothing else", async () => {
    const { page, context, complaints, close } = await open();
    await giveAuthenticator(page);
    await signUpByKeyboard(page, "en");
    await context.clearCookies();
    // this authenticator's user takes the offer at once
    await page.goto(authorize());
    await atClient(page);
    expect(complaints).toEqual([]);
    await close();
  });

  inBrowser("say so where the user is not recognised, and leave the other ways", async () => {
    const { page, close } = await open();
    const authenticator = await giveAuthenticator(page);
    await authenticator.setUser(false);
    const account = await signUp(app.url);
    await page.goto(`${app.url}/login`);
    await button(page, "Use a passkey").click();
    await page.getByText(FACTOR_MESSAGES.en.passkeyCancelled).waitFor();
    await page.locator("#email").fill(account.email);
    await page.locator("#password").fill(account.password);
    await button(page, MESSAGES.en.signIn).click();
    await page.waitForURL(`${app.url}/`);
    await close();
  });

  inBrowser("are added on the security page after a password, then asked for after it", async () => {
    const { page, context, complaints, close } = await open();
    const authenticator = await giveAuthenticator(page);
    const account = await signUp(app.url);
    const byPassword = async () => {
      await page.goto(`${app.url}/login`);
      await page.locator("#email").fill(account.email);
      await page.locator("#password").fill(account.password);
      await button(page, MESSAGES.en.signIn).click();
    };
    await byPassword();
    await page.goto(`${app.url}/account/security`);
    await page.getByRole("link", { name: "Add a passkey" }).click();
    await page.locator("#name").fill("Laptop");
    await page.locator("#name").press("Enter");
    await page.getByText(FACTOR_MESSAGES.en.passkeyAdded).waitFor();
    await page.getByText("Laptop").waitFor();
    expect(await authenticator.count()).toBe(1);
    const rename = page.getByText(FACTOR_MESSAGES.en.rename, { exact: true });
    const name = page.getByLabel(FACTOR_MESSAGES.en.passkeyName);
    await rename.press("Enter");
    await name.fill("\u3164");
    await name.press("Enter");
    await page.getByText(FACTOR_MESSAGES.en.passkeyNameWrong).waitFor();
    await name.fill("Work laptop");
    await name.press("Enter");
    await page.getByText(FACTOR_MESSAGES.en.passkeyRenamed).waitFor();
    await page.getByText("Work laptop").waitFor();
    await rename.press("Enter");
    await name.fill("Laptop");
    await button(page, FACTOR_MESSAGES.en.renameSave).click();
    await page.getByText("Laptop", { exact: true }).waitFor();
    // whoever made it has shown it: factors can be changed at once
    await page.getByRole("link", { name: "Add a passkey" }).click();
    await page.locator("#name").waitFor();
    await context.clearCookies();
    await authenticator.setUser(false);
    await byPassword();
    await authenticator.setUser(true);
    await button(page, "Use a passkey").click();
    await page.waitForURL(`${app.url}/`);
    await page.goto(`${app.url}/account/security`);
    await page.getByRole("link", { name: "Remove: Laptop" }).click();
    // asked before it is gone: who goes back keeps it
    await page.getByRole("heading", { name: FACTOR_MESSAGES.en.removeTitle }).waitFor();
    await page.getByText("Laptop").waitFor();
    await page.getByRole("link", { name: FACTOR_MESSAGES.en.toSecurity }).click();
    await page.getByRole("link", { name: "Remove: Laptop" }).click();
    await button(page, FACTOR_MESSAGES.en.remove).click();
    await page.getByText(FACTOR_MESSAGES.en.passkeyRemoved).waitFor();
    await page.getByText(FACTOR_MESSAGES.en.passkeysNone).waitFor();
    await forgotten(page, authenticator);
    expect(complaints).toEqual([]);
    await close();
  });

  inBrowser("sign up on a page that was open for an hour", async () => {
    const { page, close } = await open();
    const authenticator = await giveAuthenticator(page);
    await page.goto(`${app.url}/signup`);
    await page.locator("#email").fill(uniqueEmail());
    await page.locator("#nickname").fill("Late");
    app.clock.shift += 50 * 60_000;
    await button(page, FACTOR_MESSAGES.en.passkeySignUp).click();
    await page.waitForURL(`${app.url}/`);
    expect(await authenticator.count()).toBe(1);
    await close();
  });

  inBrowser("are made by no device for an address that has an account, which the page says", async () => {
    const { page, close } = await open();
    const authenticator = await giveAuthenticator(page);
    const { email } = await signUp(app.url);
    await page.goto(`${app.url}/signup`);
    await page.locator("#email").fill(email);
    await page.locator("#nickname").fill("Twice");
    await button(page, FACTOR_MESSAGES.en.passkeySignUp).click();
    await page.getByText(MESSAGES.en.fields(8).email.taken).waitFor();
    expect(await page.locator("#nickname").inputValue()).toBe("Twice");
    expect(await authenticator.count()).toBe(0);
    await close();
  });

  inBrowser("are made by no device on a page that was open for so long that a sign-in comes first", async () => {
    const { page, close } = await open();
    const authenticator = await giveAuthenticator(page);
    const account = await signUp(app.url);
    await page.goto(`${app.url}/login`);
    await page.locator("#email").fill(account.email);
    await page.locator("#password").fill(account.password);
    await button(page, MESSAGES.en.signIn).click();
    await page.waitForURL(`${app.url}/`);
    await page.goto(`${app.url}/account/security/passkeys`);
    app.clock.shift += 20 * 60_000;
    await button(page, FACTOR_MESSAGES.en.passkeyAdd).click();
    await page.getByRole("heading", { name: FACTOR_MESSAGES.en.confirmTitle }).waitFor();
    expect(await authenticator.count()).toBe(0);
    await close();
  });

  inBrowser("work on the page that asks to sign in again, though it was open for an hour", async () => {
    const { page, close } = await open();
    await giveAuthenticator(page);
    await signUpByKeyboard(page, "en");
    await page.goto(`${app.url}/account/security/confirm`);
    app.clock.shift += 50 * 60_000;
    await page.clock.setFixedTime(Date.now() + 50 * 60_000);
    // the only way of this account has the focus
    await page.locator("button[data-passkey]:focus").waitFor();
    await page.keyboard.press("Enter");
    await page.waitForURL(`${app.url}/account/security`);
    await close();
  });

  inBrowser("are offered in the address field again after the button's dialog was cancelled", async () => {
    const { page, context, close } = await open();
    const authenticator = await giveAuthenticator(page);
    await signUpByKeyboard(page, "en");
    await context.clearCookies();
    await authenticator.setPresence(false);
    // no test can press a button of the browser's own dialog: this is what a page sees of it
    await page.addInitScript(`{
      const { credentials } = navigator;
      const get = credentials.get.bind(credentials);
      credentials.get = (options) => options.mediation === "conditional"
        ? get(options)
        : window.cancelled().then(() => { throw new DOMException("cancelled", "NotAllowedError"); });
    }`);
    // the user is there once the dialog is gone
    await page.exposeFunction("cancelled", () => authenticator.setPresence(true));
    await page.goto(`${app.url}/login`);
    await button(page, FACTOR_MESSAGES.en.passkeyUse).click();
    await page.waitForURL(`${app.url}/`);
    await close();
  });

  inBrowser(
    "are not asked for on and on where the browser refuses to offer them, but when the field is used",
    async () => {
      const { page, complaints, close } = await open();
      await giveAuthenticator(page);
      await page.clock.install();
      await page.addInitScript(`{
      window.asked = 0;
      navigator.credentials.get = () => {
        window.asked++;
        return Promise.reject(new DOMException("refused", "NotAllowedError"));
      };
    }`);
      const asked = () => page.evaluate<number>("window.asked");
      const askedAgain = async (times: number) => {
        while ((await asked()) < times) await page.evaluate("undefined");
      };
      await page.goto(`${app.url}/login`);
      await askedAgain(1);
      // each pause is longer than the one before, and they end
      for (const [at, pause] of [10_000, 60_000, 300_000].entries()) {
        await page.clock.runFor(pause);
        await askedAgain(at + 2);
      }
      await page.clock.runFor(24 * 3_600_000);
      expect(await asked()).toBe(4);
      await page.locator("#password").focus();
      await page.locator("#email").focus();
      await askedAgain(5);
      await page.clock.runFor(24 * 3_600_000);
      expect(await asked()).toBe(5);
      expect(complaints).toEqual([]);
      await close();
    },
  );

  inBrowser("are forgotten by the device once they were removed here", async () => {
    const { page, close } = await open();
    const authenticator = await giveAuthenticator(page);
    await removeBehind(await signUpByKeyboard(page, "en"));
    await page.goto(`${app.url}/account/security`);
    await forgotten(page, authenticator);
    await close();
  });

  inBrowser("are forgotten by the device once a sign-in refuses them as unknown", async () => {
    const { page, context, close } = await open();
    const authenticator = await giveAuthenticator(page);
    const email = await signUpByKeyboard(page, "en");
    await context.clearCookies();
    await removeBehind(email);
    // this authenticator's user takes the offer at once
    await page.goto(`${app.url}/login`);
    await page.getByText(FACTOR_MESSAGES.en.passkeyUnknown).waitFor();
    await forgotten(page, authenticator);
    await close();
  });

  inBrowser("are brought once by a device that asks nobody, and again when their user asks", async () => {
    const { page, context, complaints, close } = await open();
    await giveAuthenticator(page);
    const email = await signUpByKeyboard(page, "en");
    const { store } = app.context;
    const { uuid = "" } = (await store.users.findByEmail(email)) ?? {};
    await store.users.setDisabled(uuid, true, app.clock.now());
    await context.clearCookies();
    const brought: string[] = [];
    page.on("request", (request) => {
      if (request.method() === "POST" && request.url().endsWith("/login/passkey")) brought.push(request.url());
    });
    await page.goto(`${app.url}/login`);
    const problem = page.locator("#problem", { hasText: FACTOR_MESSAGES.en.passkeyFailed });
    await problem.waitFor();
    // the script of the page has run
    await button(page, FACTOR_MESSAGES.en.passkeyUse).waitFor();
    const other = await signUp(app.url);
    await page.locator("#email").pressSequentially(other.email);
    expect(brought).toHaveLength(1);
    await Promise.all([
      page.waitForResponse((response) => response.url().endsWith("/login/passkey")),
      button(page, FACTOR_MESSAGES.en.passkeyUse).click(),
    ]);
    await problem.waitFor();
    await page.locator("#email").fill(other.email);
    await page.locator("#password").fill(other.password);
    await button(page, MESSAGES.en.signIn).click();
    await page.waitForURL(`${app.url}/`);
    expect(brought).toHaveLength(2);
    expect(complaints).toEqual([]);
    await close();
  });

  inBrowser("say what a person can do where a device makes none", async () => {
    const { page, close } = await open();
    const authenticator = await giveAuthenticator(page);
    const account = await signUp(app.url);
    await page.goto(`${app.url}/login`);
    await page.locator("#email").fill(account.email);
    await page.locator("#password").fill(account.password);
    await button(page, MESSAGES.en.signIn).click();
    await page.waitForURL(`${app.url}/`);
    const path = `${app.url}/account/security/passkeys`;
    await page.goto(path);
    await authenticator.setUser(false);
    await button(page, FACTOR_MESSAGES.en.passkeyAdd).click();
    await page.getByText(FACTOR_MESSAGES.en.passkeyNotMade).waitFor();
    await authenticator.setUser(true);
    await button(page, FACTOR_MESSAGES.en.passkeyAdd).click();
    await page.getByText(FACTOR_MESSAGES.en.passkeyAdded).waitFor();
    await page.goto(path);
    // this device has one already
    await button(page, FACTOR_MESSAGES.en.passkeyAdd).click();
    await page.getByText(FACTOR_MESSAGES.en.passkeyThere).waitFor();
    await close();
  });

  inBrowser("are said to be of no use in a browser that has none, where there is no other way", async () => {
    const { page, context, close } = await open({ viewport: { width: 1280, height: 800 } });
    await giveAuthenticator(page);
    await signUpByKeyboard(page, "en");
    await context.addInitScript("delete window.PublicKeyCredential");
    await page.goto(`${app.url}/account/security/confirm`);
    await page.getByText(FACTOR_MESSAGES.en.passkeysUnsupported).waitFor();
    expect(await page.locator("button[data-passkey]").isVisible()).toBe(false);
    // the login has another way, and says nothing
    await page.goto(`${app.url}/login`);
    await page.locator("#password").waitFor();
    expect(await page.getByText(FACTOR_MESSAGES.en.passkeysUnsupported).count()).toBe(0);
    await close();
  });

  inBrowser("are not shown without scripts, where the password does the whole job", async () => {
    const { page, close } = await open({ javaScriptEnabled: false });
    await page.goto(`${app.url}/login`);
    expect(await button(page, "Use a passkey").isVisible()).toBe(false);
    await page.goto(`${app.url}/signup`);
    expect(await button(page, "Use a passkey instead of a password").isVisible()).toBe(false);
    await close();
  });
});
