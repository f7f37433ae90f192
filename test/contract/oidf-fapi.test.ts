import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { decodeJwt } from "jose";
import { startApp, type TestApp } from "../support/app.ts";
import { type Changes, type FapiClient, FapiModule, type Reply } from "../support/fapi-suite.ts";
import { type Account, signUp } from "../support/flow.ts";
import { inSeconds, makeKey, type TestKey } from "../support/keys.ts";

const base = "https://suite.example/test/a/auth";

/** Modules of fapi2-security-profile-final-test-plan (private_key_jwt, DPoP, plain response): what each sends, and what it asserts. Names without fapi2-security-profile-final-. */
describe("OpenID Foundation conformance: fapi2-security-profile-final-test-plan", () => {
  let app: TestApp;
  let account: Account & { uuid: string };
  let one: FapiClient;
  let two: FapiClient;
  let legacy: TestKey;
  beforeAll(async () => {
    const [first, second] = [await makeKey("PS256", "key-1"), await makeKey("ES256", "key-2")];
    legacy = await makeKey("RS256", "key-3");
    one = { clientId: "fapi-1", key: first, redirectUri: `${base}/callback` };
    two = { clientId: "fapi-2", key: second, redirectUri: `${base}/callback?dummy1=lorem&dummy2=ipsum` };
    const clients = [
      { ...one, jwks: { keys: [first.jwk, legacy.jwk] } },
      { ...two, jwks: { keys: [second.jwk] } },
    ].map(({ clientId, redirectUri, jwks }) => ({
      client_id: clientId,
      profile: "fapi2",
      redirect_uris: [redirectUri],
      scope: "openid profile email offline_access",
      jwks,
    }));
    app = await startApp({ REFRESH_REJECTED_STATUS: "400" }, clients);
    account = await signUp(app.url);
  });
  afterAll(() => app.close());

  const start = (client = one) => FapiModule.start({ url: app.url, issuer: app.url }, client, account);
  const wait = (seconds: number) => {
    app.clock.shift += seconds * 1000;
  };
  /** JSON with one of the errors, and the status that belongs to it. */
  function expectError({ status, json, body }: Reply, ...errors: string[]) {
    expect(json).toBe(true);
    expect(errors).toContain(body.error);
    expect(body.error === "invalid_client" ? [400, 401] : [400]).toContain(status);
  }
  it.each([
    ["S-154 happy-flow: openid_connect", "openid profile", "/userinfo"],
    ["S-154 happy-flow: plain_oauth", "profile", "/api/users/me"],
  ])("%s, two clients, the second with a query", async (_, scope, path = "") => {
    for (const client of [one, two]) {
      const module = await start(client);
      const nonce = client === two ? "n".repeat(43) : "a-nonce";
      const { answer, redemption } = await module.authorize({
        scope,
        ...(scope === "profile" ? { nonce: undefined } : { nonce }),
      });
      expect(answer).toMatchObject({ state: "a-state", iss: app.url });
      if (client === two) expect(answer).toMatchObject({ dummy1: "lorem", dummy2: "ipsum" });
      const { status, body } = await module.send("token", redemption);
      expect([status, body.token_type]).toEqual([200, "DPoP"]);
      expect(body.id_token === undefined).toBe(scope === "profile");
      if (body.id_token !== undefined) expect(decodeJwt(body.id_token)["nonce"]).toBe(nonce);
      const token = body.access_token ?? "";
      expect((await module.resource(path, token)).status).toBe(200);
      // DisallowAccessTokenInQuery
      expect((await fetch(`${app.url}${path}?access_token=${token}`)).status).toBe(401);
    }
  });

  it("S-154 user-rejects-authentication: access_denied, with a state of 128 characters", async () => {
    for (const client of [one, two]) {
      const module = await start(client);
      const state = "s".repeat(128);
      const { body } = await module.push({ state, prompt: "consent" });
      const { browser } = module.front;
      const login = await module.open(body.request_uri ?? "");
      const { email, password } = account;
      const at = (response: Response) => new URL(response.headers.get("location") ?? "", app.url);
      const consent = await browser.submit(at(login).href, { email, password });
      const back = at(await browser.submit(at(consent).href, { decision: "deny" }));
      expect(back.href.startsWith(client.redirectUri)).toBe(true);
      expect(Object.fromEntries(back.searchParams)).toMatchObject({ error: "access_denied", state, iss: app.url });
    }
  });

  it.each([
    ["ensure-authorization-request-without-state-success", { state: undefined }],
    ["ensure-authorization-request-without-nonce-success", { nonce: undefined }],
    ["ensure-authorization-request-with-64-char-nonce-success", { nonce: "n".repeat(64) }],
    ["ensure-authorization-request-with-long-nonce", { nonce: "n".repeat(384) }],
    ["ensure-authorization-request-with-long-state", { state: "s".repeat(1000) }],
    ["ensure-other-scope-order-succeeds", { scope: "profile openid" }],
  ] as [string, Record<string, string | undefined>][])("S-154 %s", async (_, changes) => {
    const module = await start();
    const { answer, redemption } = await module.authorize(changes);
    expect(answer["state"]).toBe("state" in changes ? changes["state"] : "a-state");
    const { body } = await module.send("token", redemption);
    expect(decodeJwt(body.id_token ?? "")["nonce"]).toBe("nonce" in changes ? changes["nonce"] : "a-nonce");
  });

  it("S-154 access-token-type-header-case-sensitivity: the scheme in inverted case", async () => {
    const module = await start();
    const { access_token: token } = await module.tokens();
    expect((await module.resource("/userinfo", token, "dpOp")).status).toBe(200);
  });

  it.each([
    ["check-dpop-proof-nbf-exp", () => ({ nbf: inSeconds(0), exp: inSeconds(300) })],
    ["ensure-dpopproof-with-iat-10seconds-before-succeeds", () => ({ iat: inSeconds(-10) })],
    ["ensure-dpopproof-with-iat-10seconds-after-succeeds", () => ({ iat: inSeconds(10) })],
  ])("S-154 %s: at PAR, token endpoint and resource", async (_, claimsOf) => {
    const module = await start();
    const { access_token: token } = await module.tokens({}, { proofClaims: claimsOf() });
    expect((await module.resource("/userinfo", token, "DPoP", claimsOf())).status).toBe(200);
  });

  it("S-154 ensure-mismatched-dpop-jkt-fails, ensure-dpop-auth-code-binding-success: dpop_jkt and the proof's key at PAR", async () => {
    const module = await start();
    const other = await makeKey();
    expectError(await module.push({ dpop_jkt: other.thumbprint }), "invalid_request", "invalid_dpop_proof");
    expect((await module.tokens({ dpop_jkt: module.dpop.thumbprint })).token_type).toBe("DPoP");
  });

  it.each([
    ["ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt", false],
    ["ensure-token-endpoint-fails-with-mismatched-dpop-jkt", true],
  ])("S-154 %s: another key at the token endpoint", async (_, named) => {
    const module = await start();
    const changes = named ? { dpop_jkt: module.dpop.thumbprint } : {};
    const { redemption } = await module.authorize(changes, named ? { proof: null } : {});
    const reply = await module.send("token", redemption, { proof: await makeKey() });
    expectError(reply, "invalid_request", "invalid_grant", "invalid_dpop_proof");
  });

  it.each([
    ["ensure-registered-redirect-uri", { redirect_uri: `${base}/callback/a1B2c3D4e5` }, ["invalid_request"]],
    ["ensure-redirect-uri-in-authorization-request", { redirect_uri: undefined }, ["invalid_request"]],
    [
      "ensure-response-type-code-idtoken-fails",
      { response_type: "code id_token" },
      ["unsupported_response_type", "invalid_request", "unauthorized_client"],
    ],
    [
      "ensure-response-type-token-fails",
      { response_type: "token" },
      ["unsupported_response_type", "invalid_request", "unauthorized_client"],
    ],
    [
      "par-authorization-request-containing-request_uri-form-param",
      { request_uri: "urn:example:x" },
      ["invalid_request"],
    ],
    ["par-ensure-pkce-required", { code_challenge: undefined, code_challenge_method: undefined }, ["invalid_request"]],
    ["par-plain-pkce-rejected", { code_challenge_method: "plain" }, ["invalid_request"]],
  ] as [string, Record<string, string | undefined>, string[]][])(
    "S-154 %s: refused at PAR",
    async (_, changes, errors) => {
      expectError(await (await start()).push(changes), ...errors);
    },
  );

  it("S-154 ensure-unsigned-authorization-request-without-using-par-fails: a page, or an error at the redirect URI", async () => {
    const module = await start();
    const { form } = module.request();
    const query = new URLSearchParams({ ...form, client_id: one.clientId });
    const response = await module.front.browser.get(`${app.url}/oauth2/authorize?${query}`);
    const { answer, page, forms } = await module.front.follow(response);
    expect(forms).toEqual([]);
    expect(answer?.["error"] ?? page?.status).toEqual(answer === null ? 400 : "invalid_request");
  });

  it("S-154 par-attempt-invalid-http-method: PUT", async () => {
    expect((await fetch(`${app.url}/oauth2/par`, { method: "PUT" })).status).toBe(405);
  });

  /** Redemptions of a fresh code that must fail. */
  const refused: [
    string,
    (module: FapiModule) => Promise<{ form?: Record<string, string>; how?: Changes }>,
    string[],
  ][] = [
    [
      "ensure-holder-of-key-required",
      async () => ({ how: { proof: null } }),
      ["invalid_request", "invalid_grant", "invalid_dpop_proof"],
    ],
    [
      "ensure-client-id-in-token-endpoint",
      async () => ({ form: { client_id: "fapi-2" } }),
      ["invalid_client", "invalid_grant"],
    ],
    ["ensure-signed-client-assertion-with-RS256-fails", async () => ({ how: { key: legacy } }), ["invalid_client"]],
    [
      "ensure-client-assertion-in-token-endpoint",
      async () => ({ form: { client_id: "fapi-1" }, how: { assertion: null } }),
      ["invalid_client", "invalid_request"],
    ],
    [
      "ensure-client-assertion-with-exp-is-5-minutes-in-past-fails",
      async () => ({ how: { claims: { exp: inSeconds(-300) } } }),
      ["invalid_client", "invalid_request"],
    ],
    [
      "ensure-client-assertion-with-wrong-aud-fails",
      async () => ({ how: { claims: { aud: "https://www.other1.example.com/" } } }),
      ["invalid_client", "invalid_request"],
    ],
    [
      "ensure-client-assertion-with-no-sub-fails",
      async () => ({ how: { claims: { sub: undefined } } }),
      ["invalid_client", "invalid_request"],
    ],
    [
      "incorrect-pkce-code-verifier-rejected",
      async () => ({ form: { code_verifier: "w".repeat(43) } }),
      ["invalid_grant"],
    ],
  ];
  it.each(refused)("S-154 %s: no tokens", async (_, changesOf, errors) => {
    const module = await start();
    const { redemption } = await module.authorize();
    const { form = {}, how = {} } = await changesOf(module);
    expectError(await module.send("token", { ...redemption, ...form }, how), ...errors);
  });

  it("S-154 ensure-pkce-code-verifier-required: invalid_grant", async () => {
    const module = await start();
    const { code_verifier: _, ...without } = (await module.authorize()).redemption;
    expectError(await module.send("token", without), "invalid_grant");
  });

  it("S-154 ensure-authorization-code-is-bound-to-client", async () => {
    const { redemption } = await (await start()).authorize();
    expectError(await (await start(two)).send("token", redemption), "invalid_grant");
  });

  it("S-154 attempt-reuse-authorization-code-after-one-second: invalid_grant", async () => {
    const module = await start();
    const { redemption } = await module.authorize();
    expect((await module.send("token", redemption)).status).toBe(200);
    wait(1);
    expectError(await module.send("token", redemption), "invalid_grant");
  });

  it("S-154 ensure-token-endpoint-fails-with-expired-auth-code", async () => {
    const module = await start();
    const { redemption } = await module.authorize();
    wait(62);
    // assertions and proofs are of now
    const ahead = { claims: { iat: inSeconds(63), exp: inSeconds(123) }, proofClaims: { iat: inSeconds(63) } };
    expectError(await module.send("token", redemption, ahead), "invalid_grant");
    app.clock.shift = 0;
  });

  it("S-154 refresh-token: with another key, not without one, and not for another client", async () => {
    const module = await start();
    const { refresh_token: token } = await module.tokens({ scope: "openid offline_access", prompt: "consent" });
    const form = { grant_type: "refresh_token", refresh_token: token };
    module.dpop = await makeKey();
    const { status, body } = await module.send("token", { ...form, scope: "openid offline_access" });
    expect([status, body.token_type]).toEqual([200, "DPoP"]);
    expect((await module.resource("/userinfo", body.access_token ?? "")).status).toBe(200);
    expectError(
      await module.send("token", form, { assertion: null }),
      "invalid_client",
      "invalid_request",
      "invalid_grant",
    );
    expectError(
      await module.send("token", form, { proof: null }),
      "invalid_request",
      "invalid_grant",
      "invalid_dpop_proof",
    );
    expectError(await (await start(two)).send("token", form), "invalid_grant");
  });

  it("S-154 par-ensure-reused-request-uri-prior-to-auth-completion-succeeds, par-attempt-reuse-request_uri: before the login twice, after it no more", async () => {
    const module = await start();
    const uri = (await module.push()).body.request_uri ?? "";
    await module.open(uri);
    const { answer } = await module.front.follow(await module.open(uri));
    expect(answer?.["code"]).toBeTruthy();
    const again = await module.front.follow(await module.open(uri));
    expect([again.answer, again.page?.status]).toEqual([null, 400]);
  });

  it("S-154 par-attempt-to-use-expired-request_uri, par-attempt-to-use-request_uri-for-different-client", async () => {
    const module = await start();
    const { body } = await module.push();
    const stolen = await module.front.follow(await module.open(body.request_uri ?? "", "fapi-2"));
    expect([stolen.answer, stolen.page?.status]).toEqual([null, 400]);
    wait((body.expires_in ?? 0) + 1);
    const late = await module.front.follow(await module.open(body.request_uri ?? ""));
    expect([late.answer, late.page?.status]).toEqual([null, 400]);
    app.clock.shift = 0;
  });

  it("S-154 par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted, -nbf-over-60-seconds-in-the-future-fails", async () => {
    const module = await start();
    const soon = { nbf: inSeconds(8), iat: inSeconds(8), exp: inSeconds(68) };
    expect((await module.push({}, { claims: soon })).status).toBe(201);
    const later = { nbf: inSeconds(65), iat: inSeconds(65), exp: inSeconds(125) };
    expectError(await module.push({}, { claims: later }), "invalid_client", "invalid_request");
  });

  it.each([
    ["par-test-array-as-audience-fails", () => [app.url]],
    ["par-test-par-endpoint-url-as-audience-fails", () => `${app.url}/oauth2/par`],
    ["par-test-token-endpoint-url-as-audience-fails", () => `${app.url}/oauth2/token`],
  ])("S-154 %s", async (_, audience) => {
    expectError(await (await start()).push({}, { claims: { aud: audience() } }), "invalid_client", "invalid_request");
  });
});
