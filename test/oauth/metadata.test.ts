import { KeyObject } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { updateUser } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  authorizeUrl,
  claimsOf,
  getTokens,
  internalBasic,
  pkce,
  postForm,
  redeem,
  signUp,
  TestBrowser,
} from "../support/flow.ts";
import { keyedWithPublic, signed } from "../support/hostile.ts";
import { assertionOf, assertionType, makeKey, proofOf, type TestKey } from "../support/keys.ts";

type Metadata = Record<string, unknown>;

const secret = "a secret of at least thirty-two characters";
const userScopes = ["openid", "profile", "email", "address", "phone", "offline_access"];
const internalScopes = [
  "auth.introspect",
  "auth.tokens",
  "auth.keys",
  "auth.users.read",
  "auth.users.write",
  "auth.users.admin",
];
const deviceCode = "urn:ietf:params:oauth:grant-type:device_code";
const tokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange";
const redirectUri = "https://app.example/cb";

describe("metadata", () => {
  let app: TestApp;
  let user: Account & { uuid: string };
  let openid: Metadata;
  let oauth: Metadata;
  const keys = new Map<string, TestKey>();
  beforeAll(async () => {
    for (const alg of ["ES256", "PS256", "EdDSA", "Ed25519", "RS256"]) keys.set(alg, await makeKey(alg));
    const basic = { redirect_uris: [redirectUri], scope: userScopes.join(" "), first_party: true };
    const service = { grant_types: ["client_credentials"], scope: "auth.introspect auth.users.read" };
    app = await startApp({}, [
      { client_id: "everything", ...basic, grant_types: ["authorization_code", "refresh_token", deviceCode] },
      { client_id: "es256", ...basic, id_token_signed_response_alg: "ES256" },
      {
        client_id: "exchanger",
        client_secret: secret,
        grant_types: ["authorization_code", tokenExchange],
        redirect_uris: [redirectUri],
        first_party: true,
        scope: "openid profile",
        token_exchange_audiences: ["exchanger"],
      },
      { client_id: "m-client_secret_basic", client_secret: secret, ...service },
      {
        client_id: "m-client_secret_post",
        client_secret: secret,
        token_endpoint_auth_method: "client_secret_post",
        ...service,
      },
      {
        client_id: "m-private_key_jwt",
        token_endpoint_auth_method: "private_key_jwt",
        jwks: { keys: [...keys.values()].map(({ jwk }) => jwk) },
        ...service,
      },
      {
        client_id: "m-any-alg",
        token_endpoint_auth_method: "private_key_jwt",
        jwks: { keys: [{ ...keys.get("RS256")?.bare, kid: "of any alg" }] },
        ...service,
      },
      ...["RS256", "ES256"].map((alg) => ({
        client_id: `i-${alg}`,
        client_secret: secret,
        introspection_signed_response_alg: alg,
        ...service,
      })),
    ]);
    user = await signUp(app.url);
    await updateUser(app.context, user.uuid, { claims: everyClaim, emailVerified: true });
    [openid, oauth] = (await Promise.all(
      ["openid-configuration", "oauth-authorization-server"].map(async (name) => {
        const response = await fetch(`${app.url}/.well-known/${name}`);
        expect([response.status, response.headers.get("content-type")]).toEqual([
          200,
          expect.stringMatching(/^application\/json/),
        ]);
        return (await response.json()) as Metadata;
      }),
    )) as [Metadata, Metadata];
  });
  afterAll(() => app.close());

  const everyClaim = {
    name: "A B",
    given_name: "A",
    family_name: "B",
    middle_name: "C",
    preferred_username: "ab",
    profile: "https://a.example/",
    picture: "https://a.example/p",
    website: "https://a.example/",
    gender: "x",
    birthdate: "2000-01-01",
    zoneinfo: "Europe/Paris",
    locale: "fr-FR",
    phone_number: "+33123456789",
    address: { country: "France" },
  };
  const basicOf = (id: string) => `Basic ${Buffer.from(`${id}:${encodeURIComponent(secret)}`).toString("base64")}`;
  const everything = { clientId: "everything", redirectUri, scope: userScopes.join(" ") };
  const errorOf = async (response: Response) => ((await response.json()) as { error?: string }).error;
  const token = (form: Record<string, string>, headers: Record<string, string> = {}) =>
    postForm(`${app.url}/oauth2/token`, form, headers);

  /** What authenticates a client by a method. */
  async function credentialsBy(method: string, alg = "ES256") {
    const id = `m-${method}`;
    if (method === "client_secret_basic") return { form: {}, headers: { authorization: basicOf(id) } };
    if (method === "client_secret_post") return { form: { client_id: id, client_secret: secret }, headers: {} };
    if (method === "none") return { form: { client_id: "everything" }, headers: {} };
    const key = keys.get(alg) ?? (await makeKey(alg));
    const assertion = await assertionOf(key, id, app.url);
    return { form: { client_assertion_type: assertionType, client_assertion: assertion }, headers: {} };
  }

  async function answerOf(extra: Record<string, string>, browser = new TestBrowser()): Promise<URLSearchParams> {
    const response = await browser.get(authorizeUrl(app.url, { ...everything, extra }));
    return new URL(response.headers.get("location") ?? "", app.url).searchParams;
  }

  async function authenticatesAt(path: string, method: string, alg?: string): Promise<boolean> {
    const { form, headers } = await credentialsBy(method, alg);
    const response = await postForm(`${app.url}${path}`, { token: "x", ...form }, headers);
    await response.arrayBuffer();
    if (![200, 401].includes(response.status)) throw new Error(`${path} answered ${response.status} to ${method}`);
    return response.status === 200;
  }

  async function idTokenOf(clientId: string): Promise<{ header: { alg: string }; claims: Record<string, unknown> }> {
    const tokens = await getTokens(app.url, user, { ...everything, clientId, scope: "openid" });
    const header = JSON.parse(Buffer.from(tokens.id_token.split(".")[0] ?? "", "base64url").toString());
    return { header, claims: claimsOf(tokens.id_token) };
  }

  /** How each advertised value is used once; true: it works. */
  const uses: Record<string, (value: string) => Promise<boolean>> = {
    scopes_supported: async (scope) => {
      if (internalScopes.includes(scope)) {
        const form = { grant_type: "client_credentials", scope };
        return (await token(form, { authorization: internalBasic })).status === 200;
      }
      const tokens = await getTokens(app.url, user, { ...everything, scope });
      return tokens.scope === scope;
    },
    response_types_supported: async (response_type) => {
      const { browser } = await getTokens(app.url, user, everything);
      return (await answerOf({ response_type }, browser)).has("code");
    },
    response_modes_supported: async (response_mode) => {
      const { browser } = await getTokens(app.url, user, everything);
      const response = await browser.get(authorizeUrl(app.url, { ...everything, extra: { response_mode } }));
      const location = response.headers.get("location");
      return response_mode === "query"
        ? (location ?? "").includes("code=")
        : (await response.text()).includes('name="code"');
    },
    grant_types_supported: async (grant_type) => {
      if (grant_type === "authorization_code") return (await getTokens(app.url, user, everything)).access_token !== "";
      if (grant_type === "refresh_token") {
        const { refresh_token: refreshToken } = await getTokens(app.url, user, everything);
        const form = { grant_type, refresh_token: refreshToken, client_id: "everything" };
        return (await token(form)).status === 200;
      }
      if (grant_type === "client_credentials") {
        return (await token({ grant_type }, { authorization: internalBasic })).status === 200;
      }
      if (grant_type === deviceCode) {
        const url = String(oauth["device_authorization_endpoint"]);
        const started = await postForm(url, { client_id: "everything", scope: "openid" });
        const { device_code } = (await started.json()) as { device_code: string };
        const polled = await token({ grant_type, device_code, client_id: "everything" });
        return (await errorOf(polled)) === "authorization_pending";
      }
      if (grant_type !== tokenExchange) return false;
      const exchanger = { clientId: "exchanger", redirectUri, scope: "openid profile" };
      const verifier = pkce();
      const browser = (await getTokens(app.url, user, everything)).browser;
      const response = await browser.get(authorizeUrl(app.url, { ...exchanger, challenge: verifier.challenge }));
      const code = new URL(response.headers.get("location") ?? "").searchParams.get("code") ?? "";
      const authorization = { authorization: basicOf("exchanger") };
      const form = {
        grant_type: "authorization_code",
        code,
        code_verifier: verifier.verifier,
        redirect_uri: redirectUri,
      };
      const { access_token } = (await (await token(form, authorization)).json()) as { access_token: string };
      const exchanged = await token(
        {
          grant_type,
          subject_token: access_token,
          subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
          audience: "exchanger",
        },
        authorization,
      );
      return exchanged.status === 200;
    },
    token_endpoint_auth_methods_supported: async (method) => {
      if (method === "none") return (await getTokens(app.url, user, everything)).access_token !== "";
      const { form, headers } = await credentialsBy(method);
      return (await token({ grant_type: "client_credentials", ...form }, headers)).status === 200;
    },
    token_endpoint_auth_signing_alg_values_supported: async (alg) => {
      const { form } = await credentialsBy("private_key_jwt", alg);
      return (await token({ grant_type: "client_credentials", ...form })).status === 200;
    },
    introspection_endpoint_auth_methods_supported: (method) => authenticatesAt("/oauth2/introspect", method),
    introspection_endpoint_auth_signing_alg_values_supported: (alg) =>
      authenticatesAt("/oauth2/introspect", "private_key_jwt", alg),
    introspection_signing_alg_values_supported: async (alg) => {
      const response = await postForm(
        `${app.url}/oauth2/introspect`,
        { token: "x" },
        { authorization: basicOf(`i-${alg}`), accept: "application/token-introspection+jwt" },
      );
      const header = JSON.parse(Buffer.from((await response.text()).split(".")[0] ?? "", "base64url").toString());
      return (header as { alg: string }).alg === alg;
    },
    revocation_endpoint_auth_methods_supported: (method) => authenticatesAt("/oauth2/revoke", method),
    revocation_endpoint_auth_signing_alg_values_supported: (alg) =>
      authenticatesAt("/oauth2/revoke", "private_key_jwt", alg),
    code_challenge_methods_supported: async (code_challenge_method) => {
      const { browser } = await getTokens(app.url, user, everything);
      return (await answerOf({ code_challenge_method }, browser)).has("code");
    },
    dpop_signing_alg_values_supported: async (alg) => {
      const key = keys.get(alg) ?? (await makeKey(alg));
      const proof = await proofOf(key, "POST", `${app.url}/oauth2/token`);
      const headers = { authorization: internalBasic, dpop: proof };
      const response = await token({ grant_type: "client_credentials" }, headers);
      return ((await response.json()) as { token_type: string }).token_type === "DPoP";
    },
    ui_locales_supported: async (ui_locales) => {
      const browser = new TestBrowser();
      const response = await browser.get(authorizeUrl(app.url, { ...everything, extra: { ui_locales } }));
      const page = await browser.get(new URL(response.headers.get("location") ?? "", app.url).href);
      return page.headers.get("content-language") === ui_locales;
    },
    subject_types_supported: async (type) => {
      const [one, other] = await Promise.all(["everything", "es256"].map(idTokenOf));
      return type === "public" && one?.claims["sub"] === other?.claims["sub"];
    },
    id_token_signing_alg_values_supported: async (alg) =>
      (await idTokenOf(alg === "RS256" ? "everything" : alg.toLowerCase())).header.alg === alg,
    prompt_values_supported: async (prompt) => {
      const { browser } = await getTokens(app.url, user, everything);
      const response = await browser.get(authorizeUrl(app.url, { ...everything, extra: { prompt } }));
      const location = response.headers.get("location") ?? "";
      if (prompt === "none") return location.includes("code=");
      const pages: Record<string, string> = { select_account: "/select-account", create: "/signup" };
      return location.startsWith(`${pages[prompt] ?? `/${prompt}`}?`);
    },
    acr_values_supported: async (acr_values) => {
      if (acr_values.endsWith("password")) {
        const tokens = await getTokens(app.url, user, { ...everything, extra: { acr_values } });
        return claimsOf(tokens.id_token)["acr"] === acr_values;
      }
      const { browser } = await getTokens(app.url, user, everything);
      const response = await browser.get(authorizeUrl(app.url, { ...everything, extra: { acr_values } }));
      return response.headers.get("location")?.startsWith("/step-up?") ?? false;
    },
    claim_types_supported: async (type) => type === "normal",
    claims_supported: async (claim) => {
      const tokens = await getTokens(app.url, user, { ...everything, extra: { nonce: "n" } });
      const headers = { authorization: `Bearer ${tokens.access_token}` };
      const userinfo = (await (await fetch(`${app.url}/userinfo`, { headers })).json()) as Record<string, unknown>;
      return claim in { ...claimsOf(tokens.id_token), ...userinfo };
    },
  };

  it("S-120 is there at both addresses with one issuer, byte for byte the one in tokens, and every URL is one of ours that answers", async () => {
    for (const document of [openid, oauth]) {
      expect(document["issuer"]).toBe(app.url);
      for (const required of ["authorization_endpoint", "token_endpoint", "jwks_uri", "response_types_supported"]) {
        expect(document).toHaveProperty(required);
      }
      for (const [name, url] of Object.entries(document)) {
        if (!/_(endpoint|uri)$/.test(name)) continue;
        expect(String(url).startsWith(`${app.url}/`)).toBe(true);
        const response = await fetch(String(url), { redirect: "manual" });
        await response.arrayBuffer();
        expect([name, response.status === 404 || response.status >= 500]).toEqual([name, false]);
      }
    }
    for (const required of ["subject_types_supported", "id_token_signing_alg_values_supported", "userinfo_endpoint"]) {
      expect(openid).toHaveProperty(required);
    }
    expect((await idTokenOf("everything")).claims["iss"]).toBe(openid["issuer"]);
    expect(openid).toMatchObject(oauth);
  });

  it("S-121 advertises only what works: every value of every list is used once", async () => {
    const lists = Object.entries({ ...oauth, ...openid }).filter((entry): entry is [string, string[]] =>
      Array.isArray(entry[1]),
    );
    expect(lists.map(([name]) => name).sort()).toEqual(Object.keys(uses).sort());
    for (const [name, values] of lists) {
      expect([name, new Set(values).size]).toEqual([name, values.length]);
      for (const value of values) expect([name, value, await uses[name]?.(value)]).toEqual([name, value, true]);
    }
  });

  it("S-121 refuses what it does not advertise", async () => {
    const text = JSON.stringify({ ...oauth, ...openid });
    for (const weak of ['"none","HS', "plain", '"password"', "implicit", "HS256", "RS1_5"]) {
      expect(text).not.toContain(weak);
    }
    expect(openid["id_token_signing_alg_values_supported"]).not.toContain("none");
    const { browser } = await getTokens(app.url, user, everything);
    const wrong: [Record<string, string>, string][] = [
      [{ response_type: "token" }, "unsupported_response_type"],
      [{ response_type: "id_token" }, "unsupported_response_type"],
      [{ response_type: "code id_token" }, "unsupported_response_type"],
      [{ response_type: "none" }, "unsupported_response_type"],
      [{ response_mode: "fragment" }, "invalid_request"],
      [{ response_mode: "jwt" }, "invalid_request"],
      [{ code_challenge_method: "plain" }, "invalid_request"],
      [{ code_challenge_method: "S512" }, "invalid_request"],
      [{ prompt: "register" }, "invalid_request"],
      [{ scope: "openid admin" }, "invalid_scope"],
      [{ scope: "openid auth.introspect" }, "invalid_scope"],
      [{ request: "x.y.z" }, "request_not_supported"],
      [{ request_uri: "https://app.example/request" }, "request_uri_not_supported"],
      [{ registration: "{}" }, "registration_not_supported"],
      [{ resource: "https://api.example" }, "invalid_target"],
    ];
    for (const [extra, error] of wrong)
      expect([extra, (await answerOf(extra, browser)).get("error")]).toEqual([extra, error]);
    for (const grant_type of [
      "password",
      "implicit",
      "urn:ietf:params:oauth:grant-type:jwt-bearer",
      "urn:ietf:params:oauth:grant-type:saml2-bearer",
      "urn:openid:params:grant-type:ciba",
    ]) {
      const response = await token({ grant_type, client_id: "everything", username: "a", password: "b" });
      expect([grant_type, await errorOf(response)]).toEqual([grant_type, "unsupported_grant_type"]);
    }
    for (const alg of ["ES384", "RS512"]) {
      const { form } = await credentialsBy("private_key_jwt", alg);
      expect(await errorOf(await token({ grant_type: "client_credentials", ...form }))).toBe("invalid_client");
    }
    const rsa = {
      kid: "of any alg",
      alg: "RS256",
      privateKey: KeyObject.from((keys.get("RS256") as TestKey).privateKey),
    };
    const claims = async (id: string) =>
      (await assertionOf(keys.get("RS256") as TestKey, id, app.url)).split(".")[1] ?? "";
    const outcomeOf = async (client_assertion: string) => {
      const form = { grant_type: "client_credentials", client_assertion_type: assertionType, client_assertion };
      return (await errorOf(await token(form))) ?? "accepted";
    };
    const byRsa = async (alg: string) => signed({ alg, kid: rsa.kid }, await claims("m-any-alg"), { ...rsa, alg });
    expect(await outcomeOf(await byRsa("RS256"))).toBe("accepted");
    for (const alg of ["RS384", "RS512", "PS384", "PS512"]) {
      expect([alg, await outcomeOf(await byRsa(alg))]).toEqual([alg, "invalid_client"]);
    }
    for (const [name, forged] of Object.entries(keyedWithPublic({ kid: rsa.kid }, await claims("m-any-alg"), rsa))) {
      if (/with (PEM|x or n) of/.test(name)) expect([name, await outcomeOf(forged)]).toEqual([name, "invalid_client"]);
    }
    const { code, verifier } = await (async () => {
      const pair = pkce();
      const response = await browser.get(authorizeUrl(app.url, { ...everything, challenge: pair.challenge }));
      return {
        code: new URL(response.headers.get("location") ?? "").searchParams.get("code") ?? "",
        verifier: pair.verifier,
      };
    })();
    const body = { client_id: "everything", redirect_uri: redirectUri };
    expect((await redeem(app.url, code, verifier, body)).status).toBe(200);
  });
});
