import { afterAll, afterEach, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { ACCOUNT_MESSAGES } from "../../src/http/pages/account-messages/account-messages.ts";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { eraseClosedAccounts, GRACE_MS, requestDeletion } from "../../src/users/deletion.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type ClientServer,
  inBrowser,
  launchChromium,
  openProfile,
  type Profile,
  slowDown,
  startClientServer,
} from "../support/browser.ts";
import { codeOf, giveApp } from "../support/factors.ts";
import { type Account, authorizeUrl, signUp, TestBrowser, uniqueEmail } from "../support/flow.ts";
import { eventsOf, resetTokenFor, until } from "../support/resets.ts";
import { giveAuthenticator } from "../support/virtual-authenticator.ts";

const t = MESSAGES.en;
const f = FACTOR_MESSAGES.en;
const a = ACCOUNT_MESSAGES.en;
const newPassword = "another horse battery";

let app: TestApp;
let client: ClientServer;
let browser: Browser | null;
beforeAll(async () => {
  client = await startClientServer("localhost");
  app = await startApp({}, [
    {
      client_id: "album",
      client_name: "Photo Album",
      redirect_uris: [`${client.origin}/cb`],
      scope: "openid",
      first_party: true,
    },
  ]);
  browser = await launchChromium();
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(async () => {
  await browser?.close();
  await client?.close();
  await app?.close();
});

function open(options: BrowserContextOptions = {}): Promise<Profile> {
  // the width of a phone
  return openProfile(browser, { viewport: { width: 390, height: 844 }, ...options });
}

const request = (extra: Record<string, string> = {}) =>
  authorizeUrl(app.url, { clientId: "album", redirectUri: `${client.origin}/cb`, scope: "openid", extra });
const atClient = (page: Page) =>
  page.waitForURL(({ origin, searchParams }) => origin === client.origin && searchParams.has("code"));
const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });

async function givePassword(page: Page, { email, password }: Pick<Account, "email" | "password">): Promise<void> {
  await page.locator("#email").fill(email);
  await page.locator("#password").fill(password);
  await button(page, t.signIn).click();
}

/** A browser whose device has a passkey of a new account, signed out. */
async function passkeyOwner() {
  const profile = await open();
  const { page, context } = profile;
  const device = await giveAuthenticator(page);
  const account = await signUp(app.url);
  // the first proof of the address removes the passkeys that were there before
  const token = await resetTokenFor(app, account.email);
  await new TestBrowser().submit(`${app.url}/password-reset?token=${token}`, { password: account.password });
  await page.goto(`${app.url}/login`);
  await givePassword(page, account);
  await page.waitForURL(`${app.url}/`);
  await page.goto(`${app.url}/account/security/passkeys`);
  await button(page, f.passkeyAdd).click();
  await page.getByText(f.passkeyAdded).waitFor();
  await context.clearCookies();
  // nobody takes what the browser offers in the address field
  await device.setUser(false);
  return { ...profile, device, account };
}

/** Takes a passkey by the button. */
async function takePasskey({ page, device }: Pick<Awaited<ReturnType<typeof passkeyOwner>>, "page" | "device">) {
  await page.locator("button[data-passkey]").waitFor();
  await device.setUser(true);
  await button(page, f.passkeyUse).click();
}

async function noSidewaysScroll(page: Page): Promise<void> {
  expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
}

