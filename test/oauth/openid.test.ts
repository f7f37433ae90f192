import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { updateUser } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  authorizeUrl,
  claimsOf,
  getCode,
  getTokens,
  hiddenFields,
  internalBasic,
  pkce,
  portal,
  postForm,
  redeem,
  refresh,
  signUp,
  TestBrowser,
} from "../support/flow.ts";

const everyScope = "openid profile email address phone read";
const clients = [
  {
    client_id: "partner",
    client_name: "Partner <b>&</b> Sons",
    redirect_uris: ["https://partner.example/callback?x=1"],
    scope: everyScope,
    response_types: ["code"],
  },
  {
    client_id: "bank",
    redirect_uris: ["https://bank.example/cb"],
    scope: "openid",
    first_party: true,
    require_acr: "urn:auth-service:acr:two-factor",
  },
  { client_id: "mail-only", redirect_uris: ["https://mail.example/cb"], scope: "openid email", first_party: true },
  {
    client_id: "reader",
    redirect_uris: ["https://reader.example/cb"],
    scope: everyScope,
    first_party: true,
    id_token_claims: true,
  },
  {
    client_id: "careful",
    redirect_uris: ["https://careful.example/cb"],
    scope: "openid profile",
    first_party: true,
    default_max_age: 60,
    id_token_signed_response_alg: "ES256",
  },
];
const reader = { clientId: "reader", redirectUri: "https://reader.example/cb", scope: everyScope };
const partner = { clientId: "partner", redirectUri: "https://partner.example/callback?x=1", scope: everyScope };
const mailOnly = { clientId: "mail-only", redirectUri: "https://mail.example/cb", scope: "openid email" };

