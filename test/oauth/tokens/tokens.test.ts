import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { keysFor } from "../../../src/crypto/keys-for.ts";
import { Sealer } from "../../../src/crypto/sealing.ts";
import { deleteUser } from "../../../src/users/deletion.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  type Account,
  authorizeUrl,
  claimsOf,
  getTokens,
  hiddenFields,
  internalBasic,
  introspectSettled,
  pkce,
  portal,
  postForm,
  refresh,
  signUp,
  TestBrowser,
  type Tokens,
} from "../../support/flow.ts";

const [orders, invoices] = ["https://orders.example", "https://invoices.example"];
const buyer = { clientId: "buyer", redirectUri: "https://buyer.example/cb", scope: "openid profile" };
const buyerBasic = { authorization: `Basic ${btoa("buyer:the+secret+of+buyer")}` };
const grants = {
  device: "urn:ietf:params:oauth:grant-type:device_code",
  exchange: "urn:ietf:params:oauth:grant-type:token-exchange",
};
const clients = [
  {
    client_id: "buyer",
    client_secret: "the secret of buyer",
    redirect_uris: [buyer.redirectUri],
    grant_types: ["authorization_code", "refresh_token", "client_credentials", grants.device, grants.exchange],
    scope: "openid profile",
    first_party: true,
    resources: [orders, invoices],
    token_exchange_audiences: [orders, invoices],
  },
];

let app: TestApp;
let account: Account & { uuid: string };
beforeAll(async () => {
  app = await startApp({}, clients);
  account = await signUp(app.url);
});
afterAll(() => app.close());

const headerOf = (jwt: string) =>
  JSON.parse(Buffer.from(jwt.split(".")[0] ?? "", "base64url").toString()) as Record<string, unknown>;
const buyerTokens = async (extra: Record<string, string> = {}) => {
  const browser = new TestBrowser();
  const { verifier, challenge } = pkce();
  const first = await browser.get(authorizeUrl(app.url, { ...buyer, challenge, extra }));
  const { email, password } = account;
  const login = await browser.submit(new URL(first.headers.get("location") ?? "", app.url).href, { email, password });
  const code = new URL(login.headers.get("location") ?? "").searchParams.get("code") ?? "";
  const form = { grant_type: "authorization_code", code, code_verifier: verifier };
  return (await (await ask(form)).json()) as Record<string, string>;
};
const ask = (form: Record<string, string> | [string, string][], path = "/oauth2/token") =>
  fetch(app.url + path, { method: "POST", headers: buyerBasic, body: new URLSearchParams(form) });
const outcome = async (answering: Response | Promise<Response>) => {
  const response = await answering;
  return [response.status, ((await response.json()) as { error?: string }).error];
};
const me = (token: string) => fetch(`${app.url}/userinfo`, { headers: { authorization: `Bearer ${token}` } });

