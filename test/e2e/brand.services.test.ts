import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { exampleBrandFile } from "../support/brand.ts";
import { accessibilityTree, inBrowser, launchChromium, openProfile } from "../support/browser.ts";
import { coloursOfTexts } from "../support/contrast.ts";
import { type Account, authorizeUrl, signUp } from "../support/flow.ts";
import { listen } from "../support/keys.ts";

const t = MESSAGES.en;
const redirectUri = "https://app.example/cb";
const drawing =
  '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><title>A</title><rect width="64" height="64"/></svg>';

let app: TestApp;
let host: Awaited<ReturnType<typeof listen>>;
let browser: Browser | null;
let account: Account;

beforeAll(async () => {
  host = await listen((_request, response) => response.end(drawing));
  app = await startApp({ BRAND_FILE: exampleBrandFile, OUTBOUND_ALLOWED_HOSTS: host.host }, [
    {
      client_id: "album",
      client_name: "Photo Album",
      logo_uri: `${host.url}/logo`,
      policy_uri: "https://album.example/privacy",
      tos_uri: "https://album.example/terms",
      redirect_uris: [redirectUri],
      scope: "openid profile",
    },
  ]);
  account = await signUp(app.url);
  browser = await launchChromium();
});

afterAll(async () => {
  await browser?.close();
  await app?.close();
  host?.close();
});

const startUrl = () => authorizeUrl(app.url, { clientId: "album", redirectUri, scope: "openid profile" });

/** The login page of the album, once its logo is there. */
async function openLogin(page: Page): Promise<void> {
  for (;;) {
    await page.goto(startUrl());
    if ((await page.locator(".client-logo").count()) > 0) return;
  }
}

async function signIn(page: Page): Promise<void> {
  await page.getByLabel(t.email).fill(account.email);
  await page.getByLabel(t.password).fill(account.password);
  await page.getByRole("button", { name: t.signIn, exact: true }).click();
}

/** Of an image that the browser drew; 0: it did not. */
const widthOf = (page: Page, selector: string) =>
  page.evaluate<number>(`document.querySelector(${JSON.stringify(selector)})?.naturalWidth ?? 0`);

describe("the pages of a brand in Chromium", () => {
  inBrowser(
    "carry its name, logo, colours, links and legal line in both themes, and everything can be read",
    async () => {
      const schemes = {
        light: ["rgb(122, 46, 110)", "rgb(255, 255, 255)"],
        dark: ["rgb(227, 166, 212)", "rgb(0, 0, 0)"],
      };
      for (const [colorScheme, colours] of Object.entries(schemes) as ["light" | "dark", string[]][]) {
        const { page, complaints, close } = await openProfile(browser, { colorScheme, locale: "en-US" });
        try {
          const look = async () => {
            expect(await page.title()).toMatch(/ · Harbour Books$/);
            expect(await page.getByRole("banner").textContent()).toBe("Harbour Books");
            expect(await widthOf(page, "header img")).toBeGreaterThan(0);
            const footer = page.getByRole("contentinfo");
            expect(await footer.textContent()).toContain("Harbour Books Ltd., 1 Quay Street, Bristol");
            for (const name of [t.support, t.policy, t.terms]) {
              const link = footer.getByRole("link", { name, exact: true });
              expect(await link.getAttribute("href")).toMatch(/^https:\/\/(help\.)?harbour-books\.example\//);
            }
            const texts = await coloursOfTexts(page);
            expect(texts.length).toBeGreaterThan(8);
            for (const { text, contrast, front, back } of texts) {
              expect([colorScheme, text, front, back, contrast >= 4.5]).toEqual([colorScheme, text, front, back, true]);
            }
            // nothing to scroll sideways on a small phone
            await page.setViewportSize({ width: 320, height: 640 });
            expect(await page.evaluate<number>("document.documentElement.scrollWidth")).toBeLessThanOrEqual(320);
          };
          await openLogin(page);
          await look();
          const shown = await page.evaluate<string[]>(`(() => {
          const { backgroundColor, color } = getComputedStyle(document.querySelector("button[type=submit]"));
          return [backgroundColor, color];
        })()`);
          expect(shown).toEqual(colours);
          await page.goto(`${app.url}/signup`);
          await look();
          await page.goto(`${app.url}/nowhere`);
          await look();
          await openLogin(page);
          await signIn(page);
          await page.getByRole("button", { name: t.deny }).waitFor();
          await look();
          await page.goto(app.url);
          await page.getByRole("heading", { name: t.homeSignedIn, level: 1 }).waitFor();
          await look();
          expect(complaints).toEqual([]);
        } finally {
          await close();
        }
      }
    },
  );

  inBrowser("say what the brand says in the reader's language, in English where it has none", async () => {
    const { page, close } = await openProfile(browser, { locale: "de-DE" });
    try {
      await page.goto(`${app.url}/login`);
      const footer = page.getByRole("contentinfo");
      expect(await footer.textContent()).toContain("Vereinigtes Königreich");
      const href = (name: string) => footer.getByRole("link", { name, exact: true }).getAttribute("href");
      expect(await href(MESSAGES.de.policy)).toBe("https://harbour-books.example/de/datenschutz");
      expect(await href(MESSAGES.de.support)).toBe("https://help.harbour-books.example/");
      await page.goto(`${app.url}/login?language=ja`);
      expect(await footer.textContent()).toContain("1 Quay Street");
    } finally {
      await close();
    }
  });

  inBrowser("show an application's logo, drawn, beside its name, and its links under the form", async () => {
    const { page, complaints, close } = await openProfile(browser, { locale: "en-US", javaScriptEnabled: false });
    const loaded: string[] = [];
    page.on("request", (request) => {
      if (!request.url().startsWith("data:")) loaded.push(request.url());
    });
    try {
      const look = async () => {
        expect(await widthOf(page, "strong > .client-logo")).toBe(64);
        expect(await page.locator("strong", { hasText: "Photo Album" }).count()).toBeGreaterThan(0);
        const main = page.getByRole("main");
        for (const [name, href] of [
          [t.policyOf("Photo Album"), "https://album.example/privacy"],
          [t.termsOf("Photo Album"), "https://album.example/terms"],
        ] as const) {
          const link = main.getByRole("link", { name });
          expect([await link.getAttribute("href"), await link.getAttribute("rel")]).toEqual([href, "noopener"]);
        }
        // the name is read out once: its logo says nothing more
        const images = (await accessibilityTree(page)).filter(({ role }) => role === "image");
        expect(images).toEqual([]);
      };
      await openLogin(page);
      await look();
      await page.getByRole("link", { name: t.signUp }).click();
      await page.getByRole("heading", { name: t.signUpTitle }).waitFor();
      await look();
      await openLogin(page);
      await signIn(page);
      await page.getByRole("button", { name: t.deny }).waitFor();
      await look();
      expect(loaded.filter((url) => !url.startsWith(app.url))).toEqual([]);
      expect(complaints).toEqual([]);
    } finally {
      await close();
    }
  });
});
