import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import {
  authorizeUrl,
  getTokens,
  internalBasic,
  portal,
  postForm,
  signUp,
  TestBrowser,
  uniqueEmail,
} from "../support/flow.ts";
import { rowsOf } from "../support/sqlite.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({}, [basicOnly]);
});
afterAll(() => app.close());

const basicOnly = {
  client_id: "basic-only",
  client_secret: "a secret of at least thirty-two characters",
  token_endpoint_auth_method: "client_secret_basic",
  grant_types: ["client_credentials"],
  scope: "jobs",
};

const formEndpoints = ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"];
const jsonEndpoints = ["/api/users/signup", "/api/users/password-reset", "/api/users/password-reset/confirm"];

function send(
  path: string,
  type: string | null,
  body: string | Buffer,
  headers: Record<string, string> = {},
  method = "POST",
) {
  return new Promise<{ status: number; body: string; headers: Record<string, unknown> }>((resolve, reject) => {
    const { port } = new URL(app.url);
    const length = { "content-length": String(Buffer.byteLength(body)) };
    const typed = type === null ? {} : { "content-type": type };
    const request = httpRequest(
      { port, host: "localhost", path, method, headers: { ...typed, ...length, ...headers } },
      (response) => {
        let text = "";
        response.on("data", (chunk) => (text += chunk));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers }));
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

describe("bodies", () => {
  it("S-055 reads application/x-www-form-urlencoded in any case and nothing that only looks like it", async () => {
    const body = `grant_type=client_credentials&scope=auth.introspect`;
    const headers = { authorization: internalBasic };
    expect((await send("/oauth2/token", "APPLICATION/X-WWW-FORM-URLENCODED", body, headers)).status).toBe(200);
    expect(
      (await send("/oauth2/token", "application/x-www-form-urlencoded; charset=utf-8", body, headers)).status,
    ).toBe(200);
    for (const type of [
      null,
      "text/plain",
      "multipart/form-data; boundary=x",
      "application/json\ta",
      "application/json garbage",
      "application/x-www-form-urlencoded;charset=utf-7",
      "application/x-www-form-urlencoded, application/json",
    ]) {
      const answer = await send("/oauth2/token", type, body, headers);
      expect([type, [400, 415].includes(answer.status)]).toEqual([type, true]);
      expect(JSON.parse(answer.body)).toMatchObject({ error: "invalid_request" });
    }
    const zipped = { ...headers, "content-encoding": "gzip" };
    expect((await send("/oauth2/token", "application/x-www-form-urlencoded", body, zipped)).status).toBe(415);
  });

  it("S-073 F-40 refuses bodies over 64 KiB, thousands of fields and names that mean something to JavaScript", async () => {
    const form = "application/x-www-form-urlencoded";
    for (const path of formEndpoints) {
      expect((await send(path, form, `code=${"x".repeat(65_536)}`)).status).toBe(413);
      const many = Array.from({ length: 2_000 }, (_, n) => `f${n}=1`).join("&");
      expect((await send(path, form, many)).status).toBe(400);
      const names = await send(path, form, "__proto__=x&constructor=y&grant_type=refresh_token&token=1");
      expect([400, 401]).toContain(names.status);
    }
    for (const path of jsonEndpoints) {
      expect((await send(path, "application/json", `{"email":"${"x".repeat(65_536)}"}`)).status).toBe(413);
      const polluted = await send(
        path,
        "application/json",
        '{"__proto__":{"isAdmin":true},"constructor":{"prototype":{"x":1}}}',
      );
      expect(polluted.status).toBe(400);
    }
    expect(({} as Record<string, unknown>)["isAdmin"]).toBeUndefined();
    expect(({} as Record<string, unknown>)["x"]).toBeUndefined();
  });

  it("S-058 takes no parameter twice and no array, object, number or null for a string", async () => {
    const form = "application/x-www-form-urlencoded";
    for (const body of [
      "grant_type=authorization_code&code=a&code=b&client_id=portal-client",
      "grant_type=authorization_code&code[]=a&client_id=portal-client",
      "grant_type=authorization_code&code[$ne]=a&client_id=portal-client",
      "grant_type=refresh_token&grant_type=refresh_token",
    ]) {
      const answer = await send("/oauth2/token", form, body);
      expect([answer.status, JSON.parse(answer.body).error]).toEqual([400, "invalid_request"]);
    }
    for (const code of ['{"$ne":1}', '["a"]', "1", "true", "null", '{"toString":"x"}']) {
      const body = `{"grant_type":"authorization_code","client_id":"portal-client","code":${code}}`;
      const answer = await send("/oauth2/token", "application/json", body);
      expect([code, answer.status, JSON.parse(answer.body).error]).toEqual([code, 400, "invalid_request"]);
    }
    const twice = '{"grant_type":"refresh_token","client_id":"a","client_id":"b","refresh_token":"x"}';
    expect(JSON.parse((await send("/oauth2/token", "application/json", twice)).body).error).toBe("invalid_request");
  });

  it("answers broken JSON, JSON of another kind and a repeated member with the account envelope", async () => {
    for (const path of jsonEndpoints) {
      for (const body of ["{", "", "[]", '"text"', "null", '{"email":"a","email":"b"}', "\ufeff{}", "{'email':1}"]) {
        const answer = await send(path, "application/json", body);
        expect([path, body, answer.status]).toEqual([path, body, 400]);
        expect(JSON.parse(answer.body)).toMatchObject({ success: false, error: { code: "AUTH_INVALID_REQUEST" } });
      }
      expect((await send(path, "application/json", Buffer.from([0x7b, 0xc3, 0x28, 0x7d]))).status).toBe(400);
      expect((await send(path, "application/x-www-form-urlencoded", "email=a")).status).toBe(415);
    }
  });

  it.each([
    '"id":"1","uuid":"1"',
    '"role":"ROLE_ADMIN","roles":["ROLE_ADMIN"]',
    '"isAdmin":true,"admin":true',
    '"emailVerified":true,"email_verified":true,"emailVerifiedAt":1',
    '"createdAt":0,"updatedAt":0,"disabledAt":1,"disabled":true',
    '"claims":{"name":"x"},"passwordHash":"x"',
    '"unknown":{"deep":[1]}',
    '"__proto__":{"x":1,"roles":["ROLE_ADMIN"]}',
    '"constructor":{"prototype":{"x":1,"roles":["ROLE_ADMIN"]}}',
  ])("S-162 a sign-up with %s has the defaults of every other", async (members) => {
    for (const [url, created, headers] of [
      [`${app.url}/api/users/signup`, 201, {}],
      [`${app.internalUrl}/auth.v1.UserService/SignUp`, 200, { authorization: internalBasic }],
    ] as const) {
      const [email, from] = [uniqueEmail(), Date.now()];
      const body = `{"email":"${email}","password":"correct horse battery","nickname":"n",${members}}`;
      const init = { method: "POST", headers: { "content-type": "application/json", ...headers }, body };
      const { status } = await fetch(url, init);
      const rows = rowsOf<Record<string, unknown>>(
        app,
        "SELECT u.*, p.nickname, p.claims FROM users u JOIN user_profiles p ON p.user_id = u.uuid WHERE email = ?",
        email,
      );
      expect([url, status]).toEqual([url, created]);
      expect(rows).toMatchObject([
        {
          uuid: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4/),
          password_hash: expect.stringMatching(/^\$argon2id\$/),
          roles: '["ROLE_USER"]',
          nickname: "n",
          email_verified_at: null,
          disabled_at: null,
          claims: null,
        },
      ]);
      expect(Number(rows[0]?.["created_at"])).toBeGreaterThanOrEqual(from);
      expect(({} as Record<string, unknown>)["x"]).toBeUndefined();
      expect(({} as Record<string, unknown>)["roles"]).toBeUndefined();
    }
  });
});

describe("parameters", () => {
  it("S-007 refuses a duplicate client or redirect URI without a redirect", async () => {
    for (const name of ["client_id", "redirect_uri"]) {
      const answer = await new TestBrowser().get(`${authorizeUrl(app.url, { extra: { nonce: "n" } })}&${name}=x`);
      expect([name, answer.status, answer.headers.get("location")]).toEqual([name, 400, null]);
    }
  });

  it("S-008 takes an empty parameter for absent and ignores unknown ones", async () => {
    const browser = new TestBrowser();
    const account = await signUp(app.url);
    await browser.get(`${authorizeUrl(app.url, { state: "" })}&foo=bar`);
    const answer = await browser.submit(`${app.url}/login`, { email: account.email, password: account.password });
    const location = new URL(answer.headers.get("location") ?? "");
    expect(location.searchParams.has("code")).toBe(true);
    expect(location.searchParams.has("state")).toBe(false);
  });

  it("S-014 returns a state of any printable kind as it came", async () => {
    const { browser } = await getTokens(app.url, await signUp(app.url));
    for (const state of ["1", "x".repeat(1_000), "%+&\"'<>한글 \r\nSet-Cookie: a=b", "x".repeat(2_000)]) {
      const answer = await browser.get(authorizeUrl(app.url, { state }));
      const location = new URL(answer.headers.get("location") ?? "");
      expect(location.searchParams.get("state")).toBe(state);
      expect(answer.headers.get("set-cookie")).toBeNull();
    }
  });

  it("S-028 shows nothing unescaped on any page", async () => {
    const attack = `"><script>alert(1)</script>{{7*7}}<%= 1 %>`;
    for (const url of [
      authorizeUrl(app.url, { clientId: attack }),
      authorizeUrl(app.url, { redirectUri: attack }),
      `${app.url}/password-reset?token=${encodeURIComponent(attack)}`,
      `${app.url}/connect/logout?post_logout_redirect_uri=${encodeURIComponent(attack)}`,
    ]) {
      const html = await (await new TestBrowser().get(url)).text();
      expect(html).not.toMatch(/<script(?! src="\/assets\/)/);
    }
    const browser = new TestBrowser();
    await browser.get(authorizeUrl(app.url, { extra: { login_hint: attack } }));
    const page = await browser.submit(`${app.url}/login`, { email: attack, password: attack });
    expect(page.status).toBe(401);
    expect(await page.text()).not.toMatch(/<script(?! src="\/assets\/)/);
  });

  it("S-057 never looks at credentials in the query", async () => {
    const query = new URLSearchParams({
      grant_type: "client_credentials",
      client_id: "internal-service",
      client_secret: "internal-service-secret",
    });
    const answer = await send(
      `/oauth2/token?${query}`,
      "application/x-www-form-urlencoded",
      "grant_type=client_credentials",
    );
    expect([400, 401]).toContain(answer.status);
    const { access_token } = await getTokens(app.url, await signUp(app.url));
    const me = await fetch(`${app.url}/userinfo?access_token=${access_token}`);
    expect([me.status, await me.json()]).toEqual([401, { error: "Unauthorized" }]);
  });
});

describe("the token endpoint", () => {
  it("answers other methods of the account API in its envelope", async () => {
    for (const path of ["/api/users/signup", "/api/users/me", "/api/users/email-verification/confirm"]) {
      const answer = await fetch(app.url + path, { method: "PUT" });
      expect([path, answer.status, await answer.json()]).toEqual([
        path,
        405,
        { success: false, error: { code: "AUTH_INVALID_REQUEST", message: "method not allowed" } },
      ]);
    }
  });

  it("S-054 answers other methods with 405 and Allow", async () => {
    for (const method of ["GET", "PUT", "HEAD", "OPTIONS", "DELETE"]) {
      const response = await fetch(`${app.url}/oauth2/token`, { method });
      expect([method, response.status, response.headers.get("allow")]).toEqual([method, 405, "POST"]);
    }
  });

  it("S-059 tells missing, unknown and not allowed grant types apart", async () => {
    const ask = async (parameters: Record<string, string>, authorization?: string) => {
      const response = await postForm(`${app.url}/oauth2/token`, parameters, authorization ? { authorization } : {});
      return ((await response.json()) as { error: string }).error;
    };
    expect(await ask({ client_id: portal.clientId })).toBe("invalid_request");
    for (const grant_type of ["unknown", "password", "implicit", "toString", "__proto__"]) {
      expect(await ask({ client_id: portal.clientId, grant_type })).toBe("unsupported_grant_type");
    }
    expect(await ask({ client_id: portal.clientId, grant_type: "client_credentials" })).toBe("unauthorized_client");
    expect(await ask({ grant_type: "authorization_code" }, internalBasic)).toBe("unauthorized_client");
  });

  it("S-093 S-094 S-096 authenticates a client by its one method only", async () => {
    const basic = (id: string, secret: string) => `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;
    const ask = (parameters: Record<string, string>, authorization?: string) =>
      postForm(
        `${app.url}/oauth2/token`,
        { grant_type: "client_credentials", ...parameters },
        authorization === undefined ? {} : { authorization },
      );
    const wrong = await ask({}, basic("internal-service", "wrong"));
    expect([wrong.status, ((await wrong.json()) as { error: string }).error]).toEqual([401, "invalid_client"]);
    expect(wrong.headers.get("www-authenticate")).toMatch(/^Basic /);
    const unknown = await ask({}, basic("nobody", "wrong"));
    expect([unknown.status, unknown.headers.get("www-authenticate")]).toEqual([
      401,
      wrong.headers.get("www-authenticate"),
    ]);
    const both = await ask({ client_id: "internal-service", client_secret: "internal-service-secret" }, internalBasic);
    expect(((await both.json()) as { error: string }).error).toBe("invalid_request");
    const byBody = await ask({ client_id: basicOnly.client_id, client_secret: basicOnly.client_secret });
    expect([byBody.status, ((await byBody.json()) as { error: string }).error]).toEqual([401, "invalid_client"]);
    const publicWithSecret = await postForm(`${app.url}/oauth2/token`, {
      grant_type: "refresh_token",
      refresh_token: "x",
      client_id: portal.clientId,
      client_secret: "secret",
    });
    expect(publicWithSecret.status).toBe(401);
  });

  it("S-060 S-061 forbids caching and says nothing of the inside", async () => {
    const wrong = await postForm(`${app.url}/oauth2/token`, {
      grant_type: "authorization_code",
      code: "x",
      client_id: portal.clientId,
      code_verifier: "y".repeat(43),
    });
    expect(wrong.headers.get("cache-control")).toBe("no-store");
    expect(wrong.headers.get("content-type")).toContain("application/json");
    expect(Object.keys((await wrong.json()) as object)).toEqual(["error", "error_description"]);
  });
});

describe("origins", () => {
  it("S-034 refuses a login that another site or another session sent", async () => {
    const account = await signUp(app.url);
    const login = { email: account.email, password: account.password };
    const browser = new TestBrowser();
    await browser.get(authorizeUrl(app.url));
    expect((await browser.post(`${app.url}/login`, login)).status).toBe(403);
    const evil = { origin: "https://evil.example", "sec-fetch-site": "cross-site" };
    expect((await browser.submit(`${app.url}/login`, login, evil)).status).toBe(403);
    const hidden = { origin: "null", "sec-fetch-site": "cross-site" };
    expect((await browser.submit(`${app.url}/login`, login, hidden)).status).toBe(403);
    expect((await browser.post(`${app.url}/login`, login, { origin: "null" })).status).toBe(403);
    const own = { origin: "null", "sec-fetch-site": "same-origin" };
    expect((await browser.submit(`${app.url}/login`, login, own)).status).toBe(303);
  });

  it("S-022 S-074 lets allowed origins call the token endpoint, and no origin the authorization endpoint", async () => {
    const preflight = (path: string, origin: string) =>
      fetch(`${app.url}${path}`, {
        method: "OPTIONS",
        headers: {
          origin,
          "access-control-request-method": "POST",
          "access-control-request-headers": "content-type,dpop",
        },
      });
    const allowed = await preflight("/oauth2/token", "http://localhost:3000");
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get("access-control-allow-origin")).toBe("http://localhost:3000");
    expect(allowed.headers.get("access-control-allow-headers")).toBe(
      "authorization, content-type, dpop, traceparent, tracestate, baggage, mcp-protocol-version",
    );
    expect(allowed.headers.get("access-control-allow-credentials")).toBeNull();
    expect(allowed.headers.get("vary")).toContain("Origin");
    for (const origin of ["null", "https://evil.example", "http://localhost.evil.example"]) {
      const refused = await preflight("/oauth2/token", origin);
      expect([origin, refused.headers.get("access-control-allow-origin")]).toEqual([origin, null]);
    }
    const authorize = await preflight("/oauth2/authorize", "http://localhost:3000");
    expect(authorize.headers.get("access-control-allow-origin")).toBeNull();
    const answer = await fetch(`${app.url}/oauth2/token`, {
      method: "POST",
      headers: { origin: "http://localhost:3000" },
    });
    expect(answer.headers.get("access-control-expose-headers")).toBe("retry-after, www-authenticate, dpop-nonce");
  });
});

describe("what other software sends", () => {
  it("C-35 takes a form whose browser hides its origin and sends no Sec-Fetch-Site, by the form's own token", async () => {
    const { email, password } = await signUp(app.url);
    const browser = new TestBrowser();
    await browser.get(authorizeUrl(app.url));
    const answer = await browser.submit(`${app.url}/login`, { email, password }, { origin: "null" });
    expect([answer.status, answer.headers.get("location")]).toEqual([303, expect.stringContaining("code=")]);
  });

  it.each(["application/json", "application/x-www-form-urlencoded", "text/plain"])(
    "C-50 answers GET /userinfo and /api/users/me that name the type %s of a body they do not have",
    async (type) => {
      const { access_token } = await getTokens(app.url, await signUp(app.url));
      for (const path of ["/userinfo", "/api/users/me"]) {
        const answer = await fetch(app.url + path, {
          headers: { authorization: `Bearer ${access_token}`, "content-type": type },
        });
        expect([path, answer.status]).toEqual([path, 200]);
      }
      // the token is in the header: no body is needed, whatever the headers say of one
      for (const init of [{ method: "HEAD" }, { method: "POST" }, { method: "POST", body: "{}" }]) {
        if (type.includes("form") && init.body !== undefined) continue;
        const headers = { authorization: `Bearer ${access_token}`, "content-type": type };
        expect([init, (await fetch(`${app.url}/userinfo`, { ...init, headers })).status]).toEqual([init, 200]);
      }
      if (type.includes("form")) return;
      // without a token anywhere it is the gateway's 401 (section 6 of the contract), not a matter of the body
      const answer = await fetch(`${app.url}/userinfo`, {
        method: "POST",
        headers: { "content-type": type },
        body: "{}",
      });
      expect([answer.status, await answer.json()]).toEqual([401, { error: "Unauthorized" }]);
    },
  );

  it("C-59 lets an allowed origin read every refusal, those before the endpoint too", async () => {
    const origin = "http://localhost:3000";
    const refusals: [number, string, RequestInit][] = [
      [400, "/oauth2/token", { method: "POST", body: new URLSearchParams({ grant_type: "x" }) }],
      [413, "/oauth2/token", { method: "POST", body: new URLSearchParams({ code: "x".repeat(70_000) }) }],
      [415, "/oauth2/token", { method: "POST", body: "x" }],
      [405, "/oauth2/token", { method: "GET" }],
      [401, "/userinfo", {}],
      [404, "/oauth2/token/", {}],
      [404, "/api/users/no-such-call", {}],
      [400, "/api/users/signup", { method: "POST", body: "{", headers: { "content-type": "application/json" } }],
    ];
    for (const [status, path, init] of refusals) {
      const answer = await fetch(app.url + path, { ...init, headers: { ...init.headers, origin } });
      const allowed = answer.headers.get("access-control-allow-origin");
      expect([path, answer.status, allowed]).toEqual([path, status, origin]);
      expect(answer.headers.get("access-control-expose-headers")).toContain("retry-after");
    }
    const unknown = (await (await fetch(`${app.url}/api/users/no-such-call`)).json()) as object;
    expect(unknown).toMatchObject({ success: false, error: { code: "AUTH_NOT_FOUND" } });
    const foreign = await fetch(`${app.url}/oauth2/token`, {
      method: "POST",
      headers: { origin: "https://evil.example" },
    });
    expect(foreign.headers.get("access-control-allow-origin")).toBeNull();
  });

  it("C-59 lets an allowed origin read that its URL or its headers are too long, and no other", async () => {
    const origin = "http://localhost:3000";
    const answerTo = (...parts: string[]): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connect(Number(new URL(app.url).port), "127.0.0.1");
        let answer = "";
        socket.setNoDelay(true).on("data", (data) => (answer += data.toString()));
        socket.once("close", () => resolve(answer)).once("error", reject);
        for (const part of parts) socket.write(part);
      });
    const long = "x".repeat(20_000);
    const request = (line: string, from: string) => `${line} HTTP/1.1\r\nhost: a\r\norigin: ${from}\r\n`;
    const url = await answerTo(`GET /userinfo?x=${long} HTTP/1.1\r\nhost: a\r\norigin: ${origin}\r\n\r\n`);
    expect(url).toMatch(/^HTTP\/1.1 414 .*\r\naccess-control-allow-origin: (\*|http:\/\/localhost:3000)\r\n/s);
    const headers = `x-long: ${long}\r\n\r\n`;
    const token = await answerTo(request("POST /oauth2/token", origin) + headers);
    expect(token).toMatch(/^HTTP\/1.1 431 .*\r\naccess-control-allow-origin: http:\/\/localhost:3000\r\n/s);
    const malformed = await answerTo(`${request("GET /api/users/me", origin)}no header\r\n\r\n`);
    expect(malformed).toMatch(/^HTTP\/1.1 400 .*\r\naccess-control-allow-origin: http:\/\/localhost:3000\r\n/s);
    const foreign = await answerTo(request("POST /oauth2/token", "https://evil.example") + headers);
    const page = await answerTo(request("GET /login", origin) + headers);
    for (const answer of [foreign, page]) expect(answer).toMatch(/^HTTP\/1.1 431 (?!.*access-control)/s);
  });

  it("C-59 lets any origin read what is refused among the public documents", async () => {
    const refusals: [number, string, RequestInit][] = [
      [404, "/.well-known/oauth-protected-resource", {}],
      [404, "/.well-known/openid-configuration/", {}],
      [405, "/oauth2/jwks", { method: "POST", body: new URLSearchParams({ a: "b" }) }],
      [405, "/.well-known/openid-configuration", { method: "DELETE" }],
      [400, "/.well-known/%zz", {}],
    ];
    for (const [status, path, init] of refusals) {
      const answer = await fetch(app.url + path, { ...init, headers: { origin: "https://anyone.example" } });
      const allowed = answer.headers.get("access-control-allow-origin");
      expect([path, answer.status, allowed]).toEqual([path, status, "*"]);
    }
  });

  it("C-59 lets an allowed origin read that it asked too often", async () => {
    const limited = await startApp({ RATE_LIMIT_PER_MINUTE: "1" });
    try {
      const headers = { origin: "http://localhost:3000" };
      const statuses: number[] = [];
      for (let n = 0; n < 3 && statuses.at(-1) !== 429; n++) {
        const answer = await fetch(`${limited.url}/oauth2/token`, { method: "POST", headers });
        statuses.push(answer.status);
        expect(answer.headers.get("access-control-allow-origin")).toBe(headers.origin);
      }
      expect(statuses).toContain(429);
    } finally {
      await limited.close();
    }
  });

  it("C-59 answers any origin's preflight for documents that are public, whatever headers it asks for", async () => {
    for (const path of [
      "/.well-known/openid-configuration",
      "/.well-known/oauth-authorization-server",
      "/oauth2/jwks",
    ]) {
      const answer = await fetch(app.url + path, {
        method: "OPTIONS",
        headers: {
          origin: "https://anyone.example",
          "access-control-request-method": "GET",
          "access-control-request-headers": "mcp-protocol-version, x-other",
        },
      });
      expect([path, answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([path, 204, "*"]);
      expect(answer.headers.get("access-control-allow-headers")).toContain("mcp-protocol-version");
    }
  });

  it("C-61 compares If-None-Match weakly, as one of a list, and takes an asterisk", async () => {
    const url = `${app.url}/.well-known/openid-configuration`;
    const etag = (await fetch(url)).headers.get("etag") ?? "";
    for (const tag of [`W/${etag}`, `"other", ${etag}`, `"other",W/${etag}`, "*"]) {
      const answer = await fetch(url, { headers: { "if-none-match": tag } });
      expect([tag, answer.status]).toEqual([tag, 304]);
    }
    expect((await fetch(url, { headers: { "if-none-match": 'W/"other"' } })).status).toBe(200);
  });

  it("C-62 serves the metadata of an issuer with a path where RFC 8414 puts it", async () => {
    const port = new URL(app.url).port;
    const tenant = await startApp({ ISSUER: `http://localhost:${port}/tenants/one` });
    try {
      for (const name of ["oauth-authorization-server", "openid-configuration"]) {
        const answer = await fetch(`${tenant.url}/.well-known/${name}/tenants/one`);
        expect([name, await answer.json()]).toMatchObject([name, { issuer: `http://localhost:${port}/tenants/one` }]);
      }
    } finally {
      await tenant.close();
    }
  });
});

describe("paths", () => {
  const json = ["application/json", "{}"] as const;
  const form = ["application/x-www-form-urlencoded", "token=x"] as const;
  const connectGet = "?connect=v1&encoding=json&message=%7B%7D";
  /** Every one with what it would take, if it let anybody in. */
  const guarded: [string, readonly [string, string], query?: string][] = [
    ["/userinfo", form],
    ["/api/users/me", json],
    ["/api/users/me/password", json],
    ["/oauth2/introspect", form],
    ["/account/sessions/end", form],
    ["/account/sign-out-everywhere", form],
    ["/account/applications/remove", form],
    ["/auth.v1.UserService/ListUsers", json, connectGet],
    ["/auth.v1.TokenService/RotateSigningKey", json, connectGet],
  ];
  const encode = (text: string) => Buffer.from(text).toString("hex").replace(/../g, "%$&");
  const spellings = (path: string): string[] => [
    path,
    `/${path}`,
    `//${path}`,
    `/.${path}`,
    `/x/..${path}`,
    `/%2e${path}`,
    `/x/%2e%2e${path}`,
    `/;x${path}`,
    `/%2f${path.slice(1)}`,
    `/${encode(path[1] ?? "")}${path.slice(2)}`,
    `/${encode(path.slice(1))}`,
    path.replace(/(.)\/(.)/, "$1//$2"),
    path.replace(/(.)\/(.)/, "$1/./$2"),
    path.replace(/(.)\/(.)/, "$1%2f$2"),
    path.replace(/(.)\/(.)/, "$1%5c$2"),
    path.replaceAll("/", "\\"),
    path.slice(0, -1) + encode(path.slice(-1)),
    path.slice(0, -1) + encode(encode(path.slice(-1))),
    path.toUpperCase(),
    path.slice(0, -1) + path.slice(-1).toUpperCase(),
    ..."/ // /. /.. ; ;x ;x=1/ %00 %20 %09 %0a . .json %3f %23 ?x #x".split(" ").map((end) => path + end),
    `http://host${path}`,
    `http://host:1${path}/`,
    "/%",
    `/%${path}`,
  ];
  const override = (path: string, method: string) => ({
    "x-http-method-override": method,
    "x-http-method": method,
    "x-method-override": method,
    "x-original-url": path,
    "x-rewrite-url": path,
    "x-forwarded-prefix": path,
  });

  it.each(guarded)(
    "S-175 %s refuses requests without credentials, however it is spelled and requested",
    async (path, [type, body], query = "") => {
      const url = path.startsWith("/auth.v1") ? app.internalUrl : app.url;
      /** The status, 0 where nothing was answered. */
      const ask = (method: string, spelled: string, headers: Record<string, string>) =>
        new Promise<number>((resolve) => {
          const typed = method === "POST" ? { "content-type": type, "content-length": String(body.length) } : {};
          const all = { host: "localhost", connection: "close", ...typed, ...headers };
          const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
          const socket = connect(Number(new URL(url).port), "127.0.0.1", () => {
            socket.write(
              `${method} ${spelled.replace(/(?=#)|$/, query)} HTTP/1.1\r\n${lines.join("")}\r\n${method === "POST" ? body : ""}`,
            );
          });
          let text = "";
          socket.on("data", (chunk) => (text += chunk));
          socket.on("error", () => {}).on("close", () => resolve(Number(text.slice(9, 12))));
        });
      const answers = await Promise.all(
        ["GET", "HEAD", "POST"].flatMap((method) => {
          const others = ["GET", "POST"].filter((other) => other !== method).map((other) => override(path, other));
          return [{}, ...others].map(async (headers) => {
            const plain = await ask(method, path, {});
            const spelled = await Promise.all(
              spellings(path).map(async (each) => [each, await ask(method, each, headers)] as const),
            );
            return spelled
              .filter(([, status]) => status !== plain && ![0, 400, 404, 405].includes(status))
              .concat(plain < 300 ? [[path, plain]] : [])
              .map((found) => [method, headers, plain, ...found]);
          });
        }),
      );
      expect(answers.flat()).toEqual([]);
    },
  );

  it("S-175 accepts credentials at the one right spelling", async () => {
    const authorization = `Bearer ${(await getTokens(app.url, await signUp(app.url))).access_token}`;
    for (const path of ["/userinfo", "/api/users/me"]) {
      const statusOf = async (spelled: string) => (await send(spelled, null, "", { authorization }, "GET")).status;
      expect([path, await statusOf(path)]).toEqual([path, 200]);
      for (const spelled of [`/${path}`, `${path}/`, `${path};x`, path.toUpperCase()]) {
        expect([spelled, await statusOf(spelled)]).toEqual([spelled, 404]);
      }
    }
  });
});
