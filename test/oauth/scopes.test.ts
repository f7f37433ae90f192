import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, startReplicas, type TestApp } from "../support/app.ts";
import {
  type Account,
  authorizeUrl,
  claimsOf,
  getCode,
  getTokens,
  hiddenFields,
  postForm,
  postJson,
  redeem,
  signUp,
  TestBrowser,
  type Tokens,
} from "../support/flow.ts";

const orders = "https://orders.example";
const invoices = "https://invoices.example";
const catalogue = [
  {
    scope: "orders.read",
    description: { en: "see your orders & invoices", ko: "주문 내역 보기" },
    resource: orders,
    who: "anyone",
  },
  { scope: "invoices.pay", description: { en: "pay your invoices" }, resource: invoices },
  { scope: "membership", description: { en: "see your roles" }, claims: ["roles"], listed: true },
  { scope: "inner", description: { en: "look inside" }, who: "first_party" },
  { scope: "vip", description: { en: "be served first" }, who: ["shop"] },
];
const everything = `openid read ${catalogue.map(({ scope }) => scope).join(" ")}`;
const redirectUri = "https://app.example/cb";
const clients = ["shop", "other"].map((client_id) => ({
  client_id,
  redirect_uris: [redirectUri],
  grant_types: ["authorization_code", "refresh_token"],
  scope: everything,
  first_party: client_id === "other",
}));
const exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
const machine = {
  client_secret: "a secret of 32 characters or more",
  grant_types: ["client_credentials", exchange],
  scope: "read write orders.read",
  resources: ["https://api.example"],
  resource_server_for: [orders],
  token_exchange_audiences: ["stock", orders],
};
const machines = [
  { ...machine, client_id: "machine" },
  { ...machine, client_id: "narrow", scope: "orders.read" },
  { ...machine, client_id: "both", scope: "openid profile read" },
];

let app: TestApp;
let account: Account & { uuid: string };
beforeAll(async () => {
  const file = join(mkdtempSync(join(tmpdir(), "scopes-")), "scopes.json");
  writeFileSync(file, JSON.stringify(catalogue));
  app = await startApp({ SCOPES_FILE: file, OPEN_REGISTRATION: "1" }, [...clients, ...machines]);
  account = await signUp(app.url);
});
afterAll(() => app.close());

const other = { clientId: "other", redirectUri };
const errorOf = async (scope: string, clientId = "other", extra: Record<string, string> = {}) => {
  const response = await new TestBrowser().get(authorizeUrl(app.url, { clientId, redirectUri, scope, extra }));
  const url = new URL(response.headers.get("location") ?? "", app.url);
  return url.searchParams.get("error") ?? url.pathname;
};

