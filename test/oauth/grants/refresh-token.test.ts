import { randomUUID } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { TokenService } from "../../../gen/auth/v1/token_pb.ts";
import { AuthError } from "../../../src/errors.ts";
import { disableClient, rotateClientSecret } from "../../../src/oauth/clients/clients.ts";
import { distrustKey } from "../../../src/oauth/keys/rotation.ts";
import type { ClientMetadata } from "../../../src/store/client-metadata.ts";
import { setUserDisabled } from "../../../src/users/users.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  type Account,
  authorizeUrl,
  claimsOf,
  getCode,
  getTokens,
  internalBasic,
  introspect,
  introspectSettled,
  portal,
  postForm,
  postJson,
  refresh,
  signUp,
  TestBrowser,
  type Tokens,
} from "../../support/flow.ts";
import { resetTokenFor } from "../../support/resets.ts";

const spa = { clientId: "spa", redirectUri: "https://spa.example/cb", scope: "openid profile read" };
const other = { clientId: "other", redirectUri: "https://other.example/cb", scope: "openid profile" };
const third = { clientId: "third", redirectUri: "https://third.example/cb", scope: "openid" };
const web = { clientId: "web", redirectUri: "https://web.example/cb", scope: "openid" };
const strict = { clientId: "strict", redirectUri: "https://strict.example/cb", scope: "openid" };
const clients = [spa, other, third, web, strict].map(({ clientId, redirectUri, scope }) => ({
  client_id: clientId,
  redirect_uris: [redirectUri],
  scope,
  first_party: clientId !== "third",
  ...(clientId === "web" ? { client_secret: "the secret of web" } : {}),
  ...(clientId === "strict" ? { refresh_token_reuse_window: 0 } : {}),
}));
const basicOf = (secret: string) => ({ authorization: `Basic ${btoa(`web:${encodeURIComponent(secret)}`)}` });
const day = 86_400_000;
const rejected = [401, "invalid_grant"];

