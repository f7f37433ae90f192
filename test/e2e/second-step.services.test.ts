import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { UNKNOWN_ASKER } from "../../src/events.ts";
import { makeRecoveryCodes } from "../../src/factors/recovery-codes.ts";
import { FACTOR_MESSAGES } from "../../src/http/pages/factor-messages/factor-messages.ts";
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
import { type Account, authorizeUrl, signUp } from "../support/flow.ts";

const f = FACTOR_MESSAGES.en;
const secondFactor = "urn:auth-service:acr:two-factor";

let app: TestApp;
let client: ClientServer;
let browser: Browser | null;
beforeAll(async () => {
  client = await startClientServer("localhost");
  app = await startApp({}, [
    { client_id: "album", redirect_uris: [`${client.origin}/cb`], scope: "openid", first_party: true },
  ]);
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  await client?.close();
  await app?.close();
});

const openBrowser = (): Promise<Profile> => openProfile(browser);

const request = (state: string, extra: Record<string, string> = {}) =>
  authorizeUrl(app.url, { clientId: "album", redirectUri: `${client.origin}/cb`, scope: "openid", state, extra });
const states = ["first", "second", "third"];

interface Owner {
  readonly account: Account & { readonly uuid: string };
  /** Codes that were not used. */
  readonly codes: { readonly app: () => string; readonly recovery: string };
}

async function newOwner(): Promise<Owner> {
  const account = await signUp(app.url);
  const secret = await giveApp(app, account.uuid);
  const made = await makeRecoveryCodes(app.context, account.uuid, null, { asker: UNKNOWN_ASKER });
  if (made.outcome !== "made") throw new Error(made.outcome);
  const recovery = made.codes[0] ?? "";
  return { account, codes: { app: () => codeOf(secret, app.clock.now()), recovery } };
}

/** Gives the password, in a tab of its own. */
async function givePassword(page: Page, url: string, { email, password }: Account): Promise<void> {
  await page.goto(url);
  await page.locator("#email").fill(email);
  await page.locator("#password").fill(password);
  await page.locator('form[action$="/login"] button[type=submit]').click();
  await page.locator("#code").waitFor();
}

/** Types the code in each tab, and presses all buttons at the same moment. */
async function pressAll(pages: readonly Page[], code: string): Promise<void> {
  for (const page of pages) await page.locator("#code").fill(code);
  const press = "document.querySelector('form button[type=submit]').click()";
  await Promise.all(pages.map((page) => page.evaluate(press)));
}

const tabs = (context: BrowserContext) => Promise.all(states.map(() => context.newPage()));
/** Each tab is at its own application, with a code. */
const atClient = (pages: readonly Page[]) =>
  Promise.all(
    pages.map((page, at) =>
      page.waitForURL(({ origin, searchParams }) => {
        return origin === client.origin && searchParams.has("code") && searchParams.get("state") === states[at];
      }),
    ),
  );
const sessionsOf = ({ account }: Owner) => app.context.store.sessions.listOfUser(account.uuid, app.clock.now());