describe("an access token", () => {
  it("S-102 S-103 has three header members and the claims of RFC 9068, whatever grant it came of", async () => {
    const tokens = await getTokens(app.url, account);
    const renewed = (await (await refresh(app.url, tokens.refresh_token)).json()) as { access_token: string };
    const own = (await (
      await postForm(`${app.url}/oauth2/token`, { grant_type: "client_credentials" }, { authorization: internalBasic })
    ).json()) as { access_token: string };
    const exchanged = (await (await ask({ ...(await exchangeForm()), resource: orders })).json()) as Tokens;
    const { keys } = (await (await fetch(`${app.url}/oauth2/jwks`)).json()) as { keys: { kid: string }[] };
    const issued: [Pick<Tokens, "access_token">, sub: string, client: string, aud?: string][] = [
      [tokens, account.uuid, portal.clientId],
      [renewed, account.uuid, portal.clientId],
      [own, "internal-service", "internal-service"],
      [await deviceTokens(), account.uuid, "buyer"],
      [exchanged, account.uuid, "buyer", orders],
    ];
    for (const [{ access_token: token }, sub, client_id, aud = client_id] of issued) {
      const header = headerOf(token);
      expect(header).toEqual({ alg: "ES256", typ: "at+jwt", kid: expect.any(String) });
      expect(keys.map(({ kid }) => kid)).toContain(header["kid"]);
      const claims = claimsOf(token);
      expect(claims).toMatchObject({
        iss: app.url,
        sub,
        aud,
        client_id,
        scope: expect.any(String),
        jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
      });
      const life = Number(claims["exp"]) - Number(claims["iat"]);
      // what is exchanged ends with what it was exchanged for
      if (token === exchanged.access_token) expect([119, 120]).toContain(life);
      else expect(life).toBe(120);
      expect(Math.abs(Number(claims["iat"]) - Date.now() / 1000)).toBeLessThan(10);
    }
    expect(new Set(issued.map(([{ access_token }]) => claimsOf(access_token)["jti"])).size).toBe(issued.length);
  });

  async function deviceTokens(): Promise<Tokens> {
    const started = await ask({ scope: "openid profile" }, "/oauth2/device_authorization");
    const { device_code, user_code } = (await started.json()) as Record<string, string>;
    const browser = new TestBrowser();
    await browser.submit(`${app.url}/login`, { email: account.email, password: account.password });
    const page = await browser.submit(`${app.url}/device`, { user_code: user_code ?? "" });
    await browser.post(`${app.url}/device/decision`, { ...hiddenFields(await page.text()), decision: "allow" });
    return (await (await ask({ grant_type: grants.device, device_code: device_code ?? "" })).json()) as Tokens;
  }

  it("S-104 is for the client, or for a resource that the client may have: no request chooses another audience", async () => {
    const evil = "https://evil.example";
    const challenge = { response_type: "code", code_challenge: pkce().challenge, code_challenge_method: "S256" };
    const pairs = [
      [orders, evil],
      [evil, orders],
      [invoices, evil],
    ] as const;
    const forms: [string, Record<string, string>][] = [
      ["/oauth2/token", { grant_type: "client_credentials", scope: "profile" }],
      ["/oauth2/par", { ...challenge, redirect_uri: buyer.redirectUri, scope: "openid" }],
      ["/oauth2/device_authorization", { scope: "openid" }],
      ["/oauth2/token", await exchangeForm()],
      ["/oauth2/token", { grant_type: "refresh_token", refresh_token: (await buyerTokens())["refresh_token"] ?? "" }],
    ];
    for (const [path, form] of forms) {
      for (const resource of [evil, `${orders}/x`, `${orders}.evil.example`, "*", portal.clientId]) {
        const answer = await outcome(ask({ ...form, resource }, path));
        expect([path, form["grant_type"], resource, ...answer]).toEqual([
          path,
          form["grant_type"],
          resource,
          400,
          "invalid_target",
        ]);
      }
      for (const pair of pairs) {
        const twice = [...Object.entries(form), ...pair.map((resource): [string, string] => ["resource", resource])];
        expect([path, pair, ...(await outcome(ask(twice, path)))]).toEqual([path, pair, 400, "invalid_target"]);
      }
    }
    const asked = await new TestBrowser().get(authorizeUrl(app.url, { ...buyer, extra: { resource: evil } }));
    expect(new URL(asked.headers.get("location") ?? "").searchParams.get("error")).toBe("invalid_target");
    for (const [resource, second] of pairs) {
      const twice = await new TestBrowser().get(
        `${authorizeUrl(app.url, { ...buyer, extra: { resource } })}&resource=${second}`,
      );
      const told = new URL(twice.headers.get("location") ?? "").searchParams.get("error");
      expect([resource, second, told]).toEqual([resource, second, "invalid_target"]);
    }

    const audienceOf = async (answering: Promise<Response>) =>
      claimsOf(((await (await answering).json()) as { access_token: string }).access_token)["aud"];
    const own = { grant_type: "client_credentials", scope: "profile" };
    expect(await audienceOf(ask({ ...own, audience: evil, aud: evil }))).toBe("buyer");
    expect(await audienceOf(ask({ ...own, resource: orders }))).toBe(orders);
    expect(claimsOf((await buyerTokens({ audience: evil }))["access_token"] ?? "")["aud"]).toBe("buyer");
    const audiences = [orders, `${app.url}/userinfo`];
    expect(claimsOf((await buyerTokens({ resource: orders }))["access_token"] ?? "")["aud"]).toEqual(audiences);
    expect(await outcome(ask({ ...(await exchangeForm()), audience: evil }))).toEqual([400, "invalid_target"]);
  });

  async function exchangeForm(): Promise<Record<string, string>> {
    const { access_token: subject = "" } = await buyerTokens();
    return {
      grant_type: grants.exchange,
      subject_token: subject,
      subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
    };
  }

  it("S-112 may come from a clock 8 s ahead of ours and not 61 s, and is over when it is over", async () => {
    const claims = claimsOf((await getTokens(app.url, account)).access_token);
    const now = app.context.clock.seconds();
    const signed = (changes: object) =>
      app.context.keys.sign("access", "ES256", "at+jwt", { ...claims, ...changes }).token;
    expect((await me(signed({ iat: now + 8, nbf: now + 8, exp: now + 120 }))).status).toBe(200);
    for (const [changes, error] of [
      [{ iat: now + 61 }, "Invalid Token"],
      [{ nbf: now + 61 }, "Invalid Token"],
      [{ exp: now }, "Token Expired"],
      [{ exp: now - 9 }, "Token Expired"],
    ] as const) {
      expect([changes, ...(await outcome(me(signed(changes))))]).toEqual([changes, 401, error]);
    }
  });

  it("S-118 of a deleted account is not valid for a new account with the same address", async () => {
    const first = await signUp(app.url);
    const tokens = await getTokens(app.url, first);
    await deleteUser(app.context, first.uuid);
    const second = await signUp(app.url, { email: first.email });
    expect(second.uuid).not.toBe(first.uuid);
    expect(await outcome(me(tokens.access_token))).toEqual([401, "Invalid Token"]);
    expect(await outcome(refresh(app.url, tokens.refresh_token))).toEqual([401, "invalid_grant"]);
    expect(await introspectSettled(app.url, tokens.access_token)).toEqual({ active: false });
    const step = await tokens.browser.get(authorizeUrl(app.url));
    expect(new URL(step.headers.get("location") ?? "", app.url).pathname).toBe("/login");
    expect(claimsOf((await getTokens(app.url, second)).access_token)["sub"]).toBe(second.uuid);
  });
});

