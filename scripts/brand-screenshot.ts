import { type Browser, chromium } from "playwright-core";
import { startApp } from "../test/support/app.ts";
import { exampleBrandFile } from "../test/support/brand.ts";
import { findChromium } from "../test/support/chromium.ts";
import { authorizeUrl } from "../test/support/flow.ts";
import { listen } from "../test/support/keys.ts";

/** Takes the picture of docs/how-to/brand.md: the login page with the example brand and an application's logo (`npm run screenshots:brand`). */

const path = new URL("../docs/images/brand.jpg", import.meta.url).pathname;
const redirectUri = "http://127.0.0.1:3000/callback";
const logo =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><title>Photo Album</title><circle cx="12" cy="12" r="12" fill="#e8590c"/><path fill="#fff" d="M5 16l4-6 3 4 3-5 4 7z"/></svg>';

async function takePicture(browser: Browser, url: string): Promise<void> {
  const page = await browser.newPage({ viewport: { width: 1000, height: 920 }, colorScheme: "light", locale: "en-US" });
  // the logo is on the page once the service has it
  do await page.goto(url);
  while ((await page.locator(".client-logo").count()) === 0);
  await page.screenshot({ path, type: "jpeg", quality: 70, animations: "disabled", caret: "initial" });
}

const found = findChromium();
if (found === null) throw new Error("screenshots need Chromium, on the PATH or at CHROMIUM_PATH");
const host = await listen((_request, response) => response.end(logo));
const app = await startApp({ LOG_LEVEL: "error", BRAND_FILE: exampleBrandFile, OUTBOUND_ALLOWED_HOSTS: host.host }, [
  {
    client_id: "album",
    client_name: "Photo Album",
    logo_uri: `${host.url}/logo.svg`,
    policy_uri: "https://album.example/privacy",
    tos_uri: "https://album.example/terms",
    redirect_uris: [redirectUri],
  },
]);
const browser = await chromium.launch({
  executablePath: found.executablePath,
  env: { ...(process.env as Record<string, string>), ...found.env },
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--font-render-hinting=none"],
});
try {
  await takePicture(browser, authorizeUrl(app.url, { clientId: "album", redirectUri, scope: "openid" }));
} finally {
  await browser.close();
  await app.close();
  host.close();
}