describe("the catalogue of scopes", () => {
  it("says on the consent page what an application can do, in the reader's language, in English where it has none", async () => {
    for (const [language, texts] of [
      ["en", ["see your orders &amp; invoices", "be served first"]],
      ["ko", ["주문 내역 보기", "be served first"]],
    ] as const) {
      const browser = new TestBrowser({ "accept-language": language });
      const { location } = await getCode(app.url, account, {
        ...{ clientId: "shop", redirectUri, scope: "openid orders.read vip", browser },
      });
      expect(location.pathname).toBe("/consent");
      const page = await (await browser.get(location.href)).text();
      for (const text of texts) expect(page).toContain(text);
    }
  });

  it("gives a scope to whom it is for, and to no other client, whatever its registration says", async () => {
    expect(await errorOf("openid vip", "shop")).toBe("/login");
    expect(await errorOf("openid vip", "other")).toBe("invalid_scope");
    expect(await errorOf("openid inner", "other")).toBe("/login");
    expect(await errorOf("openid inner", "shop")).toBe("invalid_scope");
    // a request that names no scope asks for what the client may have
    const tokens = await getTokens(app.url, account, { ...other, scope: "openid read inner membership" });
    expect(tokens.scope).toBe("openid read inner membership");
  });

  it("warns at start of clients that are registered for a scope which is not for them", () => {
    const told = app.logs.map((line) => JSON.parse(line)).filter(({ event }) => event === "scopes_kept");
    expect(told.map(({ client_id, scopes }) => [client_id, scopes])).toEqual([
      ["other", ["vip"]],
      ["shop", ["inner"]],
    ]);
  });

  it("is only in tokens for the resource that a scope belongs to, which it stands for where a request names none", async () => {
    const tokens = await getTokens(app.url, account, { ...other, scope: "openid orders.read read" });
    expect(claimsOf(tokens.access_token)["aud"]).toEqual([orders, `${app.url}/userinfo`]);
    expect(tokens.scope).toBe("openid orders.read read");
    expect(await errorOf("openid orders.read", "other", { resource: invoices })).toBe("invalid_scope");
    expect(await errorOf("openid orders.read", "other", { resource: "https://unknown.example" })).toBe(
      "invalid_target",
    );
  });

  it("leaves the scopes of other resources out of a token for one of several", async () => {
    const scope = "openid orders.read invoices.pay read";
    const { code, verifier } = await getCode(app.url, account, { ...other, scope });
    const first = await redeem(app.url, code, verifier, {
      ...{ client_id: "other", redirect_uri: redirectUri, resource: orders },
    });
    const tokens = (await first.json()) as Tokens;
    expect([first.status, tokens.scope]).toEqual([200, "openid orders.read read"]);
    expect(claimsOf(tokens.access_token)).toMatchObject({ scope: "openid orders.read read" });
    const refresh = async (more: Record<string, string>) => {
      const form = { grant_type: "refresh_token", refresh_token: tokens.refresh_token, client_id: "other", ...more };
      const response = await postForm(`${app.url}/oauth2/token`, form);
      const body = (await response.json()) as Tokens & { error?: string };
      if (body.refresh_token !== undefined) tokens.refresh_token = body.refresh_token;
      return [response.status, body.error ?? body.scope];
    };
    expect(await refresh({ resource: `${invoices}/` })).toEqual([200, "openid invoices.pay read"]);
    expect(await refresh({ resource: invoices, scope: "orders.read" })).toEqual([400, "invalid_scope"]);
    expect(await refresh({})).toEqual([200, scope]);
  });

  it("does not change what a token is for where its request names no scope", async () => {
    const ask = async (clientId: string, more: Record<string, string>) => {
      const authorization = `Basic ${btoa(`${clientId}:${encodeURIComponent(machine.client_secret)}`)}`;
      const form = { grant_type: "client_credentials", ...more };
      const response = await postForm(`${app.url}/oauth2/token`, form, { authorization });
      const { access_token, scope, error } = (await response.json()) as Tokens & { error?: string };
      return error ?? [scope, claimsOf(access_token)["aud"]];
    };
    expect(await ask("machine", {})).toEqual(["read write", "machine"]);
    expect(await ask("machine", { resource: "https://api.example" })).toEqual(["read write", "https://api.example"]);
    expect(await ask("machine", { resource: `${orders}/` })).toEqual(["read write orders.read", orders]);
    expect(await ask("machine", { scope: "read orders.read" })).toEqual(["read orders.read", orders]);
    expect(await ask("narrow", {})).toEqual(["orders.read", orders]);
    expect(await ask("narrow", { resource: "https://api.example" })).toBe("invalid_scope");
  });

  it("C-13 leaves out of refreshed tokens what the file gave to a resource since; who has nothing left is to sign in again", async () => {
    const DATABASE_URL = `sqlite:${join(mkdtempSync(join(tmpdir(), "scopes-")), "auth.sqlite")}`;
    const SCOPES_FILE = app.env["SCOPES_FILE"] ?? "";
    const replicas = await startReplicas(
      2,
      { DATABASE_URL },
      clients,
      (n): Record<string, string> => (n === 0 ? {} : { SCOPES_FILE }),
    );
    const [before, after] = replicas.map(({ url }) => url);
    const someone = await signUp(before ?? "");
    const renewedAfter = async (scope: string) => {
      const { refresh_token = "" } = await getTokens(before ?? "", someone, { ...other, scope });
      const refreshed = { grant_type: "refresh_token", client_id: "other", refresh_token };
      const answer = await postForm(`${after}/oauth2/token`, refreshed);
      const { scope: left, error } = (await answer.json()) as { scope?: string; error?: string };
      return [answer.status, left ?? error];
    };
    try {
      expect(await renewedAfter("openid orders.read")).toEqual([200, "openid"]);
      expect(await renewedAfter("orders.read")).toEqual([401, "invalid_grant"]);
    } finally {
      await Promise.all(replicas.map((replica) => replica.close()));
    }
  });

  it("leaves the scopes of other resources out of an exchanged token", async () => {
    const authorization = `Basic ${btoa(`machine:${encodeURIComponent(machine.client_secret)}`)}`;
    const subject = await postForm(
      `${app.url}/oauth2/token`,
      { grant_type: "client_credentials", scope: "read orders.read" },
      { authorization },
    );
    const { access_token } = (await subject.json()) as Tokens;
    const exchanged = async (more: Record<string, string>) => {
      const subjectToken = {
        subject_token: access_token,
        subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
      };
      const form = { grant_type: exchange, ...subjectToken, ...more };
      const response = await postForm(`${app.url}/oauth2/token`, form, { authorization });
      const body = (await response.json()) as Tokens & { error?: string };
      return body.error ?? body.scope;
    };
    expect(await exchanged({ audience: "stock" })).toBe("read");
    expect(await exchanged({ resource: orders })).toBe("read orders.read");
    expect(await exchanged({ audience: "stock", scope: "orders.read" })).toBe("invalid_scope");
  });

  it("releases the claims of a scope at userinfo", async () => {
    const claims = async (scope: string) => {
      const { access_token } = await getTokens(app.url, account, { ...other, scope });
      const response = await fetch(`${app.url}/userinfo`, { headers: { authorization: `Bearer ${access_token}` } });
      return response.json();
    };
    expect(await claims("openid membership")).toEqual({ sub: account.uuid, roles: ["ROLE_USER"] });
    expect(await claims("openid read")).toEqual({ sub: account.uuid });
  });

  it("lists in discovery what anyone may ask for, and what the file says", async () => {
    const metadata = await (await fetch(`${app.url}/.well-known/openid-configuration`)).json();
    const { scopes_supported: listed } = metadata as { scopes_supported: string[] };
    const known = catalogue.map(({ scope }) => scope).filter((scope) => listed.includes(scope));
    expect(known).toEqual(["orders.read", "membership"]);
  });

  it("lets a client that registers itself have the scopes for anyone, and never another one of the catalogue", async () => {
    const register = async (scope?: string) => {
      const metadata = { redirect_uris: [redirectUri], token_endpoint_auth_method: "none", scope };
      const response = await postJson(`${app.url}/oauth2/register`, metadata);
      return { status: response.status, body: (await response.json()) as Record<string, string> };
    };
    const open = await register();
    expect([open.status, open.body["scope"]?.split(" ").includes("orders.read")]).toEqual([201, true]);
    expect(open.body["scope"]).not.toMatch(/membership|inner|vip|invoices/);
    for (const scope of ["openid membership", "vip"]) {
      expect(await register(scope)).toMatchObject({ status: 400, body: { error: "invalid_client_metadata" } });
    }
    expect(await errorOf("openid orders.read", open.body["client_id"])).toBe("/login");
    const page = new TestBrowser();
    const { location } = await getCode(app.url, account, {
      ...{ clientId: open.body["client_id"] ?? "", redirectUri, scope: "openid orders.read", browser: page },
    });
    const html = await (await page.get(location.href)).text();
    expect(html).toContain("see your orders &amp; invoices");
    expect(hiddenFields(html)["request"]).toBeDefined();
  });

  it("a client that signs users in too gets, by client credentials and without naming a scope, all of its scopes but openid", async () => {
    const token = (scope: Record<string, string>) => {
      const form = { grant_type: "client_credentials", client_id: "both", client_secret: machine.client_secret };
      return postForm(`${app.url}/oauth2/token`, { ...form, ...scope });
    };
    expect(await (await token({})).json()).toMatchObject({ scope: "profile read" });
    const asked = await token({ scope: "openid read" });
    expect([asked.status, await asked.json()]).toEqual([400, expect.objectContaining({ error: "invalid_scope" })]);
  });
});
