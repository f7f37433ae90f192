import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { AuthError } from "../../src/errors.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { authorizeUrl, hiddenFields, TestBrowser, unescapeHtml } from "../support/flow.ts";

const { en, ko } = MESSAGES;
/** As browsers ask for a page. */
const accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

const referenceOf = (html: string) => /<code>([0-9A-F]{12})<\/code>/.exec(html)?.[1];
const get = (path: string, headers: Record<string, string>, method = "GET") =>
  fetch(app.url + path, { method, headers });

describe("error pages", () => {
  it("C-30 every one has a reference number of its own, which its line in the log has too", async () => {
    const seen = new Set<string>();
    for (const [path, method] of [
      ["/oauth2/authorize?client_id=unknown", "GET"],
      ["/consent", "GET"],
      ["/no-such-page", "GET"],
      ["/login", "DELETE"],
      ["/login", "POST"],
    ] as const) {
      const answer = await get(path, { accept }, method);
      const html = await answer.text();
      const reference = referenceOf(html) ?? "none";
      expect([path, answer.headers.get("content-type")]).toEqual([path, "text/html; charset=utf-8"]);
      expect(html).toContain(en.reference);
      const line = app.logs.map((each) => JSON.parse(each)).find((each) => each.reference === reference);
      expect(line).toMatchObject({ method, path: path.split("?")[0], status: answer.status });
      seen.add(reference);
    }
    expect(seen.size).toBe(5);
  });

  it("C-30 the page of a flood, which is made once, has a new number each time", async () => {
    const { passwords } = app.context;
    passwords.refuseWhenFull = () => {
      throw new AuthError("rate_limited", "too many logins at once", { retryAfter: 2 });
    };
    const pages = await Promise.all([1, 2, 3].map(async () => (await get("/login", { accept }, "POST")).text()));
    Reflect.deleteProperty(passwords, "refuseWhenFull");
    expect(new Set(pages.map(referenceOf)).size).toBe(3);
    expect(pages.every((html) => html.includes(en.errors["rate_limited"] ?? ""))).toBe(true);
  });

  it("F-27 the page about a fault does not wait for what is away, even to lead back to the application", async () => {
    const browser = new TestBrowser();
    const login = await browser.get(
      new URL((await browser.get(authorizeUrl(app.url))).headers.get("location") ?? "", app.url).href,
    );
    const form = { ...hiddenFields(await login.text()), email: "a@example.test", password: "correct horse battery" };
    const { clients, store } = app.context;
    const away = new AuthError("unavailable", "the database is away", { retryAfter: 1 });
    jest.spyOn(store.users, "findToCheck").mockImplementation(async () => {
      jest.spyOn(clients, "find").mockReturnValue(new Promise(() => {}));
      throw away;
    });
    const answer = await browser.post(`${app.url}/login`, form);
    jest.restoreAllMocks();
    expect([answer.status, referenceOf(await answer.text())]).toEqual([503, expect.any(String)]);
  });

  it("answers an unknown path and a wrong method with a page where a browser asks, in its language, and with data otherwise", async () => {
    const missing = await get("/no-such-page", { accept, "accept-language": "ko" });
    expect([missing.status, await missing.text()]).toEqual([
      404,
      expect.stringContaining(ko.errors["not_found"] ?? ""),
    ]);
    expect(missing.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(missing.headers.get("x-frame-options")).toBe("DENY");
    const wrong = await get("/login", { accept }, "PUT");
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
    expect(await wrong.text()).toContain(en.errors["method_not_allowed"]);

    for (const [path, headers, method, status] of [
      ["/no-such-page", {}, "GET", 404],
      ["/no-such-page", { accept: "application/json" }, "GET", 404],
      ["/no-such-page", { accept: "*/*" }, "GET", 404],
      ["/api/users/no-such-call", { accept }, "GET", 404],
      ["/login", {}, "PUT", 405],
      ["/oauth2/token", { accept }, "GET", 405],
      ["/api/users/signup", { accept }, "GET", 405],
    ] as const) {
      const answer = await get(path, headers, method);
      const type = "application/json; charset=utf-8";
      expect([path, answer.status, answer.headers.get("content-type")]).toEqual([path, status, type]);
    }
    expect((await new TestBrowser().get(`${app.url}/no-such-page`)).status).toBe(404);
  });

  it("answers a path that is no address with the page of an unknown one, in the language that it chooses", async () => {
    for (const path of ["//", "///", "//[", "//:0/", "//[?language=ko"]) {
      const answer = await get(path, { accept });
      const text = (path.includes("ko") ? ko : en).errors["not_found"] ?? "";
      expect([path, answer.status, await answer.text()]).toEqual([path, 404, expect.stringContaining(text)]);
    }
  });

  it("leads back to the application whose request waits, from an address without a page too", async () => {
    const browser = new TestBrowser({ accept });
    const login = (await browser.get(authorizeUrl(app.url))).headers.get("location") ?? "";
    await browser.get(app.url + login);
    for (const [path, method] of [
      ["/no-such-page", "GET"],
      ["/login", "PUT"],
    ] as const) {
      const html = await (await browser.request(app.url + path, { method })).text();
      expect(unescapeHtml(html)).toContain(`<a class="button" href="${login}">${en.continueTo("Portal")}</a>`);
    }
    expect(await (await get("/no-such-page", { accept })).text()).not.toContain('class="button"');
  });

  it("blame no application for what a form of this service brings, and lead back to the page", async () => {
    const form = "application/x-www-form-urlencoded";
    for (const [path, type, body] of [
      ["/login", form, "email=a&email=b"],
      ["/login", "application/json", "{}"],
      ["/signup", form, "email=%ff"],
      ["/password-reset", form, `email=${"a".repeat(70_000)}`],
    ] as const) {
      const answer = await fetch(app.url + path, { method: "POST", headers: { accept, "content-type": type }, body });
      const html = await answer.text();
      expect([path, answer.status >= 400 && answer.status < 500]).toEqual([path, true]);
      expect(html).toContain(en.errors["malformed"]);
      expect(html).toContain(`<a class="button" href="${path}">${en.continue}</a>`);
    }
    const twice = await get(`${new URL(authorizeUrl(app.url)).pathname}?scope=a&scope=b`, { accept });
    expect(await twice.text()).toContain(en.errors["other"]);
  });
});
