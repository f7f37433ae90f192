import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { LANGUAGES } from "../../src/config/languages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { exampleBrandFile, writeBrand } from "../support/brand.ts";
import { authorizeUrl, hiddenFields, signUp, TestBrowser } from "../support/flow.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const langOf = (html: string) => /<html lang="([a-z]+)">/.exec(html)?.[1];
const scriptOf = (html: string) => /<script src="([^"]+)" defer>/.exec(html)?.[1] ?? "";

describe("the language of a page", () => {
  it("is the one that its reader chooses, on this page and on later ones, and the request goes on", async () => {
    const browser = new TestBrowser({ "accept-language": "en" });
    const login = new URL((await browser.get(authorizeUrl(app.url))).headers.get("location") ?? "", app.url);
    const english = await (await browser.get(login.href)).text();
    const links = [...english.matchAll(/<a href="(\?[^"]+)" lang="([a-z]+)"/g)];
    expect(links.map(([, , language]) => language)).toEqual([...LANGUAGES]);
    const [, german = ""] = links.find(([, , language]) => language === "de") ?? [];
    const page = await (await browser.get(new URL(german.replaceAll("&amp;", "&"), login).href)).text();
    expect([langOf(page), hiddenFields(page)["request"]]).toEqual(["de", hiddenFields(english)["request"]]);
    expect(langOf(await (await browser.get(`${app.url}/signup`)).text())).toBe("de");
    // what an application asks for is less than a choice
    const asked = await browser.get(authorizeUrl(app.url, { extra: { ui_locales: "fr" } }));
    const later = await browser.get(new URL(asked.headers.get("location") ?? "", app.url).href);
    expect(langOf(await later.text())).toBe("de");
  });

  it.each([...LANGUAGES])(
    "can be %s, as the browser prefers or an application asks, and an unknown one is none",
    async (language) => {
      const read = async (headers: Record<string, string>, query = "") =>
        langOf(await (await fetch(`${app.url}/login${query}`, { headers })).text());
      expect(await read({ "accept-language": `xx, ${language};q=0.9, en;q=0.1` })).toBe(language);
      expect(await read({ "accept-language": language }, "?language=xx")).toBe(language);
      const asked = await new TestBrowser().get(authorizeUrl(app.url, { extra: { ui_locales: `xx ${language}-XX` } }));
      const page = await fetch(new URL(asked.headers.get("location") ?? "", app.url));
      expect(langOf(await page.text())).toBe(language);
    },
  );
});

/** What the browser gets, compressed, before it draws the page: nothing else is loaded. */
async function weightOf(url: string, path: string): Promise<number> {
  const html = await (await fetch(url + path)).text();
  const script = await (await fetch(url + scriptOf(html))).text();
  expect([...html.matchAll(/ src="(https?:[^"]+)"/g)].map(([, source]) => source)).toEqual([]);
  return gzipSync(html).length + gzipSync(script).length;
}

it("a page needs less than 20 KB for its first paint, script included, and loads nothing from elsewhere", async () => {
  for (const path of ["/login", "/signup", "/password-reset"]) {
    expect(await weightOf(app.url, path)).toBeLessThan(20_000);
    const html = await (await fetch(app.url + path)).text();
    expect([...html.matchAll(/(?:src|href)="(https?:[^"]+)"/g)].map(([, url]) => url)).toEqual([]);
  }
});

it("a brand adds what its images have compressed, and leaves the policy as it is but for the style's hash", async () => {
  const pixels = randomBytes(8 * 1024);
  const png = Buffer.concat([Buffer.from("89504e470d0a1a0a0000000d49484452", "hex"), pixels]);
  const [branded, heavy] = [
    await startApp({ BRAND_FILE: exampleBrandFile }),
    await startApp({ BRAND_FILE: writeBrand({ logo: "logo.png" }, { "logo.png": png }) }),
  ];
  try {
    const [plain, small, large] = [app, branded, heavy].map(({ url }) => weightOf(url, "/login"));
    const [own = 0, withBrand = 0, withPixels = 0] = await Promise.all([plain, small, large]);
    expect([withBrand - own < 2_000, withBrand < 20_000]).toEqual([true, true]);
    expect(Math.abs(withPixels - withBrand - png.length)).toBeLessThan(1_000);
    const policies = [app, branded].map(async ({ url }) =>
      (await fetch(`${url}/password-reset`)).headers.get("content-security-policy"),
    );
    const [first, second] = (await Promise.all(policies)).map((policy) => policy?.replace(/'sha256-[^']+'/, "HASH"));
    expect(first).toBe(
      "default-src 'none'; style-src HASH; script-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    );
    expect(second).toBe(first);
  } finally {
    await branded.close();
    await heavy.close();
  }
});

it("serves scripts under the name of their content, to be kept for ever", async () => {
  const path = scriptOf(await (await fetch(`${app.url}/login`)).text());
  const script = await fetch(app.url + path);
  expect([script.status, script.headers.get("content-type"), script.headers.get("cache-control")]).toEqual([
    200,
    "text/javascript; charset=utf-8",
    "public, max-age=31536000, immutable",
  ]);
  for (const none of ["/assets/none.0000000000000000.js", path.replace(/\.[0-9a-f]+\./, ".0."), "/assets/"]) {
    expect([none, (await fetch(app.url + none)).status]).toEqual([none, 404]);
  }
});

it("serves the script that a page of another release names, as it is here, to be kept by nobody", async () => {
  const html = await (await fetch(`${app.url}/login`)).text();
  const paths = [...html.matchAll(/src="(\/assets\/[^"]+)"/g)].map(([, path = ""]) => path);
  expect(paths.length).toBeGreaterThan(1);
  for (const path of paths) {
    const other = await fetch(app.url + path.replace(/\.[0-9a-f]+\./, `.${"0".repeat(16)}.`));
    expect([other.status, other.headers.get("cache-control")]).toEqual([200, "no-store"]);
    expect(await other.text()).toBe(await (await fetch(app.url + path)).text());
  }
});

it("who tried too often is told how many minutes are left", async () => {
  const { email } = await signUp(app.url);
  let page = "";
  for (let tries = 0; tries < 11; tries++) {
    page = await (await new TestBrowser().submit(`${app.url}/login`, { email, password: "wrong" })).text();
  }
  expect(page).toMatch(/Try again in 1[45] minutes/);
});