let app: TestApp;
let account: Account & { uuid: string };
beforeAll(async () => {
  app = await startApp({}, clients);
  account = await signUp(app.url);
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const outcome = async (answering: Response | Promise<Response>) => {
  const response = await answering;
  return [response.status, ((await response.json()) as { error?: string }).error];
};
const renew = (token: string, extra: Record<string, string> = {}) =>
  refresh(app.url, token, { client_id: "spa", ...extra });
const changeMetadata = async (clientId: string, change: Partial<ClientMetadata>) => {
  const client = await app.context.store.clients.find(clientId);
  if (client === null) throw new Error(`no client ${clientId}`);
  const metadata = { ...client.metadata, ...change };
  await app.context.store.clients.replaceMetadata(clientId, metadata, "file", app.context.clock.now());
};
const renewed = async (token: string, extra: Record<string, string> = {}) => {
  const response = await renew(token, extra);
  if (response.status !== 200) throw new Error(`refresh answered ${response.status} ${await response.text()}`);
  return (await response.json()) as Tokens;
};

describe("a chain of refresh tokens", () => {
  it("S-075 has a new identifier at each step; the old one ends the family, access tokens and all", async () => {
    const first = await getTokens(app.url, account, spa);
    const second = await renewed(first.refresh_token);
    expect(claimsOf(second.refresh_token)["jti"]).not.toBe(claimsOf(first.refresh_token)["jti"]);
    app.clock.shift = 11_000;
    expect(await outcome(renew(first.refresh_token))).toEqual(rejected);
    expect(await outcome(renew(second.refresh_token))).toEqual(rejected);
    for (const { access_token } of [first, second]) {
      expect(await introspectSettled(app.url, access_token)).toEqual({ active: false });
    }
  });

  it.each(["ES256", "RS256"])("goes on where a moment no %s key signed: nothing was replaced", async (alg) => {
    const { refresh_token: token } = await getTokens(app.url, account, strict);
    const { keys } = app.context;
    const sign = keys.sign.bind(keys);
    jest.spyOn(keys, "sign").mockImplementation((use, wanted, ...rest) => {
      if (use === "access" && wanted === alg) throw new AuthError("unavailable", "no key", { retryAfter: 1 });
      return sign(use, wanted, ...rest);
    });
    const again = () => refresh(app.url, token, { client_id: "strict" });
    const refused = await again();
    jest.restoreAllMocks();
    expect([refused.status, refused.headers.has("retry-after")]).toEqual([503, true]);
    expect((await again()).status).toBe(200);
  });

  it("S-076 dies in all four generations when the first of them comes again", async () => {
    const chain: Tokens[] = [await getTokens(app.url, account, spa)];
    while (chain.length < 4) {
      app.clock.shift += 11_000;
      chain.push(await renewed(chain.at(-1)?.refresh_token ?? ""));
    }
    app.clock.shift += 11_000;
    expect(await introspect(app.url, chain.at(-1)?.access_token ?? "")).toMatchObject({ active: true });
    expect(await outcome(renew(chain[0]?.refresh_token ?? ""))).toEqual(rejected);
    for (const { refresh_token, access_token } of chain.reverse()) {
      expect((await outcome(renew(refresh_token)))[1]).toBe("invalid_grant");
      expect(await introspectSettled(app.url, access_token)).toEqual({ active: false });
    }
  });

  it("S-078 gives no grace to a token that expired meanwhile, though it was replaced a moment ago", async () => {
    const first = await getTokens(app.url, account, spa);
    app.clock.shift = 30 * day - 5_000;
    const second = await renewed(first.refresh_token);
    expect((await renewed(first.refresh_token)).refresh_token).toBe(second.refresh_token);
    app.clock.shift = 30 * day + 2_000;
    expect(await outcome(renew(first.refresh_token))).toEqual(rejected);
    expect(await outcome(renew(second.refresh_token))).toEqual(rejected);
  });

  it("S-078 gives its grace to a request that came within the window, however long it waited for the database", async () => {
    const first = await getTokens(app.url, account, spa);
    const { authorizations } = app.context.store;
    const rotate = authorizations.rotateRefreshToken.bind(authorizations);
    const waiting = jest.spyOn(authorizations, "rotateRefreshToken").mockImplementationOnce(async (...by) => {
      await renewed(first.refresh_token);
      app.clock.shift = 15_000;
      return rotate(...by);
    });
    const second = await renewed(first.refresh_token);
    waiting.mockRestore();
    app.clock.shift = 0;
    expect((await renewed(second.refresh_token)).scope).toBe(first.scope);
  });

  it("S-078 has no grace where the client's window is off: the same request at once again ends the family", async () => {
    const of = { client_id: strict.clientId };
    const first = await getTokens(app.url, account, strict);
    const second = await renewed(first.refresh_token, of);
    expect(await introspect(app.url, second.access_token)).toMatchObject({ active: true });
    for (const { refresh_token } of [first, second]) expect(await outcome(renew(refresh_token, of))).toEqual(rejected);
    for (const { access_token } of [first, second]) {
      expect(await introspectSettled(app.url, access_token)).toEqual({ active: false });
    }
  });

  it("C-12 keeps a replaced token replaced when the client stops rotating", async () => {
    const first = await getTokens(app.url, account, spa);
    const second = await renewed(first.refresh_token);
    await changeMetadata("spa", { refresh_token_rotation: false });
    try {
      // the current one is given back from now on, a replaced one within the window is answered with it
      expect((await renewed(second.refresh_token)).refresh_token).toBe(second.refresh_token);
      expect((await renewed(first.refresh_token)).refresh_token).toBe(second.refresh_token);
      app.clock.shift = 11_000;
      expect(await outcome(renew(first.refresh_token))).toEqual(rejected);
      expect(await outcome(renew(second.refresh_token))).toEqual(rejected);
    } finally {
      await changeMetadata("spa", { refresh_token_rotation: true });
    }
  });

  it("C-13 gives no scope that the client has lost since, and the scope again that it gets back", async () => {
    const first = await getTokens(app.url, account, spa);
    await changeMetadata("spa", { scope: "openid read" });
    const second = await renewed(first.refresh_token);
    expect(second.scope).toBe("openid read");
    expect(claimsOf(second.access_token)["scope"]).toBe("openid read");
    expect(await outcome(renew(second.refresh_token, { scope: "openid profile" }))).toEqual([400, "invalid_scope"]);
    await changeMetadata("spa", { scope: "write" });
    expect(await outcome(renew(second.refresh_token))).toEqual(rejected);
    await changeMetadata("spa", { scope: spa.scope });
    expect((await renewed(second.refresh_token)).scope).toBe(spa.scope);
  });

  it("C-13 gives no token to who signed in by weaker means than the client demands since", async () => {
    const { refresh_token } = await getTokens(app.url, account, spa);
    await changeMetadata("spa", { require_acr: "urn:auth-service:acr:two-factor" });
    expect(await outcome(renew(refresh_token))).toEqual(rejected);
    await changeMetadata("spa", { require_acr: "urn:auth-service:acr:password" });
    expect((await renewed(refresh_token)).scope).toBe(spa.scope);
  });

  it("C-13 gives no token for a resource that the client has lost since, and says that the user has to sign in again", async () => {
    const resource = "https://orders.example";
    await changeMetadata("spa", { resources: [resource] });
    const { code, verifier } = await getCode(app.url, account, { ...spa, extra: { resource } });
    const exchanged = await postForm(`${app.url}/oauth2/token`, {
      grant_type: "authorization_code",
      client_id: "spa",
      redirect_uri: spa.redirectUri,
      code,
      code_verifier: verifier,
    });
    const { refresh_token } = (await exchanged.json()) as Tokens;
    expect(claimsOf((await renewed(refresh_token)).access_token)["aud"]).toEqual([resource, `${app.url}/userinfo`]);
    await changeMetadata("spa", { resources: [] });
    const next = await getTokens(app.url, account, spa);
    expect(await outcome(renew(refresh_token))).toEqual(rejected);
    expect(await outcome(renew(refresh_token, { resource }))).toEqual(rejected);
    expect((await renewed(next.refresh_token)).scope).toBe(spa.scope);
  });

  it("S-080 is not revoked when another client presents its token, and the attempt is logged", async () => {
    const { refresh_token } = await getTokens(app.url, account, spa);
    const from = app.logs.length;
    expect(await outcome(renew(refresh_token, { client_id: "other" }))).toEqual(rejected);
    const lines = app.logs.slice(from).filter((line) => line.includes("refresh_token_of_other_client"));
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { client_id: "other", sid: claimsOf(refresh_token)["sid"] },
    ]);
    await renewed(refresh_token);
  });

  it("S-081 keeps its whole scope when an access token gets less, in any order of the scopes", async () => {
    const first = await getTokens(app.url, account, spa);
    const narrow = await renewed(first.refresh_token, { scope: "read" });
    expect(claimsOf(narrow.access_token)["scope"]).toBe("read");
    expect(narrow).not.toHaveProperty("id_token");
    const reordered = await renewed(narrow.refresh_token, { scope: "read openid profile" });
    expect(reordered.scope.split(" ").sort()).toEqual(["openid", "profile", "read"]);
    for (const scope of ["read write", "email", "read admin", " "]) {
      expect(await outcome(renew(reordered.refresh_token, { scope }))).toEqual([400, "invalid_scope"]);
    }
    expect((await renewed(reordered.refresh_token)).scope).toBe("openid profile read");
  });
});

