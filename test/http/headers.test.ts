import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import type { FastifyInstance } from "fastify";
import { isPublicDocument } from "../../src/http/well-known.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  authorizeUrl,
  getTokens,
  portal,
  postForm,
  postJson,
  signUp,
  TestBrowser,
  uniqueEmail,
} from "../support/flow.ts";
import { resetTokenFor } from "../support/resets.ts";

const partner = { clientId: "partner", redirectUri: "https://partner.example/cb", scope: "openid profile" };
const clients = [
  { client_id: "partner", redirect_uris: [partner.redirectUri], scope: partner.scope },
  { client_id: "own", redirect_uris: ["https://own.example/cb"], scope: "openid", first_party: true },
  { client_id: "tv", grant_types: ["urn:ietf:params:oauth:grant-type:device_code"], scope: "openid" },
];

interface Route {
  readonly method: string;
  readonly url: string;
}

/** A service, and every route of its public listener as it was added. */
async function startWithRoutes(env: Record<string, string> = {}): Promise<{ app: TestApp; routes: Route[] }> {
  const listeners: Route[][] = [];
  const onFastify = (message: unknown) => {
    const routes: Route[] = [];
    listeners.push(routes);
    (message as { fastify: FastifyInstance }).fastify.addHook("onRoute", ({ method, url }) => {
      for (const each of [method].flat()) routes.push({ method: each, url });
    });
  };
  subscribe("fastify.initialization", onFastify);
  const app = await startApp(env, clients);
  unsubscribe("fastify.initialization", onFastify);
  const routes = listeners.find((each) => each.some(({ url }) => url === "/oauth2/authorize")) ?? [];
  return { app, routes };
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

async function read(answering: Response | Promise<Response>): Promise<Answer> {
  const response = await answering;
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** What S-178 asks of any answer. */
function expectSafe(where: unknown, { status, headers, text }: Answer): void {
  const csp = headers.get("content-security-policy");
  const isHtml = headers.get("content-type")?.startsWith("text/html") === true;
  expect([
    where,
    status,
    headers.get("x-content-type-options"),
    headers.get("server"),
    headers.get("x-powered-by"),
  ]).toEqual([where, status, "nosniff", null, null]);
  expect([where, isHtml, csp]).toEqual([where, isHtml, isHtml ? expect.stringContaining("default-src 'none'") : csp]);
  expect([where, /"stack"|node_modules|\.[jt]s:\d+|\n\s+at |fastify|Node\.js/i.exec(text)]).toEqual([where, null]);
}

/** What S-021 and S-023 ask of what a browser is shown on its way through an authorization. */
function expectPage(where: string, { headers, text }: Answer, own: string): void {
  expect([where, Object.fromEntries(headers)]).toEqual([
    where,
    expect.objectContaining({
      "content-security-policy": expect.stringContaining("frame-ancestors 'none'"),
      "x-frame-options": "DENY",
      "referrer-policy": "no-referrer",
      "cache-control": "no-store",
    }),
  ]);
  expect([where, /<(?:img|iframe|object|embed|video|audio|base|source)\b|@import|url\(/i.exec(text)]).toEqual([
    where,
    null,
  ]);
  for (const [, tag = "", attributes = ""] of text.matchAll(/<(link|script|svg|use|input|button)\b([^>]*)>/g)) {
    const source = /\b(?:src|href|formaction)="([^"]*)"/.exec(attributes)?.[1];
    if (source !== undefined)
      expect([where, tag, source]).toEqual([
        where,
        tag,
        expect.stringMatching(/^data:|^\/assets\/[a-z]+\.[0-9a-f]{16}\.js$/),
      ]);
  }
  // links of ours lead to ourselves
  for (const [, target = ""] of text.matchAll(/<a\b[^>]* href="([^"]*)"/g)) {
    expect([where, new URL(target, own).origin]).toEqual([where, new URL(own).origin]);
  }
}