describe("a passkey signs in to the application", () => {
  inBrowser("after its password was reset, its address and its name were changed", async () => {
    const owner = await passkeyOwner();
    const { page, context, account } = owner;
    const token = await resetTokenFor(app, account.email);
    await page.goto(`${app.url}/password-reset?token=${token}`);
    await page.locator("#password").fill(newPassword);
    await page.locator('form[action$="/confirm"] button[type=submit]').click();
    await page.getByRole("heading", { name: t.resetDoneTitle }).waitFor();
    await context.clearCookies();
    await page.goto(request());
    await takePasskey(owner);
    await atClient(page);
    await page.goto(`${app.url}/account/profile`);
    await page.locator("#nickname").fill("Renamed");
    await page.locator('form[action$="/account/profile"] button[type=submit]').click();
    await page.getByText(a.profile.saved).waitFor();
    await page.goto(`${app.url}/account/email`);
    await page.locator("#email").fill(uniqueEmail());
    await page.locator("#current_password").fill(newPassword);
    await page.locator('form[action$="/account/email"] button[type=submit]').click();
    await page.getByText(a.address.waitingAfter).waitFor();
    const links = () =>
      eventsOf(app).filter(({ topic, key }) => topic === "user-email-verification" && key === account.uuid);
    await page.goto((await until(() => links()[1])).event.payload["verificationUrl"] ?? "");
    await page.locator('form[action$="/verify-email"] button').click();
    await page.getByRole("heading", { name: a.verify.doneTitle }).waitFor();
    await context.clearCookies();
    await page.goto(request());
    // this time their device recognises them at once
    await atClient(page);
    await owner.close();
  });

  inBrowser("is asked whether an account that was closed is kept, and then goes on with its request", async () => {
    const owner = await passkeyOwner();
    const { page, account } = owner;
    await requestDeletion(app.context, account.uuid);
    await page.goto(request());
    await takePasskey(owner);
    await page.locator('form[action$="/account/restore"] button').waitFor();
    await noSidewaysScroll(page);
    await page.locator('form[action$="/account/restore"] button').click();
    await page.getByRole("heading", { name: a.data.keepAgain }).waitFor();
    // on the page that it leads to the device, which knows its user by now, takes the offer in the address field
    await page.locator("main a").first().click();
    await atClient(page);
    await owner.close();
  });

  inBrowser("but is unknown once its account was erased, and the password of another signs in", async () => {
    const owner = await passkeyOwner();
    const { page, account } = owner;
    const other = await signUp(app.url);
    await requestDeletion(app.context, account.uuid);
    app.clock.shift = GRACE_MS + 60_000;
    await eraseClosedAccounts(app.context);
    expect(await app.context.store.users.find(account.uuid)).toBeNull();
    await page.goto(request());
    await takePasskey(owner);
    await page.getByText(f.passkeyUnknown).waitFor();
    await givePassword(page, other);
    await atClient(page);
    await owner.close();
  });
});

describe("who cancels the dialog of a passkey", () => {
  inBrowser("at the sign-up may try again, then take a password", async () => {
    const { page, complaints, close } = await open();
    const device = await giveAuthenticator(page);
    await device.setUser(false);
    const email = uniqueEmail();
    await page.goto(request());
    await page.getByRole("link", { name: t.signUp }).click();
    await page.locator("#email").fill(email);
    await page.locator("#nickname").fill("Zoë");
    for (let times = 0; times < 2; times++) {
      await button(page, f.passkeySignUp).press("Enter");
      await page.getByText(f.passkeyNotMade).waitFor();
    }
    await noSidewaysScroll(page);
    expect(await page.locator("#email").inputValue()).toBe(email);
    await page.locator("#password").fill(newPassword);
    await button(page, t.signUp).click();
    await atClient(page);
    expect(await device.count()).toBe(0);
    expect(complaints).toEqual([]);
    await close();
  });

  inBrowser("at the second step uses the code of an app", async () => {
    const owner = await passkeyOwner();
    const { page, account } = owner;
    const secret = await giveApp(app, account.uuid);
    await page.goto(request());
    await givePassword(page, account);
    await page.locator("#code").waitFor();
    await noSidewaysScroll(page);
    await button(page, f.passkeyUse).click();
    await page.getByText(f.passkeyCancelled).waitFor();
    await page.locator("#code").fill(codeOf(secret, app.clock.now()));
    await page.locator("#code").press("Enter");
    await atClient(page);
    await owner.close();
  });
});

