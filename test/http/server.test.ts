import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { authorizeUrl, portal, signUp, TestBrowser } from "../support/flow.ts";

describe("the public listener", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({});
  });
  afterAll(() => app.close());

  it("C-61 answers HEAD on documents and pages as GET, without a body", async () => {
    for (const path of [
      "/.well-known/openid-configuration",
      "/oauth2/jwks",
      "/api/openapi.json",
      "/login",
      "/signup",
      "/device/qr.svg?user_code=BCDF-GHJK",
      "/userinfo",
      "/api/users/me",
      "/oauth2/register/nobody",
    ]) {
      const [get, head] = await Promise.all(
        ["GET", "HEAD"].map((method) => fetch(`${app.url}${path}`, { method, headers: { accept: "*/*" } })),
      );
      expect([path, head?.status, await head?.text()]).toEqual([path, get?.status, ""]);
      expect([200, 401]).toContain(get?.status);
      for (const name of ["content-type", "cache-control", "etag"]) {
        expect([path, name, head?.headers.get(name)]).toEqual([path, name, get?.headers.get(name) ?? null]);
      }
    }
    const wrong = await fetch(`${app.url}/login`, { method: "DELETE" });
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, expect.stringContaining("HEAD")]);
  });

  it("C-34 keeps the window that opened a login: no page or redirect on its way sets Cross-Origin-Opener-Policy", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const answers = [
      await browser.get(authorizeUrl(app.url)),
      await browser.get(`${app.url}/login`),
      await browser.submit(`${app.url}/login`, { email: account.email, password: account.password }),
      await browser.get(authorizeUrl(app.url)),
      await browser.get(`${app.url}/connect/logout`),
      await browser.submit(`${app.url}/connect/logout`, {}),
    ];
    expect(answers.map(({ headers }) => headers.get("cross-origin-opener-policy"))).toEqual(answers.map(() => null));
    expect(answers[3]?.headers.get("location")).toContain(portal.redirectUri);
  });

  it.each([
    [{}, "max-age=31536000"],
    [{ HSTS_INCLUDE_SUBDOMAINS: "1" }, "max-age=31536000; includeSubDomains"],
  ])("C-89 leaves subdomains to the operator: %j", async (env, value) => {
    const secure = await startApp({ ISSUER: "https://localhost", ...env });
    try {
      const answer = await fetch(`http://127.0.0.1:${secure.config.http.port}/login`);
      expect(answer.headers.get("strict-transport-security")).toBe(value);
    } finally {
      await secure.close();
    }
  });

  it("C-89 keeps idle connections as long as the operator says", async () => {
    const brief = await startApp({ KEEP_ALIVE_TIMEOUT: "7" });
    try {
      const answer = await fetch(`${brief.url}/oauth2/jwks`);
      expect(answer.headers.get("keep-alive")).toBe("timeout=7");
    } finally {
      await brief.close();
    }
  });
});
