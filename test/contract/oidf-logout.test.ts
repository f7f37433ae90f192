import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { createRemoteJWKSet, decodeJwt, jwtVerify, SignJWT, UnsecuredJWT } from "jose";
import { startApp, type TestApp } from "../support/app.ts";
import { type Account, signUp } from "../support/flow.ts";
import { type SuiteClient, SuiteModule } from "../support/suite.ts";

interface Received {
  readonly path: string;
  readonly method: string;
  readonly type: string;
  readonly form: Record<string, string>;
}

/** The modules of the two logout plans: what each sends, and what it asserts. PKCE is the one thing added. */
describe("OpenID Foundation conformance: the plans of logout", () => {
  let app: TestApp;
  let suite: Server;
  let client: SuiteClient;
  let account: Account;
  let postLogout: string;
  const received: Received[] = [];
  beforeAll(async () => {
    suite = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        const { url: path = "", method = "", headers } = request;
        const form = Object.fromEntries(new URLSearchParams(body));
        received.push({ path, method, type: headers["content-type"] ?? "", form });
        response.writeHead(200, { "cache-control": "no-store" }).end();
      });
    });
    await new Promise<void>((resolve) => suite.listen(0, "127.0.0.1", resolve));
    const host = `localhost:${(suite.address() as AddressInfo).port}`;
    const base = `http://${host}/test/a/auth`;
    postLogout = `${base}/post_logout_redirect`;
    client = {
      clientId: "logout",
      clientSecret: "secret of the logout client, and of nobody else",
      method: "client_secret_basic",
      redirectUri: `${base}/callback`,
    };
    const registration = {
      client_id: client.clientId,
      client_secret: client.clientSecret,
      redirect_uris: [client.redirectUri],
      post_logout_redirect_uris: [postLogout],
      require_pkce: false,
      backchannel_logout_uri: `${base}/backchannel_logout`,
      backchannel_logout_session_required: true,
      scope: "openid",
    };
    app = await startApp({ OUTBOUND_ALLOWED_HOSTS: host }, [registration]);
    account = await signUp(app.url);
  });
  afterAll(async () => {
    await app.close();
    suite.closeAllConnections();
    await new Promise((resolve) => suite.close(resolve));
  });

  const start = () => new SuiteModule({ url: app.url, issuer: app.url }, client, account);
  const state = "s".repeat(128);

  /** The end session endpoint: where the browser is sent, or the page it sees. */
  async function endSession(module: SuiteModule, parameters: Record<string, string>) {
    const response = await module.browser.get(`${app.url}/connect/logout?${new URLSearchParams(parameters)}`);
    return { status: response.status, location: response.headers.get("location"), html: await response.text() };
  }

  /** The last step of the modules that log out: prompt=none must end in an error that asks for a page. */
  async function expectLoggedOut(module: SuiteModule) {
    const visit = await module.authorize({ prompt: "none", state });
    expect(visit.forms).toEqual([]);
    expect(module.errorOf(visit)).toBe("login_required");
  }
  async function expectLoggedIn(module: SuiteModule) {
    module.codeOf(await module.authorize({ prompt: "none" }));
  }

  it("S-129 oidcc-rp-initiated-logout: back with state and nothing else, and logged out", async () => {
    const module = start();
    const { id_token: hint } = await module.signIn({ state });
    const request = { id_token_hint: hint, post_logout_redirect_uri: postLogout, state: "a+b c" };
    const { location } = await endSession(module, request);
    expect(location).toBe(`${postLogout}?${new URLSearchParams({ state: "a+b c" })}`);
    await expectLoggedOut(module);
  });

  it("S-129 oidcc-rp-initiated-logout-no-state: back without state, and logged out", async () => {
    const module = start();
    const { id_token: hint } = await module.signIn();
    const { location } = await endSession(module, { id_token_hint: hint, post_logout_redirect_uri: postLogout });
    expect(location).toBe(postLogout);
    await expectLoggedOut(module);
  });

  it("S-129 oidcc-rp-initiated-logout-bad-post-logout-redirect-uri: an error page, no redirect", async () => {
    const module = start();
    const { id_token: hint } = await module.signIn();
    const uri = postLogout.replace("/post_logout_redirect", "/bad_post_logout_redirect_uri");
    const page = await endSession(module, { id_token_hint: hint, post_logout_redirect_uri: uri, state });
    expect([page.status, page.location]).toEqual([400, null]);
    expect(page.html).toContain("post_logout_redirect_uri");
  });

  it("S-129 oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri: an error page, no redirect", async () => {
    const module = start();
    const { id_token: hint } = await module.signIn();
    const uri = `${postLogout}?foo=bar`;
    const page = await endSession(module, { id_token_hint: hint, post_logout_redirect_uri: uri, state });
    expect([page.status, page.location]).toEqual([400, null]);
  });

  it("S-129 oidcc-rp-initiated-logout-modified-id-token-hint: alg none is an error page, and the session stays", async () => {
    const module = start();
    const { id_token: hint } = await module.signIn();
    const modified = new UnsecuredJWT(decodeJwt(hint)).encode();
    const page = await endSession(module, { id_token_hint: modified, post_logout_redirect_uri: postLogout, state });
    expect([page.status, page.location]).toEqual([400, null]);
    await expectLoggedIn(module);
  });

  it("S-129 oidcc-rp-initiated-logout-bad-id-token-hint: one that the client signed is an error page, and the session stays", async () => {
    const module = start();
    await module.signIn();
    // as the suite has it: issuer and audience the wrong way around, signed with the client's secret
    const fake = await new SignJWT({ nonce: "flibble" })
      .setProtectedHeader({ alg: "HS256" })
      .setIssuer(client.clientId)
      .setAudience(app.url)
      .setSubject("SubjectID")
      .setIssuedAt()
      .setExpirationTime("5m")
      .sign(new TextEncoder().encode(client.clientSecret));
    const page = await endSession(module, { id_token_hint: fake, post_logout_redirect_uri: postLogout, state });
    expect([page.status, page.location]).toEqual([400, null]);
    await expectLoggedIn(module);
  });

  it("S-129 oidcc-rp-initiated-logout-no-id-token-hint: a page, no redirect", async () => {
    const module = start();
    await module.signIn();
    const page = await endSession(module, { post_logout_redirect_uri: postLogout, state });
    expect([page.status, page.location]).toEqual([400, null]);
  });

  it.each([
    ["S-129 oidcc-rp-initiated-logout-no-params", {}],
    ["S-129 oidcc-rp-initiated-logout-only-state", { state }],
  ])("%s: asks the user, then shows that it is done", async (_, parameters: Record<string, string>) => {
    const module = start();
    await module.signIn();
    const asked = await endSession(module, parameters);
    expect([asked.status, asked.location]).toEqual([200, null]);
    await expectLoggedIn(module);
    const url = `${app.url}/connect/logout?${new URLSearchParams(parameters)}`;
    const done = await module.browser.submit(url, {});
    expect([done.status, done.headers.get("location")]).toEqual([200, null]);
    expect(await done.text()).toContain("You are signed out");
    await expectLoggedOut(module);
  });

  it("S-129 oidcc-rp-initiated-logout-no-post-logout-redirect-uri: says that it is done, and stays here", async () => {
    const module = start();
    const { id_token: hint } = await module.signIn();
    const page = await endSession(module, { id_token_hint: hint, state });
    expect([page.status, page.location]).toEqual([200, null]);
    await expectLoggedOut(module);
  });

  it("S-129 oidcc-backchannel-rp-initiated-logout: a logout token of this login, the redirect, and logged out", async () => {
    const module = start();
    const { id_token: hint, claims } = await module.signIn();
    const { location } = await endSession(module, { id_token_hint: hint, post_logout_redirect_uri: postLogout, state });
    expect(location).toBe(`${postLogout}?state=${state}`);
    // the logouts of other tests are told of, too
    const ofThisLogin = () =>
      received.filter(({ form }) => decodeJwt(form["logout_token"] ?? "")["sid"] === claims["sid"]);
    for (let tries = 0; ofThisLogin().length === 0 && tries < 1_000; tries++) await sleep(25);
    expect(ofThisLogin()).toHaveLength(1);
    const { path, method, type, form } = ofThisLogin()[0] as Received;
    expect([path, method, type]).toEqual([
      "/test/a/auth/backchannel_logout",
      "POST",
      expect.stringMatching(/^application\/x-www-form-urlencoded\b/),
    ]);
    expect(Object.keys(form)).toEqual(["logout_token"]);
    const keys = createRemoteJWKSet(new URL(`${app.url}/oauth2/jwks`));
    const { payload } = await jwtVerify(form["logout_token"] ?? "", keys, {
      issuer: app.url,
      audience: client.clientId,
      requiredClaims: ["iat", "jti"],
    });
    expect(payload["events"]).toEqual({ "http://schemas.openid.net/event/backchannel-logout": {} });
    expect([payload.sub, payload["sid"]]).toEqual([claims.sub, claims["sid"]]);
    expect(payload).not.toHaveProperty("nonce");
    await expectLoggedOut(module);
  });
});

