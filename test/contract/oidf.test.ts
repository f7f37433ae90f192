import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { UnsecuredJWT } from "jose";
import { createInitialAccessToken } from "../../src/oauth/clients/registration.ts";
import { updateUser } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { type Account, postJson, signUp } from "../support/flow.ts";
import { type SuiteClient, SuiteModule } from "../support/suite.ts";

const suite = "https://suite.example/test/a/auth";
const clientOf = (clientId: string, method: SuiteClient["method"]): SuiteClient => ({
  clientId,
  clientSecret: `secret of ${clientId}, and of nobody else`,
  method,
  redirectUri: `${suite}/callback`,
});
const basic = clientOf("basic-1", "client_secret_basic");
const second = clientOf("basic-2", "client_secret_basic");
const post = clientOf("post", "client_secret_post");

const ownClaims = {
  name: "Ada King",
  given_name: "Ada",
  family_name: "King",
  middle_name: "Augusta",
  preferred_username: "ada",
  profile: "https://ada.example/",
  picture: "https://ada.example/ada.png",
  website: "https://ada.example/",
  gender: "female",
  birthdate: "1815-12-10",
  zoneinfo: "Europe/London",
  locale: "en-GB",
  phone_number: "+442071234567",
  phone_number_verified: true,
  address: { street_address: "12 St James's Square", locality: "London", country: "United Kingdom" },
};
const profileClaims = [
  ...Object.keys(ownClaims).filter((name) => !/^(phone|address)/.test(name)),
  "nickname",
  "updated_at",
];

/**
 * The modules of oidcc-basic-certification-test-plan: what each sends, and what it asserts. The suite itself runs elsewhere
 * (examples/conformance). It sends no PKCE but in one module, so its clients are registered to go without.
 */