describe("a browser that is remembered", () => {
  inBrowser("is asked for the second step again after a new password, and after a factor was removed", async () => {
    const account = await signUp(app.url);
    const secret = await giveApp(app, account.uuid);
    const { page, context, close } = await open({ javaScriptEnabled: false });
    const signIn = async (password: string) => {
      await page.goto(request());
      await givePassword(page, { email: account.email, password });
    };
    const giveCode = async () => {
      await page.locator("#code").fill(codeOf(secret, app.clock.now()));
      await page.locator("input[name=remember]").check();
      await page.locator("#code").press("Enter");
      await atClient(page);
    };
    await signIn(account.password);
    await giveCode();
    await context.clearCookies({ name: "auth_session" });
    await signIn(account.password);
    await atClient(page);
    await page.goto(`${app.url}/account/password`);
    await page.locator("#current_password").fill(account.password);
    await page.locator("#password").fill(newPassword);
    await page.locator('form[action$="/account/password"] button[type=submit]').click();
    await page.getByText(t.changePasswordDone).waitFor();
    await context.clearCookies({ name: "auth_session" });
    app.clock.shift = 90_000;
    await signIn(newPassword);
    await giveCode();
    await page.goto(`${app.url}/account/security/totp/remove`);
    await button(page, f.remove).click();
    await page.getByText(f.totpRemoved).waitFor();
    await context.clearCookies({ name: "auth_session" });
    await signIn(newPassword);
    await atClient(page);
    await close();
  });
});

describe("a tab that an application sent to set a factor up", () => {
  for (const latency of [0, 400]) {
    for (const factor of ["app", "passkey"] as const) {
      inBrowser(`keeps its request past another tab that was first (${factor}, ${latency} ms)`, async () => {
        const { page, context, close } = await open();
        await giveAuthenticator(page);
        const account = await signUp(app.url);
        await page.goto(`${app.url}/login`);
        await givePassword(page, account);
        await page.waitForURL(`${app.url}/`);
        const tab = await context.newPage();
        await giveAuthenticator(tab);
        for (const [at, each] of [tab, page].entries()) {
          await each.goto(request({ acr_values: "urn:auth-service:acr:two-factor", state: `tab ${at}` }));
          await each.getByRole("link", { name: factor === "app" ? f.totpAdd : f.passkeyAdd }).click();
          await each.waitForURL(/account.security.(totp|passkeys)/);
          await slowDown(each, latency);
        }
        const fillAndPress = async (each: Page) => {
          if (factor === "app") {
            const secret = ((await each.locator("code").textContent()) ?? "").replaceAll(" ", "");
            await each.locator("#code").fill(codeOf(secret, app.clock.now()));
          }
          const name = factor === "app" ? f.totpConfirm : f.passkeyAdd;
          await button(each, name).dblclick({ delay: 60 });
        };
        await fillAndPress(page);
        await page.getByText(factor === "app" ? f.totpAdded : f.passkeyAdded).waitFor();
        await fillAndPress(tab);
        // whatever its page says, it leads to the application, which gets the answer to this tab's request
        for (const [at, each] of [tab, page].entries()) {
          const toClient = each.getByRole("link", { name: t.continueTo("Photo Album") });
          await toClient.click();
          await each.waitForURL(({ origin, searchParams }) => {
            return origin === client.origin && searchParams.has("code") && searchParams.get("state") === `tab ${at}`;
          });
        }
        await close();
      });
    }
  }
});

describe("pages of factors without scripts", () => {
  inBrowser("say that passkeys need them, at the second step and where one is added", async () => {
    const owner = await passkeyOwner();
    const { account } = owner;
    await owner.close();
    const { page, close } = await open({ javaScriptEnabled: false });
    await page.goto(request());
    await givePassword(page, account);
    await page.locator("noscript p", { hasText: f.passkeyScript }).waitFor();
    expect(await page.getByRole("button").count()).toBe(0);
    await noSidewaysScroll(page);
    await close();
  });
});
