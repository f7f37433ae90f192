import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import type { Language } from "../../src/config/languages.ts";
import { LANGUAGES } from "../../src/config/languages.ts";
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

let app: TestApp;
let client: ClientServer;
let browser: Browser | null;
const clientId = "album";
beforeAll(async () => {
  client = await startClientServer("localhost");
  app = await startApp({}, [
    { client_id: clientId, redirect_uris: [`${client.origin}/cb`], scope: "openid", first_party: true },
  ]);
  browser = await launchChromium();
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await client?.close();
  await app?.close();
});

/** A device with a fingerprint reader. */
interface Authenticator {
  /** Does it recognise its user? */
  setUser(isThere: boolean): Promise<void>;
  /** How many passkeys it has. */
  count(): Promise<number>;
}

async function giveAuthenticator(page: Page): Promise<Authenticator> {
  const session = await page.context().newCDPSession(page);
  await session.send("WebAuthn.enable");
  const { authenticatorId } = await session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return {
    async setUser(isThere) {
      await session.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: isThere });
    },
    async count() {
      return (await session.send("WebAuthn.getCredentials", { authenticatorId })).credentials.length;
    },
  };
}

const open = (options: Parameters<typeof openProfile>[1] = {}): Promise<Profile> => openProfile(browser, options);
const authorize = () => authorizeUrl(app.url, { clientId, redirectUri: `${client.origin}/cb`, scope: "openid" });
const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });
const atClient = (page: Page) => page.waitForURL((url) => url.origin === client.origin && url.searchParams.has("code"));

/** Opens a page while its user does not take what the browser offers in the address field. */
async function openUnrecognised(page: Page, authenticator: Authenticator, url: string): Promise<void> {
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
    await page.getByText(FACTOR_MESSAGES.en.passkeyFailed).waitFor();
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
    await page.getByText("Laptop").waitFor();
    expect(await authenticator.count()).toBe(1);
    await page.getByRole("link", { name: "Add a passkey" }).click();
    // the password alone is not enough any more
    await button(page, "Use a passkey").click();
    await page.getByText("Laptop").waitFor();
    await context.clearCookies();
    await authenticator.setUser(false);
    await byPassword();
    await authenticator.setUser(true);
    await button(page, "Use a passkey").click();
    await page.waitForURL(`${app.url}/`);
    await page.goto(`${app.url}/account/security`);
    await page.getByRole("button", { name: "Remove: Laptop" }).click();
    await page.getByText(FACTOR_MESSAGES.en.passkeysNone).waitFor();
    expect(complaints).toEqual([]);
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