describe("headers of the public listener", () => {
  let app: TestApp;
  let routes: Route[];
  const nodeEnv = process.env["NODE_ENV"];
  beforeAll(async () => {
    delete process.env["NODE_ENV"];
    ({ app, routes } = await startWithRoutes());
  });
  afterEach(() => {
    jest.restoreAllMocks();
  });
  afterAll(async () => {
    process.env["NODE_ENV"] = nodeEnv;
    await app.close();
  });

  it("S-178 every route answers every method with nosniff, HTML with a policy, and names no software", async () => {
    expect(routes.length).toBeGreaterThan(100);
    const statuses = new Set<number>();
    for (const { method, url } of routes) {
      if (url === "*") continue;
      const init: RequestInit = { method, redirect: "manual" };
      if (!["GET", "HEAD", "OPTIONS"].includes(method)) init.body = new URLSearchParams({ a: "b" });
      const answer = await read(fetch(app.url + url.replaceAll(/:\w+/g, "x"), init));
      statuses.add(answer.status);
      expectSafe(`${method} ${url}`, answer);
    }
    for (const status of [200, 302, 400, 401, 403, 405, 415]) expect(statuses).toContain(status);
  });

  it("S-178 so do answers for not found, malformed, too large and too many requests", async () => {
    const form = (path: string) => postForm(app.url + path, { code: "x".repeat(65_536) });
    const answers: [string, number, Promise<Response>][] = [
      ["nowhere", 404, fetch(`${app.url}/nowhere`)],
      ["nowhere of the API", 404, fetch(`${app.url}/api/nowhere`, { method: "POST" })],
      ["a bad escape", 400, fetch(`${app.url}/%`)],
      ["a long parameter", 414, fetch(`${app.url}/oauth2/register/${"x".repeat(1_000)}`)],
      ["no object", 400, postJson(`${app.url}/api/users/signup`, [])],
      ["too much for the token endpoint", 413, form("/oauth2/token")],
      ["too much for a page", 413, form("/login")],
      ["too much for the API", 413, postJson(`${app.url}/api/users/signup`, "x".repeat(65_536))],
      ["another type", 415, fetch(`${app.url}/oauth2/token`, { method: "POST", body: "x" })],
      ["a flood of logins", 429, flooded()],
    ];
    for (const [where, status, answering] of answers) {
      const answer = await read(answering);
      expect([where, answer.status]).toEqual([where, status]);
      expectSafe(where, answer);
    }
    for (const bytes of [
      "nonsense\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
      `GET /${"x".repeat(20_000)} HTTP/1.1\r\n\r\n`,
    ]) {
      const [head = "", body = ""] = (await raw(bytes)).split("\r\n\r\n");
      expect(head).toMatch(/^HTTP\/1\.1 4\d\d /);
      const lines = head
        .split("\r\n")
        .slice(1)
        .map((line) => line.split(": ") as [string, string]);
      expectSafe(bytes.slice(0, 30), { status: 400, headers: new Headers(lines), text: body });
    }
  });

  async function flooded(): Promise<Response> {
    const { email } = await signUp(app.url);
    for (let tries = 0; ; tries++) {
      const response = await new TestBrowser().submit(`${app.url}/login`, { email, password: "wrong" });
      if (response.status !== 401 || tries > 20) return response;
    }
  }

  function raw(bytes: string): Promise<string> {
    return new Promise((resolve) => {
      let text = "";
      const socket = connect(Number(new URL(app.url).port), "127.0.0.1", () => socket.write(bytes));
      socket.on("data", (chunk) => (text += chunk));
      socket.on("error", () => {});
      socket.on("close", () => resolve(text));
    });
  }

  it("S-178 so does every route to a network that asks more than it may", async () => {
    const { app: limited, routes: all } = await startWithRoutes({ RATE_LIMIT_PER_MINUTE: "1" });
    try {
      // the minute does not end
      jest.spyOn(limited.clock, "now").mockReturnValue(limited.clock.now());
      await fetch(limited.url);
      for (const { method, url } of [...all, { method: "GET", url: "/nowhere" }]) {
        if (url === "*") continue;
        const answer = await read(fetch(limited.url + url, { method, redirect: "manual" }));
        // public documents are not limited
        if (!isPublicDocument(url)) expect([method, url, answer.status]).toEqual([method, url, 429]);
        expectSafe(`${method} ${url}`, answer);
      }
    } finally {
      await limited.close();
    }
  });

  it("S-178 so does an internal error without NODE_ENV, which reveals no details", async () => {
    const { access_token: token } = await getTokens(app.url, await signUp(app.url));
    const fault = new Error("SELECT secret FROM inside");
    const { users, sessions, authorizations } = app.context.store;
    for (const part of [users, sessions, authorizations] as object[]) {
      for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(part))) {
        if (name === "constructor" || !(name in part)) continue;
        if (typeof (part as Record<string, unknown>)[name] !== "function") continue;
        jest.spyOn(part as Record<string, () => Promise<unknown>>, name).mockRejectedValue(fault);
      }
    }
    const account = { email: uniqueEmail(), password: "correct horse battery", nickname: "n" };
    const redemption = { grant_type: "authorization_code", code: "x".repeat(43), code_verifier: "y".repeat(43) };
    const failing: [string, Promise<Response>][] = [
      ["login", fetch(`${app.url}/login`, { headers: { cookie: `auth_session=${"x".repeat(43)}` } })],
      ["sign-up", postJson(`${app.url}/api/users/signup`, account)],
      ["account", fetch(`${app.url}/api/users/me`, { headers: { authorization: `Bearer ${token}` } })],
      ["token", postForm(`${app.url}/oauth2/token`, { ...redemption, client_id: portal.clientId })],
    ];
    for (const [where, answering] of failing) {
      const answer = await read(answering);
      expect([where, answer.status]).toEqual([where, 500]);
      expectSafe(where, answer);
      expect(answer.text).not.toMatch(/SELECT|inside/);
    }
    expect(app.logs.join("")).toContain(fault.message);
  });

  it("S-021 S-023 every page and redirect on the way to a client forbids framing, caching and referrers, and loads nothing", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const look = async (where: string, status: number, answering: Response | Promise<Response>) => {
      const answer = await read(answering);
      expect([where, answer.status]).toEqual([where, status]);
      expectPage(where, answer, app.url);
      return answer;
    };
    await look("error: no such client", 400, browser.get(authorizeUrl(app.url, { clientId: "nobody" })));
    await look("error: no such URI", 400, browser.get(authorizeUrl(app.url, { redirectUri: "https://evil.example/" })));
    await look("home", 200, browser.get(`${app.url}/`));
    await look("sign-up", 200, browser.get(`${app.url}/signup`));
    await look("sign-up refused", 400, browser.submit(`${app.url}/signup`, { email: "x", password: "y" }));
    await look("reset", 200, browser.get(`${app.url}/password-reset`));
    await look("reset sent", 200, browser.submit(`${app.url}/password-reset`, { email: uniqueEmail() }));
    const resetLink = `${app.url}/password-reset?token=${await resetTokenFor(app, (await signUp(app.url)).email)}`;
    await look("reset's link", 200, browser.get(resetLink));
    await look("reset refused", 400, browser.submit(resetLink, { password: "short" }));
    await look("a reset's dead link", 400, browser.get(`${app.url}/password-reset?token=x`));
    await look("a method that is not allowed", 405, fetch(`${app.url}/consent`, { method: "DELETE" }));

    const toLogin = await look("to the login", 302, browser.get(authorizeUrl(app.url, partner)));
    const loginUrl = new URL(toLogin.headers.get("location") ?? "", app.url).href;
    await look("login", 200, browser.get(loginUrl));
    await look("login refused", 401, browser.submit(loginUrl, { email: account.email, password: "wrong password" }));
    await look("login forged", 403, browser.post(`${app.url}/login`, { email: account.email }));
    const { email, password } = account;
    const toConsent = await look("to the consent", 303, browser.submit(loginUrl, { email, password }));
    const consentUrl = new URL(toConsent.headers.get("location") ?? "", app.url).href;
    await look("consent", 200, browser.get(consentUrl));
    await look("to the client", 303, browser.submit(consentUrl, { decision: "allow" }));
    await look("straight to the client", 302, browser.get(authorizeUrl(app.url, partner)));
    const posted = authorizeUrl(app.url, { ...partner, extra: { response_mode: "form_post" } });
    const form = await read(browser.get(posted));
    expect(form.text.match(/<script>[^<]*<\/script>/g)).toHaveLength(1);
    await look("form_post", 200, browser.get(posted));

    const device = await postForm(`${app.url}/oauth2/device_authorization`, { client_id: "tv" });
    const { user_code } = (await device.json()) as { user_code: string };
    await look("device, signed out", 302, new TestBrowser().get(`${app.url}/device`));
    await look("device", 200, browser.get(`${app.url}/device`));
    await look("device, a wrong code", 400, browser.submit(`${app.url}/device`, { user_code: "BCDF-GHJK" }));
    await look("device, to be confirmed", 200, browser.submit(`${app.url}/device`, { user_code }));
    await look("account", 200, browser.get(`${app.url}/`));
    await look("logout", 200, browser.get(`${app.url}/connect/logout`));
    await look("logout refused", 400, browser.get(`${app.url}/connect/logout?post_logout_redirect_uri=x`));
    await look("logged out", 200, browser.submit(`${app.url}/connect/logout`, {}));
  });
});
