import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import type { Browser, Page } from "playwright-core";
import { startApp, type TestApp } from "../support/app.ts";
import { inBrowser, launchChromium, openProfile } from "../support/browser.ts";
import { signUp } from "../support/flow.ts";
import { resetTokenFor } from "../support/resets.ts";

let app: TestApp;
let browser: Browser | null;
beforeAll(async () => {
  app = await startApp();
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  await app?.close();
});

async function typed(page: Page, password: string): Promise<string> {
  await page.locator("#password").fill(password);
  await page.locator(".strength meter").waitFor();
  return (await page.locator(".strength .word").textContent()) ?? "";
}

describe("how strong a new password is", () => {
  inBrowser("shows while it is typed, and it is judged in the browser, with the address known", async () => {
    const { page, complaints, close } = await openProfile(browser);
    await page.goto(`${app.url}/signup`);
    await page.locator("#email").fill("grandmother@example.com");
    const asked: string[] = [];
    page.on("request", (request) => asked.push(request.url()));
    expect(await typed(page, "short")).toBe("Very weak");
    expect(["Very weak", "Weak"]).toContain(await typed(page, "password1"));
    expect(["Very weak", "Weak"]).toContain(await typed(page, "grandmother"));
    expect(await typed(page, "copper lantern breeze orbit")).toBe("Strong");
    expect(
      await page.locator(".strength meter").evaluate((meter) => (meter as unknown as { value: number }).value),
    ).toBe(5);
    expect(asked.length).toBe(2);
    expect(asked.every((url) => url.startsWith(`${app.url}/assets/zxcvbn`))).toBe(true);
    await page.locator("#password").fill("");
    await page.locator(".strength").waitFor({ state: "hidden" });
    expect(complaints).toEqual([]);
    await close();
  });

  inBrowser("shows in the reader's language where a password is reset, too", async () => {
    const { page, complaints, close } = await openProfile(browser, { locale: "de", colorScheme: "dark" });
    const { email } = await signUp(app.url);
    await page.goto(`${app.url}/password-reset?token=${await resetTokenFor(app, email)}`);
    expect(await typed(page, "copper lantern breeze orbit")).toBe("Stark");
    expect(complaints).toEqual([]);
    await close();
  });
});