describe("a refresh token", () => {
  it("S-085 is decided by its row: without one, with another key or another end its signature is worth nothing", async () => {
    const { refresh_token } = await getTokens(app.url, account, spa);
    const claims = claimsOf(refresh_token);
    const signed = (changes: object) =>
      app.context.keys.sign("refresh", "EdDSA", "rt+jwt", { ...claims, ...changes }).token;
    expect(await outcome(renew(signed({ sid: randomUUID() })))).toEqual(rejected);
    const [head, body, tail] = refresh_token.split(".");
    const later = { ...claims, exp: Number(claims["exp"]) + 86_400 };
    const longer = `${head}.${Buffer.from(JSON.stringify(later)).toString("base64url")}.${tail}`;
    expect(await outcome(renew(longer))).toEqual(rejected);
    expect([head, body, tail].join(".")).toBe(refresh_token);
    app.clock.shift = 31 * day;
    expect(await outcome(renew(signed({ exp: later.exp + 90 * 86_400 })))).toEqual(rejected);
    app.clock.shift = 0;
    const next = await renewed(refresh_token);
    const { kid } = JSON.parse(Buffer.from(head ?? "", "base64url").toString()) as { kid: string };
    await distrustKey(app.context, kid);
    expect(await outcome(renew(next.refresh_token))).toEqual(rejected);
    const fresh = await getTokens(app.url, account, spa);
    expect((await renew(fresh.refresh_token)).status).toBe(200);
  });

  it("S-091 is read from the body alone: URL, headers and cookies are not looked at", async () => {
    const { refresh_token } = await getTokens(app.url, account, spa);
    const ask = (query: string, headers: Record<string, string> = {}) =>
      outcome(postForm(`${app.url}/oauth2/token${query}`, { grant_type: "refresh_token", client_id: "spa" }, headers));
    expect(await ask(`?refresh_token=${refresh_token}`)).toEqual([400, "invalid_request"]);
    for (const [name, value] of Object.entries({
      authorization: `Bearer ${refresh_token}`,
      "refresh-token": refresh_token,
      refresh_token,
      "x-refresh-token": refresh_token,
      cookie: `refresh_token=${refresh_token}`,
    })) {
      expect([name, ...(await ask("", { [name]: value }))]).toEqual([name, 400, "invalid_request"]);
    }
    await renewed(refresh_token);
  });

  it("C-64 is refused with 401 where the client does not authenticate, with 400 where it does, or as the client is registered", async () => {
    const secret = "the secret of a confidential client";
    const web = { redirect_uris: ["https://web.example/cb"], scope: "openid", first_party: true };
    const clients = [
      { client_id: "spa-400", refresh_rejected_status: 400, ...web },
      { client_id: "web", client_secret: secret, ...web },
      { client_id: "web-401", client_secret: secret, refresh_rejected_status: 401, ...web },
    ];
    const statusesOf = async (base: string) => {
      const statuses: Record<string, number> = {};
      for (const id of ["portal-client", "spa-400", "web", "web-401"]) {
        const headers: Record<string, string> = id.startsWith("web")
          ? { authorization: `Basic ${btoa(`${id}:${encodeURIComponent(secret)}`)}` }
          : {};
        const form = { grant_type: "refresh_token", refresh_token: `not a token of ${id}`, client_id: id };
        const answer = await postForm(`${base}/oauth2/token`, form, headers);
        expect([id, answer.headers.get("www-authenticate"), await answer.json()]).toMatchObject([
          id,
          null,
          { error: "invalid_grant" },
        ]);
        statuses[id] = answer.status;
      }
      return statuses;
    };
    for (const [env, expected] of [
      [{}, { "portal-client": 401, "spa-400": 400, web: 400, "web-401": 401 }],
      [{ REFRESH_REJECTED_STATUS: "401" }, { "portal-client": 401, "spa-400": 400, web: 401, "web-401": 401 }],
      [{ REFRESH_REJECTED_STATUS: "400" }, { "portal-client": 400, "spa-400": 400, web: 400, "web-401": 401 }],
    ] as const) {
      const one = await startApp(env, [{ ...portalClient, refresh_token_rotation: false }, ...clients]);
      try {
        expect([env, await statusesOf(one.url)]).toEqual([env, expected]);
      } finally {
        await one.close();
      }
    }
  });

  it("S-089 is refused with 400 where REFRESH_REJECTED_STATUS says so, each time and without a challenge", async () => {
    const strict = await startApp({ REFRESH_REJECTED_STATUS: "400" });
    try {
      for (let n = 0; n < 4; n++) {
        const answer = await refresh(strict.url, "not a token");
        expect([answer.status, answer.headers.get("www-authenticate"), answer.headers.get("cache-control")]).toEqual([
          400,
          null,
          "no-store",
        ]);
        expect(await answer.json()).toEqual({ error: "invalid_grant", error_description: expect.any(String) });
      }
    } finally {
      await strict.close();
    }
  });
});

