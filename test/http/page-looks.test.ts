import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { LANGUAGES } from "../../src/config/languages.ts";
import { startApp, type TestApp } from "../support/app.ts";
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

it("a page needs less than 20 KB for its first paint, script included, and loads nothing from elsewhere", async () => {
  for (const path of ["/login", "/signup", "/password-reset"]) {
    const html = await (await fetch(app.url + path)).text();
    const script = await (await fetch(app.url + scriptOf(html))).text();
    expect(gzipSync(html).length + gzipSync(script).length).toBeLessThan(20_000);
    expect([...html.matchAll(/(?:src|href)="(https?:[^"]+)"/g)].map(([, url]) => url)).toEqual([]);
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
  expect((await fetch(app.url + path.replace(/\.[0-9a-f]+\./, `.${"0".repeat(16)}.`))).status).toBe(404);
});

it("who tried too often is told how many minutes are left", async () => {
  const { email } = await signUp(app.url);
  let page = "";
  for (let tries = 0; tries < 11; tries++) {
    page = await (await new TestBrowser().submit(`${app.url}/login`, { email, password: "wrong" })).text();
  }
  expect(page).toMatch(/Try again in 1[45] minutes/);
});
