import { generateKeyPairSync } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import * as client from "openid-client";
import { createInitialAccessToken } from "../../../src/oauth/clients/registration.ts";
import { readClientRegistration } from "../../../src/store/client-metadata.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import { getCode, postForm, postJson, refresh, signUp } from "../../support/flow.ts";

type Json = Record<string, unknown>;

describe("dynamic client registration", () => {
  let app: TestApp;
  let token: string;
  beforeAll(async () => {
    app = await startApp({}, [{ client_id: "of-file", redirect_uris: ["https://file.example/cb"] }]);
    token = (await createInitialAccessToken(app.context, { uses: 1_000, expiresIn: 3_600 })).token;
  });
  afterAll(() => app.close());

  const bearer = (value: string) => ({ authorization: `Bearer ${value}` });
  const register = (json: unknown, headers: Record<string, string> = bearer(token)) =>
    postJson(`${app.url}/oauth2/register`, json, headers);
  const redirectUri = "https://app.example/cb";
  async function registered(json: Json = {}): Promise<Json> {
    const response = await register({ redirect_uris: [redirectUri], ...json });
    const body = (await response.json()) as Json;
    if (response.status !== 201) throw new Error(`registration answered ${response.status} ${JSON.stringify(body)}`);
    return body;
  }
  const at = (of: Json, method: string, given: { json?: Json; token?: string } = {}) =>
    fetch(String(of["registration_client_uri"]), {
      method,
      headers: {
        ...bearer(given.token ?? String(of["registration_access_token"])),
        ...(given.json === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(given.json === undefined ? {} : { body: JSON.stringify(given.json) }),
    });
  const basic = (of: Json) => ({
    authorization: `Basic ${Buffer.from(`${of["client_id"]}:${of["client_secret"]}`).toString("base64")}`,
  });

  it("RFC 7591 3 answers 401 without an initial access token, with a wrong, expired or used one", async () => {
    const json = { redirect_uris: [redirectUri] };
    const without = await register(json, {});
    expect(without.status).toBe(401);
    expect(without.headers.get("www-authenticate")).toBe("Bearer");
    const one = await createInitialAccessToken(app.context, { uses: 1, expiresIn: 3_600 });
    const expiring = await createInitialAccessToken(app.context, { uses: 1, expiresIn: 1 });
    expect((await register({ ...json, first_party: true }, bearer(one.token))).status).toBe(400);
    expect((await register(json, bearer(one.token))).status).toBe(201);
    for (const wrong of [one.token, "nonsense", "x".repeat(43)]) {
      const refused = await register(json, bearer(wrong));
      expect(refused.status).toBe(401);
      expect(refused.headers.get("www-authenticate")).toContain('error="invalid_token"');
    }
    app.clock.shift = 2_000;
    expect((await register(json, bearer(expiring.token))).status).toBe(401);
    app.clock.shift = 0;
    const metadata = (await (await fetch(`${app.url}/.well-known/openid-configuration`)).json()) as Json;
    expect(metadata["registration_endpoint"]).toBe(`${app.url}/oauth2/register`);
  });

  it("RFC 7591 3.2.1 answers with id, secret and everything that was registered, defaults too", async () => {
    const response = await register({
      redirect_uris: [redirectUri],
      client_name: "An app",
      contacts: ["ops@app.example"],
      application_type: "web",
      response_types: ["code"],
      grant_types: ["authorization_code", "refresh_token"],
      subject_type: "public",
      id_token_signed_response_alg: "ES256",
      post_logout_redirect_uris: ["https://app.example/bye"],
      backchannel_logout_uri: "https://app.example/logout",
      default_max_age: 3_600,
      require_auth_time: true,
      client_uri: "https://app.example/",
      logo_uri: "https://app.example/logo.png",
      policy_uri: "https://app.example/policy",
      tos_uri: "https://app.example/tos",
      initiate_login_uri: "https://app.example/login",
      request_uris: ["https://app.example/request"],
      "client_name#ko": "앱",
    });
    expect(response.status).toBe(201);
    expect(response.headers.get("cache-control")).toBe("no-store");
    const body = (await response.json()) as Json;
    expect(body).toMatchObject({
      client_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      client_secret: expect.stringMatching(/^[A-Za-z0-9_-]{43}$/),
      client_secret_expires_at: 0,
      client_id_issued_at: expect.any(Number),
      registration_access_token: expect.stringMatching(/^[A-Za-z0-9_-]{43}$/),
      registration_client_uri: `${app.url}/oauth2/register/${body["client_id"]}`,
      redirect_uris: [redirectUri],
      token_endpoint_auth_method: "client_secret_basic",
      id_token_signed_response_alg: "ES256",
      default_max_age: 3_600,
      contacts: ["ops@app.example"],
      scope: "openid profile email address phone offline_access",
    });
    for (const absent of ["initiate_login_uri", "request_uris", "first_party", "resource_server_for"]) {
      expect(body).not.toHaveProperty(absent);
    }
    const client = await app.context.store.clients.find(String(body["client_id"]));
    expect(client).toMatchObject({ source: "registration", metadata: { first_party: false } });
    // nothing of it is kept in the clear
    expect(JSON.stringify(client)).not.toContain(body["client_secret"]);
    expect(app.logs.join()).not.toContain(body["registration_access_token"]);
  });

  it("a client that registered itself signs a user in, and asks for consent", async () => {
    const body = await registered({ token_endpoint_auth_method: "none", scope: "openid profile" });
    expect(body).not.toHaveProperty("client_secret");
    const clientId = String(body["client_id"]);
    const account = await signUp(app.url);
    const options = { clientId, redirectUri, scope: "openid profile" };
    const { location, browser } = await getCode(app.url, account, options);
    expect(location.pathname).toBe("/consent");
    const answer = await browser.submit(location.href, { decision: "allow" });
    expect(answer.headers.get("location")).toMatch(/^https:\/\/app\.example\/cb\?code=/);
  });

  it.each([
    ["invalid_redirect_uri", { redirect_uris: ["http://app.example/cb"] }, "redirect_uris.0"],
    ["invalid_redirect_uri", { redirect_uris: ["https://app.example/cb#x"] }, "redirect_uris.0"],
    ["invalid_redirect_uri", { redirect_uris: ["javascript:alert(1)"] }, "redirect_uris.0"],
    ["invalid_redirect_uri", { redirect_uris: ["data:text/html,x"] }, "redirect_uris.0"],
    ["invalid_redirect_uri", { redirect_uris: ["app:/cb"] }, "redirect_uris.0"],
    ["invalid_redirect_uri", { redirect_uris: ["https://*.app.example/cb"] }, "redirect_uris.0"],
    ["invalid_redirect_uri", { redirect_uris: "https://app.example/cb" }, "redirect_uris"],
    ["invalid_redirect_uri", { redirect_uris: undefined }, "redirect_uris"],
  ])("S-004 refuses a registration with %s %j", async (error, json, field) => {
    const response = await register(json);
    const body = (await response.json()) as { error: string; error_description: string };
    expect([response.status, body.error]).toEqual([400, error]);
    expect(body.error_description).toContain(field);
  });

  it.each([
    [{ first_party: true }, "first_party"],
    [{ resources: ["https://api.example"] }, "resources"],
    [{ resource_server_for: ["https://api.example"] }, "resource_server_for"],
    [{ token_exchange_audiences: ["billing"] }, "token_exchange_audiences"],
    [{ access_token_typ: "JWT" }, "access_token_typ"],
    [{ refresh_token_rotation: false }, "refresh_token_rotation"],
    [{ tls_client_auth_subject_dn: "CN=x" }, "tls_client_auth_subject_dn"],
    [{ scope: "openid auth.users.admin" }, "scope"],
    [{ grant_types: ["client_credentials"] }, "grant_types"],
    [{ grant_types: ["urn:ietf:params:oauth:grant-type:token-exchange"] }, "grant_types"],
    [{ grant_types: ["implicit"] }, "grant_types"],
    [{ response_types: ["token"] }, "response_types"],
    [{ subject_type: "pairwise" }, "subject_type"],
    [{ software_statement: "a.b.c" }, "software_statement"],
    [{ userinfo_signed_response_alg: "RS256" }, "userinfo_signed_response_alg"],
    [{ id_token_signed_response_alg: "none" }, "id_token_signed_response_alg"],
    [{ token_endpoint_auth_method: "client_secret_jwt" }, "token_endpoint_auth_method"],
    [{ token_endpoint_auth_method: "private_key_jwt" }, "jwks"],
    [{ client_id: "portal-client" }, "client_id"],
    [{ client_secret: "mine" }, "client_secret"],
    [{ jwks_uri: "http://169.254.169.254/" }, "jwks_uri"],
  ])("RFC 7591 3.2.2 refuses %j by name", async (json, field) => {
    const response = await register({ redirect_uris: [redirectUri], ...json });
    const body = (await response.json()) as { error: string; error_description: string };
    expect([response.status, body.error]).toEqual([400, "invalid_client_metadata"]);
    expect(body.error_description).toContain(field);
  });

  it("takes keys in place of a secret", async () => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const jwks = { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "1", alg: "ES256", use: "sig" }] };
    const body = await registered({ token_endpoint_auth_method: "private_key_jwt", jwks });
    expect(body).toMatchObject({ token_endpoint_auth_method: "private_key_jwt", jwks });
    expect(body).not.toHaveProperty("client_secret");
  });

  it("C-55 leaves out keys of unknown kinds beside a usable one, and refuses a set with none, or with a private key", async () => {
    const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const good = { ...pair.publicKey.export({ format: "jwk" }), kid: "1" };
    const unknown = [
      { kty: "AKP", alg: "ML-DSA-44", pub: "AAAA" },
      { kty: "EC", crv: "P-521", x: "AAAA", y: "AAAA" },
      { kty: "RSA", n: "AAAA", e: "AQAB" },
      {},
    ];
    const withKeys = (keys: object[]) => ({ token_endpoint_auth_method: "private_key_jwt", jwks: { keys } });
    const body = await registered(withKeys([...unknown, good]));
    expect(body["jwks"]).toEqual({ keys: [good] });
    const replaced = await at(body, "PUT", {
      json: { client_id: body["client_id"], redirect_uris: [redirectUri], ...withKeys([good, ...unknown]) },
    });
    expect([replaced.status, ((await replaced.json()) as Json)["jwks"]]).toEqual([200, { keys: [good] }]);
    for (const keys of [unknown, [good, pair.privateKey.export({ format: "jwk" })], []]) {
      const refused = await register({ redirect_uris: [redirectUri], ...withKeys(keys) });
      expect([refused.status, ((await refused.json()) as Json)["error"]]).toEqual([400, "invalid_client_metadata"]);
    }
  });

  it("C-55 takes an empty text for an absent member, as MCP Inspector sends it, in a registration and its replacement", async () => {
    const empty = {
      scope: "",
      client_uri: "",
      logo_uri: "",
      tos_uri: "",
      policy_uri: "",
      jwks_uri: "",
      client_name: "",
    };
    const body = await registered(empty);
    expect(body["scope"]).toMatch(/^openid /);
    expect(body).not.toHaveProperty("logo_uri");
    const json = { client_id: body["client_id"], redirect_uris: [redirectUri], ...empty };
    const replaced = await at(body, "PUT", { json });
    expect([replaced.status, ((await replaced.json()) as { scope: string }).scope]).toEqual([200, body["scope"]]);
  });

  it("C-55 takes a null member for an absent one, in a registration, its replacement and the clients file", async () => {
    const nulls = { logo_uri: null, jwks: null, scope: null, first_party: null, software_statement: null };
    const body = await registered(nulls);
    expect(body).not.toHaveProperty("logo_uri");
    expect(body["scope"]).toContain("openid");
    const json = { client_id: body["client_id"], redirect_uris: [redirectUri], client_name: null, client_secret: null };
    expect((await at(body, "PUT", { json: { ...json, ...nulls } })).status).toBe(200);
    const ofFile = { client_id: "nulls", redirect_uris: [redirectUri], logo_uri: null, client_secret: null };
    expect(readClientRegistration(ofFile, false)).toMatchObject({ clientId: "nulls", clientSecret: null });
  });

  it("C-55 takes a member that names its default for no request, and refuses any other value of it", async () => {
    const defaults = {
      first_party: false,
      require_pkce: true,
      resources: [],
      resource_server_for: [],
      token_exchange_audiences: [],
      access_token_typ: "at+jwt",
      refresh_token_rotation: true,
      refresh_token_reuse_window: 10,
      tls_client_certificate_bound_access_tokens: false,
      require_signed_request_object: false,
    };
    expect(await registered(defaults)).toMatchObject({ client_id: expect.any(String) });
    // each profile has its own defaults
    const ofFapi = await register({ redirect_uris: [redirectUri], profile: "fapi2", refresh_token_rotation: true });
    expect(((await ofFapi.json()) as Json)["error_description"]).toContain("refresh_token_rotation");
    for (const [member, value] of [
      ["require_pkce", false],
      ["refresh_token_reuse_window", 60],
      ["tls_client_certificate_bound_access_tokens", true],
      ["require_signed_request_object", true],
    ] as const) {
      const refused = await register({ redirect_uris: [redirectUri], [member]: value });
      expect([refused.status, ((await refused.json()) as Json)["error_description"]]).toEqual([
        400,
        expect.stringContaining(member),
      ]);
    }
  });

  it("refuses bodies that are no JSON object, and other methods", async () => {
    const post = (body: string, type = "application/json") =>
      fetch(`${app.url}/oauth2/register`, {
        method: "POST",
        headers: { ...bearer(token), "content-type": type },
        body,
      });
    expect((await post("[]")).status).toBe(400);
    expect((await post('{"redirect_uris":["https://a.example/"],"redirect_uris":[]}')).status).toBe(400);
    expect((await post("redirect_uris=x", "application/x-www-form-urlencoded")).status).toBe(415);
    expect((await fetch(`${app.url}/oauth2/register`)).status).toBe(405);
  });

  it("RFC 7592 2.1 shows a registration only to its client", async () => {
    const mine = await registered({ client_name: "Mine" });
    const other = await registered();
    const response = await at(mine, "GET");
    expect(response.status).toBe(200);
    const { client_secret: _, client_secret_expires_at: __, ...rest } = mine;
    expect(await response.json()).toEqual(rest);
    const ofNobody = { ...mine, registration_client_uri: `${app.url}/oauth2/register/nobody` };
    const ofFile = { ...mine, registration_client_uri: `${app.url}/oauth2/register/of-file` };
    const wrong = [
      at(mine, "GET", { token: String(other["registration_access_token"]) }),
      at(ofNobody, "GET"),
      at(ofFile, "GET"),
    ];
    const answers = await Promise.all(
      wrong.map(async (answering) => {
        const answer = await answering;
        return [answer.status, answer.headers.get("www-authenticate"), await answer.text()];
      }),
    );
    expect(answers[0]?.[0]).toBe(401);
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    for (const method of ["PUT", "DELETE"]) {
      const json = method === "PUT" ? { json: { client_id: "of-file", redirect_uris: [redirectUri] } } : {};
      expect((await at(ofFile, method, json)).status).toBe(401);
    }
    expect((await app.context.store.clients.find("of-file"))?.disabledAt).toBeNull();
  });

  it("RFC 7592 2.2 changes a long registration too, and makes none much longer", async () => {
    const uris = (count: number) =>
      Array.from({ length: count }, (_, n) => `https://app.example/${n}/${"x".repeat(500)}`);
    const long = await registered({ redirect_uris: uris(20) });
    const put = async (of: Json, count: number) =>
      (await at(of, "PUT", { json: { client_id: of["client_id"], redirect_uris: uris(count) } })).status;
    expect(await put(long, 20)).toBe(200);
    expect(await put(long, 40)).toBe(400);
    expect(await put(await registered(), 20)).toBe(400);
  });

  it("RFC 7592 2.2 replaces the whole metadata, and neither id nor secret", async () => {
    const mine = await registered({ client_name: "Before", tos_uri: "https://app.example/tos" });
    const json = { client_id: mine["client_id"], redirect_uris: ["https://app.example/new"], client_name: "After" };
    const response = await at(mine, "PUT", { json });
    expect(response.status).toBe(200);
    const replaced = (await response.json()) as Json;
    expect(replaced).toMatchObject({ ...json, registration_access_token: mine["registration_access_token"] });
    expect(replaced).not.toHaveProperty("tos_uri");
    expect(replaced).not.toHaveProperty("client_secret");
    // what GET answers may come back as it is, but for what only the server says
    const { registration_access_token, registration_client_uri, client_id_issued_at, ...own } = replaced;
    expect((await at(mine, "PUT", { json: { ...own, client_secret: mine["client_secret"] } })).status).toBe(200);
    const secretWorks = await postForm(`${app.url}/oauth2/revoke`, { token: "x" }, basic(mine));
    expect(secretWorks.status).toBe(200);
    for (const wrong of [
      { ...json, client_id: "portal-client" },
      { redirect_uris: [redirectUri] },
      { ...json, client_secret: "another" },
      { ...json, first_party: true },
      { ...json, registration_access_token: "mine" },
      { ...json, scope: "auth.tokens" },
    ]) {
      expect((await at(mine, "PUT", { json: wrong })).status).toBe(400);
    }
    const publicClient = await registered({ token_endpoint_auth_method: "none" });
    const toSecret = { client_id: publicClient["client_id"], redirect_uris: [redirectUri] };
    expect((await at(publicClient, "PUT", { json: toSecret })).status).toBe(400);
  });

  it("RFC 7592 2.3 ends a client that deletes itself, with its tokens, for good", async () => {
    const mine = await registered({ grant_types: ["authorization_code", "refresh_token"], scope: "openid" });
    const clientId = String(mine["client_id"]);
    expect((await at(mine, "DELETE")).status).toBe(204);
    for (const method of ["GET", "DELETE"]) expect((await at(mine, method)).status).toBe(401);
    expect((await postForm(`${app.url}/oauth2/revoke`, { token: "x" }, basic(mine))).status).toBe(401);
    expect((await refresh(app.url, "x", { client_id: clientId })).status).toBe(401);
  });

  it("openid-client registers itself and runs a flow", async () => {
    const config = await client.dynamicClientRegistration(
      new URL(app.url),
      {
        grant_types: ["urn:ietf:params:oauth:grant-type:device_code"],
        token_endpoint_auth_method: "client_secret_post",
        scope: "openid",
      },
      undefined,
      { initialAccessToken: token, execute: [client.allowInsecureRequests] },
    );
    const started = await client.initiateDeviceAuthorization(config, { scope: "openid" });
    expect(started.user_code).toMatch(/^[A-Z]{4}-[A-Z]{4}$/);
  });

  it("counts registrations of one network", async () => {
    const codes: number[] = [];
    for (let n = 0; n < 300 && !codes.includes(429); n++) codes.push((await register({ redirect_uris: ["x"] })).status);
    const last = await register({ redirect_uris: [redirectUri] });
    expect(last.status).toBe(429);
    expect(last.headers.get("retry-after")).not.toBeNull();
  });
});
