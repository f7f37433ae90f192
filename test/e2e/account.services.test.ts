import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser } from "playwright-core";
import type { Language } from "../../src/config/languages.ts";
import { sealAccount } from "../../src/http/forms.ts";
import { ACCOUNT_MESSAGES } from "../../src/http/pages/account-messages/account-messages.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { findClosed, requestDeletion } from "../../src/users/deletion.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  accessibilityTree,
  type ClientServer,
  inBrowser,
  launchChromium,
  openProfile,
  type Profile,
  startClientServer,
} from "../support/browser.ts";
import { type Account, authorizeUrl, signUp } from "../support/flow.ts";

let app: TestApp;
let client: ClientServer;
let browser: Browser | null;

beforeAll(async () => {
  client = await startClientServer();
  app = await startApp({}, [
    {
      client_id: "photos",
      client_name: "Photo Album",
      redirect_uris: [`${client.origin}/photos`],
      scope: "openid read",
    },
    { client_id: "notes", client_name: "Notes", redirect_uris: [`${client.origin}/notes`], scope: "openid read" },
  ]);
  browser = await launchChromium();
});

afterAll(async () => {
  await browser?.close();
  await app?.close();
  await client?.close();
});

describe.each<Language>(["en", "ko"])("the account page in Chromium without script, language %s", (language) => {
  const t = MESSAGES[language];

  async function open(userAgent?: string): Promise<Profile> {
    const locale = language === "ko" ? "ko-KR" : "en-US";
    const agent = userAgent === undefined ? {} : { userAgent };
    return openProfile(browser, { locale, javaScriptEnabled: false, ...agent });
  }

  async function signIn({ page }: Profile, account: Account): Promise<void> {
    await page.goto(`${app.url}/login`);
    await page.getByLabel(t.email).fill(account.email);
    await page.getByLabel(t.password).fill(account.password);
    await page.getByRole("button", { name: t.signIn }).click();
    await page.getByRole("heading", { name: t.homeSignedIn, level: 1 }).waitFor();
  }

  async function allow({ page }: Profile, name: "photos" | "notes"): Promise<void> {
    const redirectUri = `${client.origin}/${name}`;
    await page.goto(authorizeUrl(app.url, { clientId: name, redirectUri, scope: "openid read" }));
    await page.getByRole("button", { name: t.allow, exact: true }).click();
    await page.waitForURL((url) => url.searchParams.has("code"));
  }

  inBrowser("S-042 shows where the user is signed in and ends another browser's session", async () => {
    const account = await signUp(app.url);
    const phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1";
    const [here, other, third] = [await open(), await open(phone), await open("a-program/1.0")];
    try {
      for (const profile of [other, third, here]) await signIn(profile, account);
      const { page } = here;
      expect(await page.locator("main").textContent()).toContain(account.email);
      const entries = page.getByRole("region", { name: t.sessionsTitle }).getByRole("listitem");
      expect(await entries.count()).toBe(3);
      expect(await entries.first().textContent()).toContain(t.thisBrowser);
      const safari = t.browserOn("Safari", "iOS");
      expect(await page.getByText(safari).count()).toBe(1);
      expect(await page.locator("time").first().textContent()).toMatch(/20\d\d/);

      // what a screen reader reads out says what each button is for
      const names = (await accessibilityTree(page)).filter(({ role }) => role === "button").map(({ name }) => name);
      const expected = [t.signOutOf("a-program/1.0, 127.0.0.1"), t.signOutOf(`${safari}, 127.0.0.1`)];
      expect(names.sort()).toEqual([...expected, t.signOutEverywhere].sort());
      await page.getByRole("button", { name: t.signOutOf(safari) }).click();
      await page.getByText(safari).waitFor({ state: "detached" });
      await page.waitForLoadState();
      expect(await entries.count()).toBe(2);
      await other.page.goto(app.url);
      expect(await other.page.locator("h1").textContent()).toBe(t.homeSignedOut);
      await third.page.goto(app.url);
      expect(await third.page.locator("h1").textContent()).toBe(t.homeSignedIn);

      await page.getByRole("button", { name: t.signOutEverywhere }).click();
      await page.getByRole("heading", { name: t.loggedOutTitle }).waitFor();
      for (const profile of [here, third]) {
        await profile.page.goto(app.url);
        expect(await profile.page.locator("h1").textContent()).toBe(t.homeSignedOut);
      }
      expect([...here.complaints, ...other.complaints, ...third.complaints]).toEqual([]);
    } finally {
      for (const profile of [here, other, third]) await profile.close();
    }
  });

  inBrowser("S-042 shows what applications may do and takes one's access back", async () => {
    const account = await signUp(app.url);
    const here = await open();
    try {
      const { page } = here;
      await signIn(here, account);
      const section = page.getByRole("region", { name: t.applicationsTitle });
      expect(await section.textContent()).toContain(t.applicationsNone);
      for (const name of ["photos", "notes"] as const) await allow(here, name);
      await page.goto(app.url);
      const photos = section.getByRole("listitem").filter({ hasText: "Photo Album" });
      expect(await photos.getByRole("listitem").allTextContents()).toEqual([t.scopes["openid"], t.scopes["read"]]);
      await page.getByRole("button", { name: t.removeAccessOf("Photo Album") }).click();
      await page.getByText("Photo Album").waitFor({ state: "detached" });
      await page.waitForLoadState();
      expect(await page.getByRole("button", { name: t.removeAccessOf("Notes") }).count()).toBe(1);
      await page.goto(
        authorizeUrl(app.url, { clientId: "photos", redirectUri: `${client.origin}/photos`, scope: "openid read" }),
      );
      expect(await page.locator("h1").textContent()).toBe(t.consentTitle);
      expect(here.complaints).toEqual([]);
    } finally {
      await here.close();
    }
  });
});

describe("the times of an account in Chromium", () => {
  inBrowser("are in the reader's zone, that of the account's end on both of its pages too", async () => {
    const t = MESSAGES.en;
    const account = await signUp(app.url);
    await requestDeletion(app.context, account.uuid);
    const { erasedAt } = (await findClosed(app.context, { uuid: account.uuid })) ?? { erasedAt: 0 };
    const parts = { dateStyle: "medium", timeStyle: "short", timeZone: "Pacific/Kiritimati" } as const;
    const day = new Intl.DateTimeFormat("en", parts).format(erasedAt).split(",")[0] ?? "";
    const { page, close } = await openProfile(browser, { locale: "en-US", timezoneId: parts.timeZone });
    try {
      await page.goto(`${app.url}/login`);
      await page.getByLabel(t.email).fill(account.email);
      await page.getByLabel(t.password).fill(account.password);
      await page.getByRole("button", { name: t.signIn, exact: true }).click();
      await page.getByRole("button", { name: ACCOUNT_MESSAGES.en.data.keep }).waitFor();
      const restore = await page.getByRole("alert").textContent();
      const sealed = sealAccount(app.context, "/account/closed", account.uuid);
      await page.goto(`${app.url}/account/closed?${new URLSearchParams({ account: sealed })}`);
      for (const text of [restore, await page.getByRole("status").textContent()]) {
        expect(text).toContain(day);
        expect(text).not.toContain("UTC");
      }
    } finally {
      await close();
    }
  });
});