const portalClient = {
  client_id: "portal-client",
  redirect_uris: [portal.redirectUri],
  scope: "openid",
  first_party: true,
};

describe("S-087 a refresh token is refused after", () => {
  const tokenService = () =>
    createClient(TokenService, createGrpcTransport({ baseUrl: `http://${app.grpc}`, idleConnectionTimeoutMs: 100 }));
  const operator = { headers: { authorization: internalBasic } };
  type Holder = { user: Account & { uuid: string }; tokens: Awaited<ReturnType<typeof getTokens>> };

  async function resetPassword({ email }: Account): Promise<void> {
    const body = { token: await resetTokenFor(app, email), newPassword: "another good password" };
    expect((await postJson(`${app.url}/api/users/password-reset/confirm`, body)).status).toBe(204);
  }

  const acts: [string, typeof spa, (holder: Holder) => Promise<unknown>][] = [
    ["logout", spa, ({ tokens }) => tokens.browser.get(`${app.url}/connect/logout?id_token_hint=${tokens.id_token}`)],
    [
      "withdrawal of consent",
      third,
      ({ user }) => tokenService().withdrawConsent({ uuid: user.uuid, clientId: "third" }, operator),
    ],
    ["password reset", spa, ({ user }) => resetPassword(user)],
    ["its user was disabled", spa, ({ user }) => setUserDisabled(app.context, user.uuid, true)],
    ["its client was disabled", other, () => disableClient(app.context, "other")],
  ];
  it.each(acts)("%s", async (_, client, act) => {
    const user = await signUp(app.url);
    const browser = client.clientId === "third" ? await consented(user) : undefined;
    const tokens = await getTokens(app.url, user, { ...client, ...(browser === undefined ? {} : { browser }) });
    await act({ user, tokens });
    const [status, error] = await outcome(refresh(app.url, tokens.refresh_token, { client_id: client.clientId }));
    expect([status, error]).toEqual([401, client.clientId === "other" ? "invalid_client" : "invalid_grant"]);
  });

  it("rotation of the client's secret, for whoever has only the old one", async () => {
    const { code, verifier } = await getCode(app.url, account, web);
    const form = { grant_type: "authorization_code", code, code_verifier: verifier };
    const tokens = (await (
      await postForm(`${app.url}/oauth2/token`, form, basicOf("the secret of web"))
    ).json()) as Tokens;
    const renewal = { grant_type: "refresh_token", refresh_token: tokens.refresh_token };
    const { clientSecret } = await rotateClientSecret(app.context, "web", 0);
    const old = await postForm(`${app.url}/oauth2/token`, renewal, basicOf("the secret of web"));
    expect(await outcome(old)).toEqual([401, "invalid_client"]);
    // the user's tokens are the client's all the same (docs/revocation.md)
    expect((await postForm(`${app.url}/oauth2/token`, renewal, basicOf(clientSecret))).status).toBe(200);
  });

  async function consented(user: Account) {
    const browser = new TestBrowser();
    const first = await browser.get(authorizeUrl(app.url, third));
    const login = await browser.submit(new URL(first.headers.get("location") ?? "", app.url).href, {
      email: user.email,
      password: user.password,
    });
    await browser.submit(new URL(login.headers.get("location") ?? "", app.url).href, { decision: "allow" });
    return browser;
  }
});