describe("a code that three tabs of a browser bring at the same moment", () => {
  for (const latency of [0, 400]) {
    for (const kind of ["app", "recovery"] as const) {
      inBrowser(`leads each to its application, of one sign-in (${kind}, ${latency} ms)`, async () => {
        const owner = await newOwner();
        const { context, complaints, close } = await openBrowser();
        const pages = await tabs(context);
        for (const [at, page] of pages.entries()) {
          // an application may insist on a sign-in of its own
          await givePassword(page, request(states[at] ?? "", at === 2 ? { prompt: "login" } : {}), owner.account);
          await slowDown(page, latency);
        }
        const code = kind === "app" ? owner.codes.app() : owner.codes.recovery;
        await pressAll(pages, code);
        await atClient(pages);
        expect(await sessionsOf(owner)).toHaveLength(1);
        expect(complaints).toEqual([]);
        await close();
      });
    }

    inBrowser(`leads each to its application that asked for a second factor (${latency} ms)`, async () => {
      const owner = await newOwner();
      const { page, context, close } = await openBrowser();
      await givePassword(page, request("start"), owner.account);
      await page.locator("#code").fill(owner.codes.recovery);
      await page.locator("input[name=remember]").check();
      await page.locator("form button[type=submit]").click();
      await page.waitForURL((url) => url.searchParams.get("state") === "start");
      // the next sign-in of this browser is by the password alone
      await context.clearCookies({ name: "auth_session" });
      await page.goto(`${app.url}/login`);
      await page.locator("#email").fill(owner.account.email);
      await page.locator("#password").fill(owner.account.password);
      await page.locator('form[action$="/login"] button[type=submit]').click();
      await page.waitForURL(`${app.url}/`);
      const pages = await tabs(context);
      for (const [at, tab] of pages.entries()) {
        await tab.goto(request(states[at] ?? "", { acr_values: secondFactor }));
        await tab.locator("#code").waitFor();
        await slowDown(tab, latency);
      }
      await pressAll(pages, owner.codes.app());
      await atClient(pages);
      expect(await sessionsOf(owner)).toHaveLength(2);
      await close();
    });
  }

  inBrowser("opens nothing in another browser, nor in the same one once it was signed out", async () => {
    const owner = await newOwner();
    const [own, thief] = [await openBrowser(), await openBrowser()];
    const tab = await own.context.newPage();
    for (const page of [own.page, tab, thief.page]) await givePassword(page, request("first"), owner.account);
    const code = owner.codes.app();
    await pressAll([own.page], code);
    await atClient([own.page]);
    await pressAll([thief.page], code);
    await thief.page.getByText(f.codeWrong).waitFor();
    await app.context.store.sessions.endAllOf(owner.account.uuid, app.clock.now());
    await pressAll([tab], code);
    await tab.getByText(f.codeWrong).waitFor();
    expect(await sessionsOf(owner)).toEqual([]);
    await own.close();
    await thief.close();
  });
});

describe("a second step that is answered once the browser was signed in by another tab", () => {
  for (const [what, wait] of [
    ["a wrong code", 0],
    ["a code of long ago", 120_000],
    ["a code on a page that was left for an hour", 3_600_000],
  ] as const) {
    inBrowser(`leads on where the other tab would: ${what}`, async () => {
      const owner = await newOwner();
      const { page, context, close } = await openBrowser();
      const tab = await context.newPage();
      for (const [at, each] of [page, tab].entries())
        await givePassword(each, request(states[at] ?? ""), owner.account);
      const code = owner.codes.app();
      await pressAll([page], code);
      await atClient([page]);
      app.clock.shift = wait;
      try {
        await pressAll([tab], wait === 0 ? "000000" : code);
        await tab.waitForURL((url) => url.searchParams.get("state") === "second" && url.searchParams.has("code"));
      } finally {
        app.clock.shift = 0;
      }
      await close();
    });
  }

  inBrowser("says that the code is wrong where the application wants a sign-in of its own", async () => {
    const owner = await newOwner();
    const { page, context, close } = await openBrowser();
    const tab = await context.newPage();
    await givePassword(page, request("first"), owner.account);
    await givePassword(tab, request("second", { prompt: "login" }), owner.account);
    await pressAll([page], owner.codes.app());
    await atClient([page]);
    await pressAll([tab], "000000");
    await tab.getByText(f.codeWrong).waitFor();
    await tab.locator("#code").fill(owner.codes.recovery);
    await tab.locator("#code").press("Enter");
    await tab.waitForURL((url) => url.searchParams.get("state") === "second" && url.searchParams.has("code"));
    await close();
  });
});

describe("signing in again before a factor is changed", () => {
  for (const latency of [0, 400]) {
    inBrowser(`in three tabs at the same moment, with one code, leads each on (${latency} ms)`, async () => {
      const owner = await newOwner();
      const { page, context, close } = await openBrowser();
      await givePassword(page, `${app.url}/login`, owner.account);
      await page.locator("#code").fill(owner.codes.recovery);
      await page.locator("#code").press("Enter");
      await page.waitForURL(`${app.url}/`);
      const pages = await tabs(context);
      for (const tab of pages) {
        await tab.goto(`${app.url}/account/security/confirm`);
        await tab.locator("#password").fill(owner.account.password);
        await slowDown(tab, latency);
      }
      await pressAll(pages, owner.codes.app());
      for (const tab of pages) await tab.waitForURL(`${app.url}/account/security`);
      expect(await sessionsOf(owner)).toHaveLength(1);
      await close();
    });
  }
});
