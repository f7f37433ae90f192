import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser } from "playwright-core";
import type { Language } from "../../src/config/languages.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { accessibilityTree, inBrowser, launchChromium, openProfile, type Profile } from "../support/browser.ts";
import { postForm, signUp } from "../support/flow.ts";

const grant = "urn:ietf:params:oauth:grant-type:device_code";

let app: TestApp;
let browser: Browser | null;
beforeAll(async () => {
  app = await startApp({}, [
    { client_id: "tv", client_name: "Big Screen", grant_types: [grant], scope: "openid profile read" },
  ]);
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  await app?.close();
});

interface Started {
  device_code: string;
  user_code: string;
  verification_uri: string;
  verification_uri_complete: string;
}
const start = async () =>
  (await (await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "tv" })).json()) as Started;
const poll = async (code: string) =>
  (await (
    await postForm(`${app.url}/oauth2/token`, { grant_type: grant, device_code: code, client_id: "tv" })
  ).json()) as { error?: string; access_token?: string };

async function withProfile(language: Language, work: (profile: Profile) => Promise<void>): Promise<void> {
  const locale = language === "ko" ? "ko-KR" : "en-US";
  const profile = await openProfile(browser, { locale, javaScriptEnabled: false });
  try {
    await work(profile);
    expect(profile.complaints).toEqual([]);
  } finally {
    await profile.close();
  }
}

describe.each(["en", "ko"] as const)("the device page in a browser without script (%s)", (language) => {
  const t = MESSAGES[language];

  inBrowser(`S-147 signs in, types the code in, looks at what it is for, and allows it (${language})`, () =>
    withProfile(language, async ({ page }) => {
      const account = await signUp(app.url);
      const started = await start();
      await page.goto(started.verification_uri);
      expect(new URL(page.url()).pathname).toBe("/login");
      await page.getByLabel(t.email).fill(account.email);
      await page.getByLabel(t.password).fill(account.password);
      await page.getByRole("button", { name: t.signIn }).click();
      expect(await page.getByRole("heading", { level: 1 }).textContent()).toBe(t.deviceTitle);

      // a typing mistake is said at its field
      await page.getByLabel(t.deviceCode, { exact: true }).fill("BCDF-GHJ");
      await page.getByRole("button", { name: t.continue }).click();
      await page.locator("#user_code:focus").waitFor();
      const field = (await accessibilityTree(page)).find(({ role }) => role === "textbox");
      expect(field).toMatchObject({ name: t.deviceCode, invalid: true, focused: true });
      expect(field?.description).toContain(t.deviceWrong);

      await page.getByLabel(t.deviceCode, { exact: true }).fill(started.user_code.toLowerCase().replace("-", ""));
      await page.getByRole("button", { name: t.continue }).click();
      const text = (await page.locator("main").textContent()) ?? "";
      for (const shown of ["Big Screen", started.user_code, t.deviceWarning, account.email, t.scopes["read"] ?? ""]) {
        expect(text).toContain(shown);
      }
      expect(await poll(started.device_code)).toMatchObject({ error: "authorization_pending" });
      await page.getByRole("button", { name: t.allow, exact: true }).click();
      expect(await page.getByRole("heading", { level: 1 }).textContent()).toBe(t.deviceAllowedTitle);
      expect((await poll(started.device_code)).access_token).toBeDefined();
    }),
  );

  inBrowser(`S-147 the link with the code saves the typing, not the decision (${language})`, () =>
    withProfile(language, async ({ page }) => {
      const account = await signUp(app.url);
      const started = await start();
      await page.goto(started.verification_uri_complete);
      await page.getByLabel(t.email).fill(account.email);
      await page.getByLabel(t.password).fill(account.password);
      await page.getByRole("button", { name: t.signIn }).click();
      expect(await page.getByLabel(t.deviceCode, { exact: true }).inputValue()).toBe(started.user_code);
      await page.getByRole("button", { name: t.continue }).click();
      await page.getByRole("button", { name: t.deny, exact: true }).click();
      expect(await page.getByRole("heading", { level: 1 }).textContent()).toBe(t.deviceDeniedTitle);
      expect(await poll(started.device_code)).toMatchObject({ error: "access_denied" });
    }),
  );
});

describe("the picture of the link", () => {
  inBrowser("is one that a browser draws, without script", () =>
    withProfile("en", async ({ page }) => {
      await page.goto(`${app.url}/device/qr.svg?user_code=BCDF-GHJK`);
      const box = await page.locator("svg").boundingBox();
      expect(box?.width).toBeGreaterThan(20);
      expect(await page.locator("path").count()).toBeGreaterThan(0);
    }),
  );
});