const standardClaims = {
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

describe("OpenID Connect", () => {
  let app: TestApp;
  let ada: Account & { uuid: string };
  beforeAll(async () => {
    app = await startApp({}, clients);
    ada = await signUp(app.url, { nickname: "ada" });
    await updateUser(app.context, ada.uuid, { claims: standardClaims, emailVerified: true });
  });
  afterAll(() => app.close());

  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  const userinfo = async (token: string) =>
    (await (await fetch(`${app.url}/userinfo`, { headers: bearer(token) })).json()) as Record<string, unknown>;

  /** Through login and consent, to where the client is answered. */
  async function walk(browser: TestBrowser, url: string, account: Account = ada): Promise<Response> {
    let response = await browser.get(url);
    for (let step = 0; step < 4; step++) {
      const location = response.headers.get("location") ?? "";
      if (!location.startsWith("/")) return response;
      const page = await browser.get(new URL(location, app.url).href);
      if (page.headers.get("location") !== null) {
        response = page;
        continue;
      }
      const html = await page.text();
      const answer = location.startsWith("/login")
        ? { email: account.email, password: account.password }
        : { decision: "allow" };
      const path = location.startsWith("/login") ? "/login" : "/consent";
      response = await browser.post(`${app.url}${path}`, { ...hiddenFields(html), ...answer });
    }
    return response;
  }

  const answerOf = (response: Response) => new URL(response.headers.get("location") ?? "").searchParams;

  it("S-125 releases the claims of the granted scopes and no others, and e-mail as verified only after proof", async () => {
    const groups: Record<string, string[]> = {
      profile: [
        ...Object.keys(standardClaims).filter((name) => !/^(phone|address)/.test(name)),
        "nickname",
        "roles",
        "updated_at",
      ],
      email: ["email", "email_verified"],
      address: ["address"],
      phone: ["phone_number", "phone_number_verified"],
    };
    for (const [scope, names] of Object.entries(groups)) {
      const { access_token: token } = await tokensOf({ scope: `openid ${scope}` });
      expect(Object.keys(await userinfo(token)).sort()).toEqual(["sub", ...names].sort());
    }
    const { access_token: token } = await tokensOf({ scope: everyScope });
    expect(await userinfo(token)).toMatchObject({ ...standardClaims, sub: ada.uuid, email_verified: true });

    const bob = await signUp(app.url);
    const tokens = await getTokens(app.url, bob, { ...mailOnly, scope: "openid email" });
    expect(await userinfo(tokens.access_token)).toEqual({ sub: bob.uuid, email: bob.email, email_verified: false });
  });

  async function tokensOf(options: { scope: string; extra?: Record<string, string> }) {
    const { verifier, challenge } = pkce();
    const url = authorizeUrl(app.url, { ...partner, challenge, ...options });
    const answer = answerOf(await walk(new TestBrowser(), url));
    const body = { redirect_uri: partner.redirectUri, client_id: partner.clientId };
    const response = await redeem(app.url, answer.get("code") ?? "", verifier, body);
    return (await response.json()) as { access_token: string; id_token: string; refresh_token: string };
  }

  it("S-002 keeps the query of a registered redirect URI, once, and adds code, state and iss", async () => {
    const response = await walk(new TestBrowser(), authorizeUrl(app.url, partner));
    const location = response.headers.get("location") ?? "";
    expect(location).toMatch(/^https:\/\/partner\.example\/callback\?x=1&code=/);
    expect([...answerOf(response).keys()]).toEqual(["x", "code", "state", "iss"]);
  });

  it("releases single claims that the claims parameter asks for, where its page said so", async () => {
    const claims = {
      userinfo: { given_name: { essential: true }, phone_number: null, unheard_of: null },
      id_token: { email: null, auth_time: { essential: true } },
    };
    const url = authorizeUrl(app.url, {
      ...partner,
      scope: "openid",
      extra: { claims: JSON.stringify(claims), prompt: "consent" },
    });
    const browser = new TestBrowser();
    const signedIn = await browser.get(url);
    const login = await browser.get(new URL(signedIn.headers.get("location") ?? "", app.url).href);
    const fields = hiddenFields(await login.text());
    const after = await browser.post(`${app.url}/login`, { ...fields, email: ada.email, password: ada.password });
    const consent = await browser.get(new URL(after.headers.get("location") ?? "", app.url).href);
    const html = await consent.text();
    for (const line of ["see your e-mail address", "see your phone number", "see your profile"]) {
      expect(html).toContain(line);
    }
    const tokens = await tokensOf({ scope: "openid", extra: { claims: JSON.stringify(claims) } });
    expect(await userinfo(tokens.access_token)).toEqual({
      sub: ada.uuid,
      given_name: "Ada",
      phone_number: standardClaims.phone_number,
    });
    expect(claimsOf(tokens.id_token)).toMatchObject({ email: ada.email, acr: "urn:auth-service:acr:password" });
    expect(claimsOf(tokens.id_token)["given_name"]).toBeUndefined();
    const refreshed = await refresh(app.url, tokens.refresh_token, { client_id: partner.clientId });
    const again = (await refreshed.json()) as { id_token: string };
    expect(claimsOf(again.id_token)["email"]).toBe(ada.email);
  });

  const ofToken = "acr amr at_hash aud auth_time exp iat iss sid sub".split(" ");
  const releasedIn = (token: string) => Object.keys(claimsOf(token)).filter((name) => !ofToken.includes(name));

  it("C-68 keeps the claims of the scopes out of ID tokens, of a login and of a refresh, and has them at userinfo", async () => {
    const tokens = await tokensOf({ scope: everyScope });
    const refreshed = await refresh(app.url, tokens.refresh_token, { client_id: partner.clientId });
    const again = (await refreshed.json()) as { id_token: string };
    for (const { id_token: token } of [tokens, again]) expect(releasedIn(token)).toEqual([]);
    expect(await userinfo(tokens.access_token)).toMatchObject({ ...standardClaims, email: ada.email });
  });

  it("C-68 puts a claim that was asked for in the ID token there, roles too, and no other one of its scope", async () => {
    const claims = JSON.stringify({ id_token: { email: null, roles: null }, userinfo: { name: null } });
    const tokens = await tokensOf({ scope: everyScope, extra: { claims } });
    expect(releasedIn(tokens.id_token).sort()).toEqual(["email", "roles"]);
  });

  it("C-68 puts the claims of the scopes into the ID tokens of a client that is registered so, without roles", async () => {
    const tokens = await getTokens(app.url, ada, reader);
    expect(claimsOf(tokens.id_token)).toMatchObject({ ...standardClaims, email: ada.email });
    expect(claimsOf(tokens.id_token)).not.toHaveProperty("roles");
    const mail = await getTokens(app.url, ada, { ...reader, scope: "openid email" });
    expect(releasedIn(mail.id_token).sort()).toEqual(["email", "email_verified"]);
  });

  it("C-52 records the claims that the user agreed to: a scope that the client gets later releases none of them", async () => {
    const claims = JSON.stringify({ userinfo: { phone_number: null, email: null } });
    const tokens = await getTokens(app.url, ada, { ...mailOnly, scope: "openid", extra: { claims } });
    const { store, clock } = app.context;
    const client = await store.clients.find("mail-only");
    if (client === null) throw new Error("no client");
    const wider = { ...client.metadata, scope: `${client.metadata.scope} phone` };
    await store.clients.replaceMetadata("mail-only", wider, "file", clock.now());
    try {
      const headers = { authorization: `Bearer ${tokens.access_token}` };
      const released = (await (await fetch(`${app.url}/userinfo`, { headers })).json()) as object;
      expect(released).toMatchObject({ email: ada.email });
      expect(released).not.toHaveProperty("phone_number");
    } finally {
      await store.clients.replaceMetadata("mail-only", client.metadata, "file", clock.now());
    }
  });

  it("releases no claim of a scope that the client may not have, whatever its claims parameter says", async () => {
    const claims = JSON.stringify({ userinfo: { phone_number: null, name: null }, id_token: { name: null } });
    const tokens = await getTokens(app.url, ada, { ...mailOnly, scope: "openid", extra: { claims } });
    expect(await userinfo(tokens.access_token)).toEqual({ sub: ada.uuid });
    expect(claimsOf(tokens.id_token)["name"]).toBeUndefined();
  });

  it("OpenID Connect Core 5.5 takes a place of claims that is null for one in which nothing is asked for", async () => {
    const asked = [
      { id_token: null, userinfo: { email: null } },
      { id_token: { email: null }, userinfo: null },
      { id_token: null, userinfo: null },
    ];
    const released = [];
    for (const claims of asked) {
      const tokens = await tokensOf({ scope: everyScope, extra: { claims: JSON.stringify(claims) } });
      released.push(releasedIn(tokens.id_token));
    }
    expect(released).toEqual([[], ["email"], []]);
  });

  it.each([
    ["a place that is a list", '{"id_token":[]}'],
    ["no JSON", "{"],
    ["an array", "[]"],
    ["a claim that is no object", '{"userinfo":{"name":1}}'],
    ["too much", JSON.stringify({ userinfo: { ["x".repeat(99)]: { values: Array(20).fill("y".repeat(400)) } } })],
  ])("refuses a claims parameter that is %s", async (_, claims) => {
    const response = await new TestBrowser().get(authorizeUrl(app.url, { ...mailOnly, extra: { claims } }));
    expect(answerOf(response).get("error")).toBe("invalid_request");
  });

  it("answers an essential acr it cannot meet with unmet_authentication_requirements, and any acr_values with the one it has", async () => {
    const claims = JSON.stringify({ id_token: { acr: { essential: true, values: ["urn:mfa"] } } });
    const refused = await new TestBrowser().get(authorizeUrl(app.url, { ...mailOnly, extra: { claims } }));
    expect(answerOf(refused).get("error")).toBe("unmet_authentication_requirements");
    const tokens = await getTokens(app.url, ada, { ...mailOnly, extra: { acr_values: "urn:mfa 2" } });
    expect(claimsOf(tokens.id_token)).toMatchObject({ acr: "urn:auth-service:acr:password", amr: ["pwd"] });
  });

  it("says in access tokens too when and how their user signed in, and at introspection (RFC 9068 section 2.2.1, RFC 9470 section 6)", async () => {
    const tokens = await getTokens(app.url, ada, {
      ...mailOnly,
      extra: { acr_values: "urn:auth-service:acr:password" },
    });
    const { auth_time } = claimsOf(tokens.id_token);
    const signIn = { auth_time, acr: "urn:auth-service:acr:password", amr: ["pwd"] };
    expect(claimsOf(tokens.access_token)).toMatchObject(signIn);
    const refreshed = await refresh(app.url, tokens.refresh_token, { client_id: "mail-only" });
    expect(claimsOf(((await refreshed.json()) as { access_token: string }).access_token)).toMatchObject(signIn);
    const introspected = await postForm(
      `${app.url}/oauth2/introspect`,
      { token: tokens.access_token },
      { authorization: internalBasic },
    );
    expect(await introspected.json()).toMatchObject({ active: true, ...signIn });
  });

  it("gives no code for less than a client's registration demands", async () => {
    const bank = { clientId: "bank", redirectUri: "https://bank.example/cb", scope: "openid" };
    const browser = new TestBrowser();
    await getCode(app.url, ada, { ...mailOnly, browser });
    const asked = await browser.get(authorizeUrl(app.url, bank));
    expect(asked.headers.get("location")).toMatch(/^\/step-up\?/);
    const silent = answerOf(await browser.get(authorizeUrl(app.url, { ...bank, extra: { prompt: "none" } })));
    expect([silent.get("error"), silent.get("code")]).toEqual(["login_required", null]);
  });

  it("S-122 puts into the ID token what the standard asks for, the nonce exactly as it was", async () => {
    for (const nonce of ["n", "n".repeat(64), `${"ü%+&\"'<>".repeat(62)}tail`]) {
      const tokens = await getTokens(app.url, ada, { ...mailOnly, extra: { nonce, max_age: "10000" } });
      const claims = claimsOf(tokens.id_token);
      expect(claims).toMatchObject({ iss: app.url, sub: ada.uuid, aud: "mail-only", nonce });
      expect(claims["sub"]).toMatch(/^[\x21-\x7e]{1,255}$/);
      const now = Date.now() / 1000;
      expect(Math.abs((claims["auth_time"] as number) - now)).toBeLessThan(60);
      expect(claims["exp"]).toBe((claims["iat"] as number) + 600);
      const { createHash } = await import("node:crypto");
      const half = createHash("sha256").update(tokens.access_token).digest().subarray(0, 16);
      expect(claims["at_hash"]).toBe(half.toString("base64url"));
    }
    const essential = JSON.stringify({ id_token: { auth_time: { essential: true } } });
    const { id_token: asked } = await getTokens(app.url, ada, { ...mailOnly, extra: { claims: essential } });
    expect(claimsOf(asked)["auth_time"]).toEqual(expect.any(Number));
  });

  it("S-123 refuses prompt=none together with another prompt, and answers login_required to prompt=none for another user", async () => {
    const both = await new TestBrowser().get(authorizeUrl(app.url, { ...mailOnly, extra: { prompt: "none login" } }));
    expect(answerOf(both).get("error")).toBe("invalid_request");

    const bob = await signUp(app.url);
    const bobs = await getTokens(app.url, bob, mailOnly);
    const adas = await getTokens(app.url, ada, mailOnly);
    const silent = (hint: string) =>
      adas.browser.get(authorizeUrl(app.url, { ...mailOnly, extra: { prompt: "none", id_token_hint: hint } }));
    expect(answerOf(await silent(adas.id_token)).get("code")).toBeTruthy();
    expect(answerOf(await silent(bobs.id_token)).get("error")).toBe("login_required");
    expect(answerOf(await silent(`${bobs.id_token}x`)).get("error")).toBe("login_required");
    expect(answerOf(await silent(bobs.access_token)).get("error")).toBe("login_required");

    const subject = JSON.stringify({ id_token: { sub: { value: bob.uuid } } });
    const asked = await adas.browser.get(
      authorizeUrl(app.url, { ...mailOnly, extra: { prompt: "none", claims: subject } }),
    );
    expect(answerOf(asked).get("error")).toBe("login_required");
  });

  it("S-123 asks another user than the hint's to sign in, and gives no code until it is the hint's", async () => {
    const bob = await signUp(app.url);
    const bobs = await getTokens(app.url, bob, mailOnly);
    const { browser } = await getTokens(app.url, ada, mailOnly);
    const url = authorizeUrl(app.url, { ...mailOnly, extra: { id_token_hint: bobs.id_token } });
    const first = await browser.get(url);
    expect(first.headers.get("location")).toMatch(/^\/login\?/);
    const wrong = await browser.submit(new URL(first.headers.get("location") ?? "", app.url).href, {
      email: ada.email,
      password: ada.password,
    });
    expect(wrong.headers.get("location")).toMatch(/^\/login\?/);
    const right = await browser.submit(new URL(wrong.headers.get("location") ?? "", app.url).href, {
      email: bob.email,
      password: bob.password,
    });
    expect(answerOf(right).get("code")).toBeTruthy();
  });

  it("S-123 shows a login_hint as text", async () => {
    const hint = '"><script>alert(1)</script>';
    const browser = new TestBrowser();
    const response = await browser.get(authorizeUrl(app.url, { ...mailOnly, extra: { login_hint: hint } }));
    const html = await (await browser.get(new URL(response.headers.get("location") ?? "", app.url).href)).text();
    expect(html).not.toContain("<script>alert");
    expect(html).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
  });

  it("S-027 answers by form_post where it is asked for, and refuses every other response mode", async () => {
    const { verifier, challenge } = pkce();
    const options = { ...mailOnly, challenge, state: `a"<'&b`, extra: { response_mode: "form_post" } };
    const { browser } = await getTokens(app.url, ada, mailOnly);
    const page = await browser.get(authorizeUrl(app.url, options));
    const html = await page.text();
    expect(page.status).toBe(200);
    expect(page.headers.get("content-security-policy")).toContain("form-action 'self' https://mail.example;");
    expect(page.headers.get("content-security-policy")).toMatch(/script-src 'sha256-[A-Za-z0-9+/=]+';/);
    expect(/<form method="post" action="([^"]+)"/.exec(html)?.[1]).toBe(mailOnly.redirectUri);
    const fields = hiddenFields(html);
    expect(fields).toMatchObject({ state: `a"<'&b`, iss: app.url });
    const body = { redirect_uri: mailOnly.redirectUri, client_id: mailOnly.clientId };
    expect((await redeem(app.url, fields["code"] ?? "", verifier, body)).status).toBe(200);

    const silent = { ...options, extra: { response_mode: "form_post", prompt: "none" } };
    const refused = hiddenFields(await (await new TestBrowser().get(authorizeUrl(app.url, silent))).text());
    expect(refused).toMatchObject({ error: "login_required", iss: app.url });
    for (const mode of ["fragment", "web_message", "xyz", "query.jwt"]) {
      const response = await browser.get(authorizeUrl(app.url, { ...mailOnly, extra: { response_mode: mode } }));
      expect(answerOf(response).get("error")).toBe("invalid_request");
    }
  });

  it("shows its pages in the language that the application asks for, before the browser's", async () => {
    for (const [locales, language] of [
      ["ko", "ko"],
      ["nl-BE ko-KR en", "ko"],
      ["fr-CA ko-KR en", "fr"],
      ["nl", "en"],
    ] as const) {
      const browser = new TestBrowser({ "accept-language": "en" });
      const response = await browser.get(authorizeUrl(app.url, { ...mailOnly, extra: { ui_locales: locales } }));
      const page = await browser.get(new URL(response.headers.get("location") ?? "", app.url).href);
      expect(page.headers.get("content-language")).toBe(language);
    }
  });

  it("S-051 asks for the password again on prompt=login and after max_age, which account on prompt=select_account, the client's own too", async () => {
    const first = await getTokens(app.url, ada, mailOnly);
    for (const [prompt, page] of Object.entries({ login: "/login", select_account: "/select-account" })) {
      const again = await first.browser.get(authorizeUrl(app.url, { ...mailOnly, extra: { prompt } }));
      expect(again.headers.get("location")).toMatch(new RegExp(`^${page}\\?`));
    }
    const careful = { clientId: "careful", redirectUri: "https://careful.example/cb", scope: "openid" };
    expect(answerOf(await first.browser.get(authorizeUrl(app.url, careful))).get("code")).toBeTruthy();
    app.clock.shift += 61_000;
    try {
      expect((await first.browser.get(authorizeUrl(app.url, careful))).headers.get("location")).toMatch(/^\/login\?/);
      const longer = authorizeUrl(app.url, { ...careful, extra: { max_age: "10000" } });
      expect(answerOf(await first.browser.get(longer)).get("code")).toBeTruthy();
      // the largest number of 32 bits, and more
      for (const most of ["2147483647", "9007199254740"]) {
        const ever = authorizeUrl(app.url, { ...careful, extra: { max_age: most } });
        expect(answerOf(await first.browser.get(ever)).get("code")).toBeTruthy();
      }
      const later = await getCode(app.url, ada, { ...careful, browser: first.browser });
      const body = { redirect_uri: careful.redirectUri, client_id: careful.clientId };
      const response = await redeem(app.url, later.code, later.verifier, body);
      const { id_token: idToken } = (await response.json()) as { id_token: string };
      const before = claimsOf(first.id_token)["auth_time"] as number;
      expect(claimsOf(idToken)["auth_time"] as number).toBeGreaterThanOrEqual(before + 60);
    } finally {
      app.clock.shift -= 61_000;
    }
  });

  it("S-124 answers userinfo to GET, to POST with the token in the header and in the body, and refuses as RFC 6750 says", async () => {
    const { access_token: token } = await getTokens(app.url, ada, mailOnly);
    const url = `${app.url}/userinfo`;
    const good = [
      await fetch(url, { headers: bearer(token) }),
      await fetch(url, { method: "POST", headers: bearer(token) }),
      await postForm(url, { access_token: token }),
    ];
    for (const response of good) {
      expect(response.status).toBe(200);
      expect(await response.json()).toMatchObject({ sub: ada.uuid, email: ada.email });
    }
    const none = await fetch(url);
    expect([none.status, none.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
    const bad = await fetch(url, { headers: bearer(`${token}x`) });
    expect(bad.status).toBe(401);
    expect(bad.headers.get("www-authenticate")).toContain('error="invalid_token"');
    const { access_token: narrow } = await getTokens(app.url, ada, { ...portal, scope: "read" });
    const insufficient = await fetch(url, { headers: bearer(narrow) });
    expect(insufficient.status).toBe(403);
    expect(insufficient.headers.get("www-authenticate")).toContain('error="insufficient_scope"');
  });

  it("S-088 keeps auth_time and drops the nonce in an ID token from a refresh", async () => {
    const tokens = await getTokens(app.url, ada, { ...mailOnly, extra: { nonce: "once" } });
    app.clock.shift += 5_000;
    try {
      const response = await refresh(app.url, tokens.refresh_token, { client_id: mailOnly.clientId });
      const [before, after] = [tokens.id_token, ((await response.json()) as { id_token: string }).id_token].map(
        claimsOf,
      );
      expect(before).toMatchObject({ nonce: "once" });
      expect(after).toMatchObject({
        iss: before?.["iss"],
        sub: before?.["sub"],
        aud: before?.["aud"],
        auth_time: before?.["auth_time"],
      });
      expect(after?.["iat"] as number).toBeGreaterThanOrEqual((before?.["iat"] as number) + 5);
      expect(after).not.toHaveProperty("nonce");
    } finally {
      app.clock.shift -= 5_000;
    }
  });
});