describe("OpenID Foundation conformance: discovery with an https issuer", () => {
  let app: TestApp;
  const issuer = "https://auth.example.test";
  beforeAll(async () => {
    app = await startApp({ NODE_ENV: "production", ALLOW_SQLITE: "1", ISSUER: issuer }, []);
  });
  afterAll(() => app.close());

  const discovery = async () => {
    const response = await fetch(`${app.url}/.well-known/openid-configuration`);
    expect(response.status).toBe(200);
    return (await response.json()) as Record<string, unknown>;
  };

  it("S-129 oidcc-rp-initiated-logout-discovery-endpoint-verification: every endpoint is https, the end of sessions among them", async () => {
    const metadata = await discovery();
    const endpoints = Object.entries(metadata).filter(([name]) => name.endsWith("_endpoint"));
    expect(endpoints.length).toBeGreaterThan(6);
    for (const [, url] of endpoints) expect(String(url)).toMatch(/^https:\/\/auth\.example\.test\//);
    expect(metadata["end_session_endpoint"]).toBe(`${issuer}/connect/logout`);
  });

  it("S-129 oidcc-backchannel-logout-discovery-endpoint-verification: back-channel logout with sid", async () => {
    expect(await discovery()).toMatchObject({
      backchannel_logout_supported: true,
      backchannel_logout_session_supported: true,
      end_session_endpoint: `${issuer}/connect/logout`,
    });
  });

  it("S-129 oidcc-discovery-endpoint-verification: the members that oidcc-config-certification-test-plan requires", async () => {
    const metadata = await discovery();
    expect(metadata).toMatchObject({
      issuer,
      response_types_supported: expect.arrayContaining(["code"]),
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: expect.arrayContaining(["RS256"]),
      scopes_supported: expect.arrayContaining(["openid"]),
      claims_parameter_supported: true,
    });
    expect(metadata["claims_supported"]).toEqual(expect.arrayContaining(["sub", "name", "email"]));
    const keys = (await (await fetch(`${app.url}/oauth2/jwks`)).json()) as { keys: Record<string, unknown>[] };
    const kids = keys.keys.map(({ kid }) => kid);
    expect(new Set(kids).size).toBe(kids.length);
    for (const key of keys.keys) {
      expect(key).toMatchObject({ kid: expect.any(String), use: "sig", alg: expect.stringMatching(/^(RS|ES)256$/) });
      for (const member of ["d", "p", "q", "k"]) expect(key).not.toHaveProperty(member);
    }
  });
});