describe("OpenID Foundation conformance: oidcc-basic-certification-test-plan", () => {
  let app: TestApp;
  let account: Account & { uuid: string };
  beforeAll(async () => {
    const clients = [basic, second, post].map(({ clientId, clientSecret, method, redirectUri }) => ({
      client_id: clientId,
      client_secret: clientSecret,
      token_endpoint_auth_method: method,
      redirect_uris: [redirectUri],
      scope: "openid profile email address phone offline_access",
      require_pkce: false,
    }));
    app = await startApp({ REFRESH_REJECTED_STATUS: "400" }, clients);
    account = await signUp(app.url, { nickname: "ada" });
    await updateUser(app.context, account.uuid, { claims: ownClaims, emailVerified: true });
  });
  afterAll(() => app.close());

  const start = (client = basic) => new SuiteModule({ url: app.url, issuer: app.url }, client, account);
  const wait = (seconds: number) => {
    app.clock.shift += seconds * 1000;
  };
  type Json = Record<string, unknown>;
  const jsonOf = async (response: Response) => {
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toMatch(/^application\/json\b/);
    return (await response.json()) as Json;
  };

  it("S-129 oidcc-server: code flow, ID token with at_hash and only the claims that were requested", async () => {
    const module = start();
    const { claims, access_token: token, expires_in: life, token_type: type } = await module.signIn();
    expect([life, type]).toEqual([120, "Bearer"]);
    const half = createHash("sha256").update(token).digest().subarray(0, 16);
    expect(claims["at_hash"]).toBe(half.toString("base64url"));
    const known = "iss sub aud exp iat auth_time nonce acr amr azp at_hash c_hash nbf jti sid".split(" ");
    expect(Object.keys(claims).filter((name) => !known.includes(name))).toEqual([]);
    expect((await module.userinfo(token)).status).toBe(200);
  });

  it("S-129 oidcc-response-type-missing: told at the redirect URI", async () => {
    const module = start();
    const visit = await module.authorize({ response_type: undefined });
    expect(["invalid_request", "unsupported_response_type"]).toContain(module.errorOf(visit));
  });

  it("S-129 oidcc-idtoken-signature: of a client that registered no algorithm, RS256 with a kid", async () => {
    const { token } = await createInitialAccessToken(app.context, { uses: 1, expiresIn: 60 });
    const registration = {
      client_name: "suite",
      grant_types: ["authorization_code"],
      token_endpoint_auth_method: "client_secret_basic",
      response_types: ["code"],
      redirect_uris: [basic.redirectUri],
      contacts: ["certification@oidf.org"],
    };
    const response = await postJson(`${app.url}/oauth2/register`, registration, { authorization: `Bearer ${token}` });
    expect(response.status).toBe(201);
    const { client_id: clientId, client_secret: clientSecret } = (await response.json()) as Record<string, string>;
    const registered = { ...basic, clientId: clientId ?? "", clientSecret: clientSecret ?? "" };
    const { header } = await start(registered).signInWithPkce();
    expect(header).toMatchObject({ alg: "RS256", kid: expect.any(String) });
  });

  it("S-129 oidcc-idtoken-unsigned: skipped by the suite, since discovery does not offer none", async () => {
    const metadata = await jsonOf(await fetch(`${app.url}/.well-known/openid-configuration`));
    expect(metadata["id_token_signing_alg_values_supported"]).not.toContain("none");
  });

  it.each([
    ["S-129 oidcc-userinfo-get", (token: string) => ({ headers: { authorization: `Bearer ${token}` } })],
    [
      "S-129 oidcc-userinfo-post-header",
      (token: string) => ({ method: "POST", headers: { authorization: `Bearer ${token}` } }),
    ],
    [
      "S-129 oidcc-userinfo-post-body",
      (token: string) => ({ method: "POST", headers: {}, body: new URLSearchParams({ access_token: token }) }),
    ],
  ])("%s: JSON with the ID token's sub", async (_, requestOf) => {
    const module = start();
    const { access_token: token, claims } = await module.signIn();
    const info = await jsonOf(await module.userinfo(token, requestOf(token)));
    expect(info).toEqual({ sub: claims.sub });
  });

  it("S-129 oidcc-ensure-request-without-nonce-succeeds-for-code-flow: a code without a nonce", async () => {
    const { claims } = await start().signIn({ nonce: undefined });
    expect(claims["nonce"]).toBeUndefined();
  });

  const expected: Record<string, readonly string[]> = {
    profile: profileClaims,
    email: ["email", "email_verified"],
    address: ["address"],
    phone: ["phone_number", "phone_number_verified"],
  };
  it.each([
    ["S-129 oidcc-scope-profile", "openid profile"],
    ["S-129 oidcc-scope-email", "openid email"],
    ["S-129 oidcc-scope-address", "openid address"],
    ["S-129 oidcc-scope-phone", "openid phone"],
    ["S-129 oidcc-scope-all", "openid email phone address profile"],
  ])("%s: every claim of the scope, of the type the standard gives it", async (_, scope) => {
    const module = start();
    const { access_token: token, claims } = await module.signIn({ scope });
    const info = await jsonOf(await module.userinfo(token));
    const names = scope.split(" ").flatMap((one) => expected[one] ?? []);
    expect(Object.keys(info)).toEqual(expect.arrayContaining(["sub", ...names]));
    expect(info["sub"]).toBe(claims.sub);
    for (const [name, value] of Object.entries(info)) {
      const type = name.endsWith("_verified") ? "boolean" : name === "updated_at" ? "number" : "string";
      if (name !== "address" && name !== "roles") expect([name, typeof value]).toEqual([name, type]);
    }
    if (scope.includes("address")) expect(info["address"]).toEqual(ownClaims.address);
  });

  it("S-129 oidcc-alternate-happy-flow: parameters and scopes in another order", async () => {
    const module = start();
    const visit = await module.authorize({ scope: "email openid" }, "GET", (names) => names.sort().reverse());
    const { access_token: token } = await module.redeem(visit);
    expect(Object.keys(visit.request)[0]).toBe("state");
    expect(await jsonOf(await module.userinfo(token))).toMatchObject({ email: account.email, email_verified: true });
  });

  it.each([
    ["S-129 oidcc-display-page", { display: "page" }],
    ["S-129 oidcc-display-popup", { display: "popup" }],
    ["S-129 oidcc-ensure-request-with-unknown-parameter-succeeds", { extra: "foobar" }],
    ["S-129 oidcc-login-hint", { login_hint: "buffy@localhost" }],
    ["S-129 oidcc-ui-locales", { ui_locales: "se" }],
    ["S-129 oidcc-claims-locales", { claims_locales: "se" }],
  ])("%s: a login page, then tokens", async (_, extra) => {
    const { visit } = await start().signIn(extra);
    expect(visit.forms[0]).toBe("/login");
  });

  it("S-129 oidcc-prompt-login: a second login, later by auth_time", async () => {
    const module = start();
    const first = await module.signIn();
    wait(1);
    const again = await module.signIn({ prompt: "login" });
    expect(again.visit.forms).toEqual(["/login"]);
    expect(Number(again.claims["auth_time"])).toBeGreaterThan(Number(first.claims["auth_time"]));
  });

  it("S-129 oidcc-prompt-none-not-logged-in: an error that asks for a page, and state of 128 characters", async () => {
    const module = start();
    const visit = await module.authorize({ prompt: "none", state: "s".repeat(128) });
    expect(visit.forms).toEqual([]);
    expect(module.errorOf(visit)).toBe("login_required");
  });

  it.each([
    ["S-129 oidcc-prompt-none-logged-in", false],
    ["S-129 oidcc-id-token-hint", true],
  ])("%s: no page, the same user and login", async (_, hint) => {
    const module = start();
    const first = await module.signIn();
    const again = await module.signIn({ prompt: "none", ...(hint ? { id_token_hint: first.id_token } : {}) });
    expect(again.visit.forms).toEqual([]);
    expect(again.claims.sub).toBe(first.claims.sub);
    expect(again.claims["auth_time"]).toBe(first.claims["auth_time"]);
  });

  it("S-129 oidcc-max-age-1: a second login after two seconds, with a later auth_time", async () => {
    const module = start();
    const first = await module.signIn();
    wait(2);
    const again = await module.signIn({ max_age: "1" });
    expect(again.visit.forms).toEqual(["/login"]);
    const authTime = Number(again.claims["auth_time"]);
    expect(authTime).toBeGreaterThan(Number(first.claims["auth_time"]));
    expect(Number(again.claims.iat) - authTime).toBeLessThanOrEqual(10);
  });

  it("S-129 oidcc-max-age-10000: no second login, auth_time in both", async () => {
    const module = start();
    const first = await module.signIn({ max_age: "15000" });
    const again = await module.signIn({ max_age: "10000" });
    expect(again.visit.forms).toEqual([]);
    expect(again.claims["auth_time"]).toEqual(expect.any(Number));
    expect(again.claims["auth_time"]).toBe(first.claims["auth_time"]);
    expect(again.claims.sub).toBe(first.claims.sub);
  });

  it("S-129 oidcc-ensure-request-with-acr-values-succeeds: the acr that discovery offers", async () => {
    const metadata = await jsonOf(await fetch(`${app.url}/.well-known/openid-configuration`));
    const offered = metadata["acr_values_supported"] as string[];
    const { claims } = await start().signIn({ acr_values: offered.join(" ") });
    expect(offered).toContain(claims["acr"]);
  });

  it("S-129 oidcc-codereuse: invalid_grant at once", async () => {
    const module = start();
    const visit = await module.authorize();
    await module.redeem(visit);
    const again = await module.token(module.redemption(visit));
    expect(again.status).toBe(400);
    expect(again.headers.get("content-type")).toMatch(/^application\/json\b/);
    expect(await again.json()).toMatchObject({ error: "invalid_grant" });
  });

  it("S-129 oidcc-codereuse-30seconds: invalid_grant, and the tokens of the first use are revoked", async () => {
    const module = start();
    const visit = await module.authorize();
    const { access_token: token } = await module.redeem(visit);
    expect((await module.userinfo(token)).status).toBe(200);
    wait(30);
    const again = await module.token(module.redemption(visit));
    expect(again.status).toBe(400);
    expect(await again.json()).toMatchObject({ error: "invalid_grant" });
    expect((await module.userinfo(token)).status).toBe(401);
  });

  it("S-129 oidcc-ensure-registered-redirect-uri: a page, and no redirect", async () => {
    const { answer, page, forms } = await start().authorize({ redirect_uri: `${basic.redirectUri}/a1B2c3D4e5` });
    expect([answer, forms]).toEqual([null, []]);
    expect(page?.status).toBe(400);
    expect(page?.html).toContain("redirect_uri");
  });

  it("S-129 oidcc-ensure-post-request-succeeds: the request in a form of another site", async () => {
    const module = start();
    const visit = await module.authorize({}, "POST");
    expect(visit.forms).toEqual(["/login", "/consent"].slice(0, visit.forms.length));
    expect((await module.redeem(visit)).claims.sub).toBe(account.uuid);
  });

  it("S-129 oidcc-server-client-secret-post: the secret in the body", async () => {
    const module = start(post);
    const { access_token: token } = await module.signIn();
    expect((await module.userinfo(token)).status).toBe(200);
  });

  /** As the suite writes it: without signature, and outside of it what OAuth 2.0 requires. */
  const objectOf = (claims: Json) => new UnsecuredJWT(claims).encode();

  it("S-129 oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported: request_uri_not_supported", async () => {
    const module = start();
    const visit = await module.authorize({ request_uri: `${suite}/requestobject/1.jwt`, state: undefined });
    expect(module.errorOf(visit)).toBe("request_uri_not_supported");
  });

  it("S-129 oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported: request_not_supported", async () => {
    const module = start();
    const request = objectOf({ client_id: basic.clientId, redirect_uri: basic.redirectUri, state: "inside" });
    const visit = await module.authorize({ request, state: undefined, nonce: undefined });
    expect(module.errorOf(visit)).toBe("request_not_supported");
  });

  it("S-027 S-129 the form post plan's request object is refused by form_post, also where only the object names that", async () => {
    const inside = { client_id: basic.clientId, redirect_uri: basic.redirectUri };
    for (const [object, outside, mode] of [
      [{ response_mode: "form_post" }, undefined, "form_post"],
      [{ response_mode: "form_post" }, "query", "query"],
      [{ response_mode: "fragment" }, undefined, "query"],
      [{}, undefined, "query"],
    ] as const) {
      const module = start();
      const request = objectOf({ ...inside, ...object });
      const visit = await module.authorize({ request, response_mode: outside });
      expect([object, outside, visit.mode]).toEqual([object, outside, mode]);
      expect(module.errorOf(visit)).toBe("request_not_supported");
    }
  });

  it("S-129 oidcc-ensure-request-object-with-redirect-uri: a page, not the URI inside", async () => {
    const request = objectOf({ client_id: basic.clientId, redirect_uri: basic.redirectUri });
    const visit = await start().authorize({ request, redirect_uri: `${basic.redirectUri}_invalid` });
    expect(visit.answer).toBeNull();
    expect(visit.page?.status).toBe(400);
  });

  it("S-129 oidcc-claims-essential: name from UserInfo, and not in the ID token", async () => {
    const module = start();
    const claims = JSON.stringify({ userinfo: { name: { essential: true } } });
    const tokens = await module.signIn({ claims });
    expect(await jsonOf(await module.userinfo(tokens.access_token))).toEqual({
      sub: account.uuid,
      name: ownClaims.name,
    });
    expect(tokens.claims["name"]).toBeUndefined();
  });

  it("S-129 oidcc-refresh-token: for its own client only, and the new ID token is of the same login", async () => {
    const request = { scope: "openid offline_access", prompt: "consent" };
    const module = start();
    const first = await module.signIn(request);
    expect(first.visit.forms).toEqual(["/login", "/consent"]);
    expect(first.refresh_token).toMatch(/^[\x20-\x7e]{16,}$/);
    const parameters = { grant_type: "refresh_token", refresh_token: first.refresh_token };
    wait(1);
    const response = await module.token({ ...parameters, scope: request.scope });
    expect(response.headers.get("cache-control")).toContain("no-store");
    const refreshed = (await jsonOf(response)) as { id_token: string; access_token: string; token_type: string };
    expect(refreshed.token_type).toBe("Bearer");
    expect(refreshed.access_token).not.toBe(first.access_token);
    const { claims } = await module.readIdToken(refreshed.id_token);
    for (const name of ["iss", "sub", "aud", "auth_time", "azp"]) expect(claims[name]).toEqual(first.claims[name]);
    expect(claims.iat).not.toBe(first.claims.iat);
    expect((await module.userinfo(refreshed.access_token)).status).toBe(200);

    const other = await module.as(second).signIn({ ...request, nonce: "n".repeat(43) });
    const stolen = { grant_type: "refresh_token", refresh_token: other.refresh_token, scope: request.scope };
    const refused = await module.token(stolen);
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: "invalid_grant" });
    expect((await module.as(second).token({ ...stolen })).status).toBe(200);
  });

  it("S-129 oidcc-ensure-request-with-valid-pkce-succeeds: and without the verifier there are no tokens", async () => {
    const module = start();
    const visit = await module.authorizeWithPkce();
    const { code_verifier: verifier = "", ...without } = module.redemption(visit);
    expect((await module.token(without)).status).toBe(400);
    expect(verifier).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect((await module.redeem(await module.authorizeWithPkce())).claims.sub).toBe(account.uuid);
  });

  it("S-011 asks PKCE of every client that no operator let go without, and never lets a public one", async () => {
    const strict = clientOf("strict", "client_secret_basic");
    const { app: other, url } = await startApp({}, [
      { client_id: "strict", client_secret: strict.clientSecret, redirect_uris: [strict.redirectUri], scope: "openid" },
    ]).then((app) => ({ app, url: app.url }));
    try {
      const user = await signUp(url);
      const module = new SuiteModule({ url, issuer: url }, strict, user);
      expect(module.errorOf(await module.authorize())).toBe("invalid_request");
      expect(module.errorOf(await module.authorize({ prompt: "none" }))).toBe("invalid_request");
      expect((await module.redeem(await module.authorizeWithPkce())).claims.sub).toBe(user.uuid);
    } finally {
      await other.close();
    }
    const open = { client_id: "open", redirect_uris: [strict.redirectUri], require_pkce: false };
    await expect(startApp({}, [open])).rejects.toThrow(/require_pkce/);
  });

  it("S-066 wants the verifier of a challenge that was sent, and S-070 the redirect URI where there was none", async () => {
    const module = start();
    const bound = module.redemption(await module.authorizeWithPkce());
    expect((await module.token({ ...bound, code_verifier: "" })).status).toBe(400);
    const { redirect_uri: _, ...without } = module.redemption(await module.authorize());
    expect((await module.token(without)).status).toBe(400);
  });
});