describe("the signing keys", () => {
  it("S-116 are published with public members alone, cacheable, for browsers of every origin", async () => {
    const response = await fetch(`${app.url}/oauth2/jwks`, { headers: { origin: "https://any.example" } });
    expect(response.headers.get("content-type")).toMatch(/^application\/(jwk-set\+)?json/);
    expect(response.headers.get("cache-control")).toBe("public, max-age=300");
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
    expect(response.headers.get("vary")).toBeNull();
    const { keys } = (await response.json()) as { keys: Record<string, string>[] };
    const members = { EC: ["alg", "crv", "kid", "kty", "use", "x", "y"], RSA: ["alg", "e", "kid", "kty", "n", "use"] };
    for (const key of keys) {
      expect(Object.keys(key).sort()).toEqual(members[key["kty"] as keyof typeof members]);
      expect(key["use"]).toBe("sig");
    }
    expect(keys.map(({ kty, alg, crv }) => [kty, alg, crv])).toEqual([
      ["EC", "ES256", "P-256"],
      ["RSA", "RS256", undefined],
    ]);
    for (const { n } of keys)
      if (n !== undefined) expect(Buffer.from(n, "base64url").length).toBeGreaterThanOrEqual(256);
    expect(new Set(keys.map(({ kid }) => kid)).size).toBe(keys.length);
    const etag = response.headers.get("etag") ?? "";
    const again = await fetch(`${app.url}/oauth2/jwks`, { headers: { "if-none-match": etag } });
    expect([again.status, await again.text(), again.headers.get("etag")]).toEqual([304, "", etag]);
    const other = await fetch(`${app.url}/oauth2/jwks`, { headers: { "if-none-match": '"other"' } });
    expect(other.status).toBe(200);
  });

  it("S-117 have one algorithm each, and their private members are in no table, log line, metric or page", async () => {
    const stored = await app.context.store.keys.list();
    expect(stored.map(({ use, alg }) => `${use} ${alg}`).sort()).toEqual([
      "access ES256",
      "access RS256",
      "refresh EdDSA",
    ]);
    const sealer = new Sealer(keysFor("sealing", app.secrets.keyEncryptionKeys));
    const secrets = stored.flatMap(({ kid, sealedPrivateJwk }) => {
      const { d, p, q, dp, dq, qi } = JSON.parse(sealer.open(sealedPrivateJwk, kid).toString()) as Record<
        string,
        string
      >;
      return [d, p, q, dp, dq, qi].filter((member) => member !== undefined);
    });
    expect(secrets.length).toBe(1 + 1 + 6);
    const file = app.secrets.databaseUrl.slice("sqlite:".length);
    const files = [file, `${file}-wal`].filter((each) => existsSync(each)).map((each) => readFileSync(each));
    const pages = ["/metrics", "/readyz", "/heapdump", "/debug/pprof/heap", "/json/list"].map(
      (path) => app.internalUrl + path,
    );
    const bodies = await Promise.all(
      [...pages, `${app.url}/oauth2/jwks`, `${app.url}/debug/pprof/heap`].map(async (url) => (await fetch(url)).text()),
    );
    const texts = [...files, Buffer.from(app.logs.join("")), Buffer.from(bodies.join("\n"))];
    for (const text of texts) {
      expect(
        secrets.filter((secret) => text.includes(secret) || text.includes(Buffer.from(secret, "base64url"))),
      ).toEqual([]);
    }
    expect(files[0]?.includes(stored[0]?.kid ?? "") || files[1]?.includes(stored[0]?.kid ?? "")).toBe(true);
  });
});
