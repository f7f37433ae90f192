import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../../support/app.ts";
import { getTokens, hiddenFields, pkce, postForm, redeem, signUp, TestBrowser } from "../../support/flow.ts";
import { listen, makeKey, type TestKey, withAssertion } from "../../support/keys.ts";

const redirectUri = "http://localhost:4300/callback";
const basic = `Basic ${Buffer.from("confidential:a confidential secret").toString("base64")}`;

describe("pushed authorization requests", () => {
  let app: TestApp;
  let key: TestKey;
  beforeAll(async () => {
    key = await makeKey();
    const common = { redirect_uris: [redirectUri], scope: "openid profile", first_party: true };
    app = await startApp({}, [
      { client_id: "public", ...common },
      { client_id: "other", ...common },
      { client_id: "third-party", ...common, first_party: false },
      { client_id: "must-push", ...common, require_pushed_authorization_requests: true },
      { client_id: "confidential", client_secret: "a confidential secret", ...common },
      { client_id: "keyed", token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [key.jwk] }, ...common },
    ]);
  });
  afterEach(() => {
    app.clock.shift = 0;
  });
  afterAll(() => app.close());

  const requestOf = (clientId: string, challenge = pkce().challenge): Record<string, string> => ({
    response_type: "code",
    client_id: clientId,
    redirect_uri: redirectUri,
    scope: "openid profile",
    state: "pushed-state",
    nonce: "n".repeat(64),
    code_challenge: challenge,
    code_challenge_method: "S256",
  });

  const post = async (form: Record<string, string>, headers: Record<string, string> = {}) => {
    const response = await postForm(`${app.url}/oauth2/par`, form, headers);
    return { response, body: (await response.json()) as Record<string, unknown> };
  };
  async function push(form: Record<string, string>, headers: Record<string, string> = {}): Promise<string> {
    const { response, body } = await post(form, headers);
    expect([response.status, body["error"]]).toEqual([201, undefined]);
    return String(body["request_uri"]);
  }
  const refusal = async (form: Record<string, string>, headers: Record<string, string> = {}) => {
    const { response, body } = await post(form, headers);
    return [response.status, body["error"]];
  };
  const urlOf = (clientId: string, uri: string, extra: Record<string, string> = {}) =>
    `${app.url}/oauth2/authorize?${new URLSearchParams({ client_id: clientId, request_uri: uri, ...extra })}`;

  /** Signs in where the URL leads, and returns where that leads. */
  async function follow(browser: TestBrowser, url: string): Promise<URL> {
    const account = await signUp(app.url);
    const step = await browser.get(url);
    const login = new URL(step.headers.get("location") ?? "", app.url).href;
    const page = await browser.get(login);
    const { email, password } = account;
    const fields = { ...hiddenFields(await page.text()), email, password };
    const answer = await browser.post(`${app.url}/login`, fields);
    return new URL(answer.headers.get("location") ?? "", app.url);
  }

  async function expectRefusedOnPage(response: Response): Promise<void> {
    expect([response.status, response.headers.get("location")]).toEqual([400, null]);
    expect(response.headers.get("content-type")).toMatch(/^text\/html/);
  }

  const codeIn = (answer: Response) => new URL(answer.headers.get("location") ?? "").searchParams.get("code");
  function expectToldToPushAgain(answer: Response): void {
    const { origin, pathname, searchParams } = new URL(answer.headers.get("location") ?? "", app.url);
    expect([origin + pathname, searchParams.get("error")]).toEqual([redirectUri, "invalid_request_uri"]);
    expect([searchParams.get("state"), searchParams.get("iss")]).toEqual(["pushed-state", app.url]);
  }

  it("S-140 accepts a request and answers an unguessable request_uri with a short life", async () => {
    const { response, body } = await post(requestOf("public"));
    expect(response.status).toBe(201);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(Object.keys(body).sort()).toEqual(["expires_in", "request_uri"]);
    expect(body["expires_in"]).toBe(90);
    expect(body["request_uri"]).toMatch(/^urn:ietf:params:oauth:request_uri:[A-Za-z0-9_-]{43}$/);
    expect(await push(requestOf("public"))).not.toBe(body["request_uri"]);
  });

  it("S-140 S-095 authenticates the client as the token endpoint does", async () => {
    const { client_id: _, ...rest } = requestOf("confidential");
    expect(await refusal(requestOf("confidential"))).toEqual([401, "invalid_client"]);
    expect(await refusal(requestOf("keyed"))).toEqual([401, "invalid_client"]);
    expect(await refusal(requestOf("nobody"))).toEqual([401, "invalid_client"]);
    expect(await refusal({ ...requestOf("public"), client_secret: "x" })).toEqual([401, "invalid_client"]);
    expect(await refusal(rest)).toEqual([400, "invalid_request"]);
    await push(rest, { authorization: basic });
    await push({ ...requestOf("keyed"), ...(await withAssertion(key, "keyed", app.url)) });
    expect(await refusal({ ...requestOf("public") }, { authorization: basic })).toEqual([400, "invalid_request"]);
  });

  it("S-140 answers GET with 405, other bodies with 415, and refuses a request_uri inside", async () => {
    const get = await fetch(`${app.url}/oauth2/par?${new URLSearchParams(requestOf("public"))}`);
    expect([get.status, get.headers.get("allow")]).toEqual([405, "POST"]);
    const json = await fetch(`${app.url}/oauth2/par`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(requestOf("public")),
    });
    expect(json.status).toBe(415);
    const listener = await listen((_request, response) => response.end());
    const pushed = await push(requestOf("public"));
    for (const request_uri of [`${listener.url}/request`, pushed, "x"]) {
      expect(await refusal({ ...requestOf("public"), request_uri })).toEqual([400, "invalid_request"]);
    }
    expect(listener.connections()).toBe(0);
    listener.close();
  });

  it("S-140 refuses invalid requests at once, as JSON", async () => {
    const cases: [Record<string, string>, string][] = [
      [{ redirect_uri: "http://localhost:4300/other" }, "invalid_request"],
      [{ redirect_uri: "https://evil.example" }, "invalid_request"],
      [{ response_type: "token" }, "unsupported_response_type"],
      [{ response_type: "" }, "invalid_request"],
      [{ scope: "openid admin" }, "invalid_scope"],
      [{ scope: "auth.introspect" }, "invalid_scope"],
      [{ code_challenge: "" }, "invalid_request"],
      [{ code_challenge_method: "plain" }, "invalid_request"],
      [{ resource: "https://unlisted.example" }, "invalid_target"],
      [{ prompt: "none login" }, "invalid_request"],
      [{ request: "x" }, "request_not_supported"],
      [{ state: "s".repeat(2_001) }, "invalid_request"],
      [{ unknown: "가".repeat(6_000) }, "invalid_request"],
    ];
    for (const [change, error] of cases) {
      expect([change, await refusal({ ...requestOf("public"), ...change })]).toEqual([change, [400, error]]);
    }
  });

  it("S-141 runs the flow with the pushed request and ignores other parameters of the URL", async () => {
    const { verifier, challenge } = pkce();
    const uri = await push(requestOf("public", challenge));
    const extra = {
      redirect_uri: "https://evil.example/",
      scope: "openid admin",
      state: "added",
      nonce: "added",
      response_type: "token",
      code_challenge: pkce().challenge,
      prompt: "none",
      request: "x",
    };
    const answer = await follow(new TestBrowser(), urlOf("public", uri, extra));
    expect(answer.href.startsWith(`${redirectUri}?code=`)).toBe(true);
    expect(answer.searchParams.get("state")).toBe("pushed-state");
    expect(answer.searchParams.get("iss")).toBe(app.url);
    const code = answer.searchParams.get("code") ?? "";
    const response = await redeem(app.url, code, verifier, { client_id: "public", redirect_uri: redirectUri });
    const tokens = (await response.json()) as { scope: string; id_token: string };
    expect([response.status, tokens.scope]).toEqual([200, "openid profile"]);
    const { nonce } = JSON.parse(Buffer.from(tokens.id_token.split(".")[1] ?? "", "base64url").toString());
    expect(nonce).toBe("n".repeat(64));
  });

  it("S-141 refuses a request_uri without redirect: of another client, used, expired, unknown, without client_id", async () => {
    const browser = new TestBrowser();
    const uri = await push(requestOf("public"));
    await expectRefusedOnPage(await browser.get(urlOf("other", uri)));
    await expectRefusedOnPage(await browser.get(urlOf("confidential", uri)));
    await expectRefusedOnPage(await browser.get(`${app.url}/oauth2/authorize?request_uri=${encodeURIComponent(uri)}`));
    await expectRefusedOnPage(
      await browser.get(urlOf("public", `${uri.slice(0, -1)}${uri.endsWith("A") ? "B" : "A"}`)),
    );
    const answer = await follow(browser, urlOf("public", uri));
    expect(answer.searchParams.get("code")).not.toBeNull();
    await expectRefusedOnPage(await browser.get(urlOf("public", uri)));
    await expectRefusedOnPage(await new TestBrowser().get(urlOf("public", uri)));
    const late = await push(requestOf("public"));
    app.clock.shift = 91_000;
    await expectRefusedOnPage(await browser.get(urlOf("public", late)));
  });

  it("S-026 refuses request URIs that the service did not issue, and fetches none of them", async () => {
    const listener = await listen((_request, response) => response.end());
    const query = new URLSearchParams({ ...requestOf("public"), request_uri: `${listener.url}/request.jwt` });
    const response = await fetch(`${app.url}/oauth2/authorize?${query}`, { redirect: "manual" });
    const { searchParams } = new URL(response.headers.get("location") ?? "");
    expect(searchParams.get("error")).toBe("request_uri_not_supported");
    expect(listener.connections()).toBe(0);
    listener.close();
  });

  it("S-141 opens a second time before login (a link preview): one of the two gets the code", async () => {
    const uri = await push(requestOf("public"));
    const preview = await new TestBrowser().get(urlOf("public", uri));
    expect(preview.status).toBe(302);
    const [first, second] = [new TestBrowser(), new TestBrowser()];
    await second.get(urlOf("public", uri));
    const login = (await second.get(urlOf("public", uri))).headers.get("location") ?? "";
    const answer = await follow(first, urlOf("public", uri));
    expect(answer.searchParams.get("code")).not.toBeNull();
    // the other one signs in later: its request was used
    const { email, password } = await signUp(app.url);
    const page = await second.get(new URL(login, app.url).href);
    const fields = { ...hiddenFields(await page.text()), email, password };
    expectToldToPushAgain(await second.post(`${app.url}/login`, fields));
  });

  it("S-141 tells the client of a form that comes after the request was used or has ended: its page could only lead to itself", async () => {
    const browser = new TestBrowser();
    const consent = await follow(browser, urlOf("third-party", await push(requestOf("third-party"))));
    const fields = hiddenFields(await (await browser.get(consent.href)).text());
    const allow = () => browser.post(`${app.url}/consent`, { ...fields, decision: "allow" });
    for (const now of [allow, allow]) expect(codeIn(await now())).toMatch(/^[\w-]{43}$/);
    app.clock.shift = 60_000;
    expectToldToPushAgain(await allow());

    const waiting = new TestBrowser();
    const uri = await push(requestOf("public"));
    const login = new URL((await waiting.get(urlOf("public", uri))).headers.get("location") ?? "", app.url).href;
    app.clock.shift = 7_200_000;
    await app.context.store.cleanUp(app.clock.now(), 1_000);
    const { email, password } = await signUp(app.url);
    expectToldToPushAgain(await waiting.submit(login, { email, password }));
    // the login counted: another pushed request gets its code at once
    expect(codeIn(await waiting.get(urlOf("public", await push(requestOf("public")))))).toMatch(/^[\w-]{43}$/);
  });

  it("S-141 a login may take longer than the request_uri lives", async () => {
    const browser = new TestBrowser();
    const uri = await push(requestOf("public"));
    const login = new URL((await browser.get(urlOf("public", uri))).headers.get("location") ?? "", app.url).href;
    app.clock.shift = 600_000;
    await app.context.store.cleanUp(app.clock.now(), 1_000);
    const { email, password } = await signUp(app.url);
    const answer = await browser.submit(login, { email, password });
    expect(new URL(answer.headers.get("location") ?? "").searchParams.get("code")).not.toBeNull();
  });

  it("goes through prompt=login and consent, and is denied like any other", async () => {
    const browser = new TestBrowser();
    await getTokens(app.url, await signUp(app.url), { browser });
    const decide = async (decision: string) => {
      const uri = await push({ ...requestOf("third-party"), prompt: "login consent" });
      const consent = await follow(browser, urlOf("third-party", uri));
      expect(consent.pathname).toBe("/consent");
      const page = await browser.get(consent.href);
      const fields = { ...hiddenFields(await page.text()), decision };
      const answer = await browser.post(`${app.url}/consent`, fields);
      return new URL(answer.headers.get("location") ?? "").searchParams;
    };
    expect((await decide("allow")).get("code")).not.toBeNull();
    expect((await decide("deny")).get("error")).toBe("access_denied");
  });

  it("C-69 tells a client that has to push of its plain request, by GET, POST and form_post", async () => {
    const browser = new TestBrowser();
    const plain = requestOf("must-push");
    const url = (more: Record<string, string> = {}) =>
      `${app.url}/oauth2/authorize?${new URLSearchParams({ ...plain, state: "s", ...more })}`;
    const posted = await browser.post(`${app.url}/oauth2/authorize`, { ...plain, state: "s" });
    for (const answer of [await browser.get(url()), posted]) {
      const told = new URL(answer.headers.get("location") ?? "");
      expect(told.origin + told.pathname).toBe(plain["redirect_uri"]);
      expect(Object.fromEntries(told.searchParams)).toEqual({
        error: "invalid_request",
        error_description: expect.stringContaining("must push"),
        state: "s",
        iss: app.url,
      });
    }
    const form = await browser.get(url({ response_mode: "form_post" }));
    expect(hiddenFields(await form.text())).toMatchObject({ error: "invalid_request", state: "s" });
    // what is in doubt is never redirected to
    await expectRefusedOnPage(await browser.get(url({ redirect_uri: "https://evil.example/" })));
    await expectRefusedOnPage(await browser.get(url({ client_id: "nobody" })));
  });

  it("S-142 refuses a plain request of a client that has to push, and takes its pushed one", async () => {
    const browser = new TestBrowser();
    const plain = await browser.get(`${app.url}/oauth2/authorize?${new URLSearchParams(requestOf("must-push"))}`);
    expect(new URL(plain.headers.get("location") ?? "").searchParams.get("code")).toBeNull();
    const answer = await follow(browser, urlOf("must-push", await push(requestOf("must-push"))));
    expect(answer.searchParams.get("code")).not.toBeNull();
  });

  it("S-121 metadata names the endpoint", async () => {
    const response = await fetch(`${app.url}/.well-known/openid-configuration`);
    expect(await response.json()).toMatchObject({
      pushed_authorization_request_endpoint: `${app.url}/oauth2/par`,
      require_pushed_authorization_requests: false,
      request_uri_parameter_supported: false,
    });
  });
});
