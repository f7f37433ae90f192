import { randomBytes } from "node:crypto";
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { IntrospectionService } from "../../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../../gen/auth/v1/token_pb.ts";
import { introspect as decide } from "../../../src/oauth/tokens/introspection.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  type Account,
  claimsOf,
  getCode,
  getTokens,
  internalBasic,
  introspect,
  introspectSettled,
  portal,
  postForm,
  refresh,
  signUp,
  type Tokens,
} from "../../support/flow.ts";
import { heapInUse } from "../../support/heap.ts";
import { rowsOf } from "../../support/sqlite.ts";

const [orders, invoices] = ["https://orders.example", "https://invoices.example"];
const server = { grant_types: ["client_credentials"], scope: "auth.introspect" };
const web = { clientId: "web", redirectUri: "https://web.example/cb", scope: "openid profile" };
const clients = [
  { client_id: "orders", client_secret: "secret-of-orders", resource_server_for: [orders], ...server },
  { client_id: "invoices", client_secret: "secret-of-invoices", resource_server_for: [invoices], ...server },
  { client_id: "limited", client_secret: "secret-of-limited", ...server },
  { client_id: "unscoped", client_secret: "secret-of-unscoped", grant_types: ["client_credentials"], scope: "read" },
  {
    client_id: "serving",
    client_secret: "secret-of-serving",
    grant_types: ["client_credentials"],
    scope: "read",
    resource_server_for: [orders],
  },
  {
    client_id: "posting",
    client_secret: "secret-of-posting",
    token_endpoint_auth_method: "client_secret_post",
    ...server,
  },
  {
    client_id: "web",
    client_secret: "secret-of-web",
    redirect_uris: [web.redirectUri],
    scope: "openid profile auth.introspect",
    first_party: true,
    resources: [orders, invoices],
  },
  { client_id: "spa", redirect_uris: ["https://spa.example/cb"], scope: "openid profile", first_party: true },
];
const basicOf = (id: string) => `Basic ${btoa(`${id}:secret-of-${id}`)}`;

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

const endpoint = () => `${app.url}/oauth2/introspect`;
const ask = (form: Record<string, string>, headers: Record<string, string> = {}, url = endpoint()) =>
  postForm(url, form, headers);
const raw = async (token: string, by = "web") => (await ask({ token }, { authorization: basicOf(by) })).text();
async function webTokens(extra: Record<string, string> = {}): Promise<Tokens> {
  const { code, verifier } = await getCode(app.url, account, { ...web, extra });
  const form = { grant_type: "authorization_code", code, code_verifier: verifier };
  return (await (await postForm(`${app.url}/oauth2/token`, form, { authorization: basicOf("web") })).json()) as Tokens;
}
const inactive = '{"active":false}';

describe("introspection", () => {
  it("S-130 is for authenticated confidential clients, by POST, of a token in the body", async () => {
    const { access_token: token } = await getTokens(app.url, account);
    const authorization = basicOf("orders");
    const nobody = await ask({ token });
    expect([nobody.status, await nobody.json()]).toMatchObject([401, { error: "invalid_client" }]);
    for (const client_id of ["spa", portal.clientId, "nobody"]) {
      const answer = await ask({ token, client_id });
      expect([client_id, answer.status, await answer.json()]).toMatchObject([
        client_id,
        401,
        { error: "invalid_client" },
      ]);
    }
    const bearer = await ask({ token }, { authorization: `Bearer ${token}` });
    expect([bearer.status, await bearer.json()]).toEqual([403, { error: "Forbidden" }]);
    const unscoped = await ask({ token }, { authorization: basicOf("unscoped") });
    expect([unscoped.status, await unscoped.text()]).toEqual([200, inactive]);
    for (const method of ["GET", "PUT", "DELETE", "HEAD"]) {
      const answer = await fetch(`${endpoint()}?token=${token}`, { method, headers: { authorization } });
      expect([method, answer.status, answer.headers.get("allow")]).toEqual([method, 405, "POST"]);
    }
    const inUrl = `${endpoint()}?token=${token}`;
    for (const form of [{}, { token: "x" }] as Record<string, string>[]) {
      expect(await (await ask(form, { authorization }, inUrl)).text()).toBe(inactive);
    }
    const wrong = { authorization: `Basic ${btoa("orders:wrong")}` };
    const [good, bad] = [await ask({ token }, wrong), await ask({ token: "x" }, wrong)];
    expect([bad.status, await bad.text()]).toEqual([good.status, await good.text()]);
  });

  it("C-63 answers a client without auth.introspect about its own tokens and those for a resource it serves, and about no others", async () => {
    const form = { grant_type: "client_credentials", scope: "read" };
    const own = await postForm(`${app.url}/oauth2/token`, form, { authorization: basicOf("unscoped") });
    const { access_token: mine } = (await own.json()) as Tokens;
    expect(JSON.parse(await raw(mine, "unscoped"))).toMatchObject({ active: true, client_id: "unscoped" });
    const { access_token: others } = await getTokens(app.url, account);
    expect([await raw(others, "unscoped"), JSON.parse(await raw(others, "limited"))]).toMatchObject([
      inactive,
      { active: true },
    ]);
    const { access_token: served } = await webTokens({ resource: orders });
    expect(JSON.parse(await raw(served, "serving"))).toMatchObject({
      active: true,
      aud: [orders, `${app.url}/userinfo`],
    });
    expect(await raw(served, "unscoped")).toBe(inactive);
  });

  it("C-71 remembers no Authorization header that did not authenticate", async () => {
    const { access_token: token } = await getTokens(app.url, account);
    const authorization = "Whatever dGhlIHZhbHVl";
    const byBody = await ask({ token, client_id: "posting", client_secret: "secret-of-posting" }, { authorization });
    expect(JSON.parse(await byBody.text())).toMatchObject({ active: true });
    const without = await ask({ token }, { authorization });
    expect([without.status, await without.json()]).toMatchObject([400, { error: "invalid_request" }]);
    const overConnect = await fetch(`${app.internalUrl}/auth.v1.IntrospectionService/Introspect`, {
      method: "POST",
      headers: { authorization, "content-type": "application/json" },
      body: JSON.stringify({ token }),
    });
    expect(overConnect.status).toBe(401);
  });

  it("S-131 answers all claims of a valid token, and only active: false for any other", async () => {
    const tokens = await webTokens();
    const claims = claimsOf(tokens.access_token);
    const { iss, sub, exp, iat, jti, sid } = claims;
    expect(JSON.parse(await raw(tokens.access_token))).toEqual({
      active: true,
      scope: "openid profile",
      client_id: "web",
      username: account.nickname,
      token_type: "Bearer",
      ...{ iss, sub, exp, iat, jti, sid },
      aud: ["web"],
      roles: ["ROLE_USER"],
      nickname: account.nickname,
      auth_time: expect.any(Number),
      acr: "urn:auth-service:acr:password",
      amr: ["pwd"],
    });
    const renewal = JSON.parse(await raw(tokens.refresh_token)) as Record<string, unknown>;
    expect(renewal).toMatchObject({ active: true, token_type: "refresh_token", client_id: "web", sub: account.uuid });

    const dead = await webTokens();
    const form = { token: dead.refresh_token };
    expect((await postForm(`${app.url}/oauth2/revoke`, form, { authorization: basicOf("web") })).status).toBe(200);
    await introspectSettled(app.url, dead.access_token);
    const [head, body, tail = ""] = tokens.access_token.split(".");
    const foreign = [
      head,
      Buffer.from(JSON.stringify({ ...claims, iss: "https://other.example" })).toString("base64url"),
      tail,
    ];
    for (const token of [
      dead.access_token,
      dead.refresh_token,
      tokens.id_token,
      foreign.join("."),
      `${head}.${body}.${tail.slice(1)}`,
      "malformed",
      "..",
      " ",
      "",
      (await getTokens(app.url, account)).refresh_token,
    ]) {
      expect([token.slice(0, 30), await raw(token)]).toEqual([token.slice(0, 30), inactive]);
    }
    app.clock.shift = 121_000;
    expect(await raw(tokens.access_token)).toBe(inactive);
    app.clock.shift = 31 * 86_400_000;
    expect(await raw(tokens.refresh_token)).toBe(inactive);
  });

  it("S-132 answers inactive to a resource server about a token for another one, over HTTP and gRPC", async () => {
    const { introspect: overGrpc, authorize } = createClient(
      IntrospectionService,
      createGrpcTransport({ baseUrl: `http://${app.grpc}`, idleConnectionTimeoutMs: 100 }),
    );
    const tokens = {
      orders: (await webTokens({ resource: orders })).access_token,
      invoices: (await webTokens({ resource: invoices })).access_token,
    };
    for (const [of, token] of Object.entries(tokens)) {
      for (const by of ["orders", "invoices", "limited", "web"]) {
        const headers = { authorization: basicOf(by) };
        const answers = [
          (JSON.parse(await raw(token, by)) as { active: boolean }).active,
          (await overGrpc({ token }, { headers })).active,
          (await authorize({ token }, { headers })).allowed,
        ];
        expect([of, by, ...answers]).toEqual([of, by, of === by, of === by, of === by]);
        if (of !== by) expect(await raw(token, by)).toBe(inactive);
      }
    }
  });

  it("S-139 leaves nothing behind of 100,000 random tokens, and answers them all alike", async () => {
    const caller = await app.context.clients.find("orders");
    if (caller === null) throw new Error("no caller");
    const { access_token } = await getTokens(app.url, account);
    const [head, body] = access_token.split(".");
    const random = (n: number) => {
      const bytes = randomBytes(24).toString("base64url");
      // one in ten is well-formed, down to a signature that has to be checked
      if (n % 10 === 0) return `${head}.${body}.${randomBytes(64).toString("base64url")}`;
      return n % 2 === 0 ? bytes : `${bytes}.${bytes}.${bytes}`;
    };
    const tables = () =>
      rowsOf<{ name: string }>(
        app,
        // jobs take leases meanwhile
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'lease'",
      ).map(({ name }) => [name, rowsOf<{ n: number }>(app, `SELECT COUNT(*) AS n FROM "${name}"`)[0]?.n]);
    const flood = async (count: number) => {
      for (let n = 0; n < count; n++) {
        const answer = await decide(app.context, { client: caller, scopes: new Set(["auth.introspect"]) }, random(n));
        if (answer.active) throw new Error("a random token is active");
      }
    };
    for (let n = 0; n < 300; n++) expect(await raw(random(n), "orders")).toBe(inactive);
    const [rows, lines] = [tables(), app.logs.length];
    await flood(10_000);
    const before = heapInUse();
    await flood(90_000);
    // a token that is remembered takes a kilobyte and more: these would be 90 MB
    expect(heapInUse() - before).toBeLessThan(20 * 1024 * 1024);
    expect(tables()).toEqual(rows);
    expect(app.logs.length - lines).toBeLessThan(50);
  });

  it("S-139 refuses a caller that asks more than CALLER_RATE_LIMIT a second over gRPC and HTTP, and a network more than RATE_LIMIT_PER_MINUTE", async () => {
    const limited = await startApp({ CALLER_RATE_LIMIT: "20", RATE_LIMIT_PER_MINUTE: "250" }, clients);
    try {
      const { introspect: overGrpc } = createClient(
        IntrospectionService,
        createGrpcTransport({ baseUrl: `http://${limited.grpc}`, idleConnectionTimeoutMs: 100 }),
      );
      const by = (id: string) => ({ headers: { authorization: basicOf(id) } });
      // 20, and 20 more for each second that the calls take
      let from = performance.now();
      const fewest = () => 200 - 20 * Math.ceil(1 + (performance.now() - from) / 1_000);
      const answers = await Promise.allSettled(
        Array.from({ length: 200 }, () => overGrpc({ token: randomBytes(24).toString("base64url") }, by("limited"))),
      );
      const refused = answers.filter(({ status }) => status === "rejected") as PromiseRejectedResult[];
      expect(refused.length).toBeGreaterThanOrEqual(fewest());
      for (const { reason } of refused) expect(reason).toMatchObject({ code: Code.ResourceExhausted });
      expect((await overGrpc({ token: "x" }, by("orders"))).active).toBe(false);
      const overHttp = (id: string) =>
        ask(
          { token: randomBytes(24).toString("base64url") },
          { authorization: basicOf(id) },
          `${limited.url}/oauth2/introspect`,
        );
      from = performance.now();
      const overLimit = await Promise.all(Array.from({ length: 200 }, () => overHttp("limited")));
      const tooMany = overLimit.filter(({ status }) => status === 429);
      expect(tooMany.length).toBeGreaterThanOrEqual(fewest());
      expect(tooMany[0]?.headers.get("retry-after")).toBe("1");
      expect(await tooMany[0]?.json()).toMatchObject({ error: "temporarily_unavailable" });
      expect((await overHttp("orders")).status).toBe(200);
      const ofNetwork = await Promise.all(Array.from({ length: 60 }, () => overHttp("web")));
      const byNetwork = ofNetwork.filter(({ headers }) => Number(headers.get("retry-after")) > 1);
      expect(byNetwork).toHaveLength(11);
    } finally {
      await limited.close();
    }
  });
});

describe("revocation", () => {
  const revoke = (form: Record<string, string>, headers: Record<string, string> = {}) =>
    postForm(`${app.url}/oauth2/revoke`, form, headers);

  it("S-134 answers 200 to whatever it is sent, with any hint and twice, and ends the whole grant with its refresh token", async () => {
    const tokens = await webTokens();
    const by = { authorization: basicOf("web") };
    const form = { grant_type: "refresh_token", refresh_token: tokens.refresh_token };
    const renewed = (await (await postForm(`${app.url}/oauth2/token`, form, by)).json()) as Tokens;
    for (const token of ["unknown", "..", tokens.id_token, randomBytes(24).toString("base64url")]) {
      expect((await revoke({ token }, by)).status).toBe(200);
    }
    for (const { access_token } of [tokens, renewed]) {
      expect(await introspect(app.url, access_token)).toMatchObject({ active: true });
    }
    for (const token_type_hint of ["access_token", "access_token", "nonsense"]) {
      const answer = await revoke({ token: renewed.refresh_token, token_type_hint }, by);
      expect([answer.status, await answer.text()]).toEqual([200, ""]);
    }
    for (const { access_token } of [tokens, renewed]) {
      expect(await introspectSettled(app.url, access_token)).toEqual({ active: false });
    }
    const again = await postForm(`${app.url}/oauth2/token`, { ...form, refresh_token: renewed.refresh_token }, by);
    expect([again.status, await again.json()]).toMatchObject([400, { error: "invalid_grant" }]);
  });

  it("S-135 leaves a token alone that another client sends, whoever that is", async () => {
    const ofWeb = await webTokens();
    const ofPortal = await getTokens(app.url, account);
    const others: [Tokens, Record<string, string>, Record<string, string>][] = [
      [ofWeb, { client_id: "spa" }, {}],
      [ofWeb, {}, { authorization: basicOf("orders") }],
      [ofWeb, {}, { authorization: internalBasic }],
      [ofPortal, { client_id: "spa" }, {}],
      [ofPortal, {}, { authorization: basicOf("web") }],
    ];
    for (const [tokens, form, headers] of others) {
      for (const token of [tokens.access_token, tokens.refresh_token]) {
        expect((await revoke({ token, ...form }, headers)).status).toBe(200);
      }
    }
    for (const { access_token } of [ofWeb, ofPortal]) {
      expect(await introspect(app.url, access_token)).toMatchObject({ active: true });
    }
    expect((await refresh(app.url, ofPortal.refresh_token)).status).toBe(200);
    expect(JSON.parse(await raw(ofWeb.refresh_token))).toMatchObject({ active: true });
  });

  it("S-134 S-135 ends a grant over gRPC for its client alone, with any hint and twice", async () => {
    const transport = createGrpcTransport({ baseUrl: `http://${app.grpc}`, idleConnectionTimeoutMs: 100 });
    const { revokeToken } = createClient(TokenService, transport);
    const operator = { headers: { authorization: internalBasic } };
    const tokens = await webTokens();
    const [spa, orders, web] = ["spa", "orders", "web"].map((clientId) => ({
      clientId,
      clientSecret: clientId === "spa" ? "" : `secret-of-${clientId}`,
    }));
    for (const other of [spa, orders, {}]) {
      for (const token of [tokens.access_token, tokens.refresh_token]) await revokeToken({ token, ...other }, operator);
    }
    for (const token of ["unknown", "..", tokens.id_token]) await revokeToken({ token, ...web }, operator);
    expect(await introspect(app.url, tokens.access_token)).toMatchObject({ active: true });
    expect(JSON.parse(await raw(tokens.refresh_token))).toMatchObject({ active: true });
    for (const tokenTypeHint of ["access_token", "nonsense"]) {
      await revokeToken({ token: tokens.refresh_token, tokenTypeHint, ...web }, operator);
    }
    expect(await introspectSettled(app.url, tokens.access_token)).toEqual({ active: false });
    const form = { grant_type: "refresh_token", refresh_token: tokens.refresh_token };
    const refused = await postForm(`${app.url}/oauth2/token`, form, { authorization: basicOf("web") });
    expect([refused.status, await refused.json()]).toMatchObject([400, { error: "invalid_grant" }]);
  });
});

describe("the use of an access token", () => {
  it("S-137 S-138 is one Authorization header or one body, never the query, at its own audience", async () => {
    const { access_token: token } = await getTokens(app.url, account);
    const get = (path: string, authorization?: string) =>
      fetch(app.url + path, { headers: authorization === undefined ? {} : { authorization } });
    for (const path of ["/userinfo", "/api/users/me"]) {
      for (const scheme of ["Bearer ", "bearer ", "BEARER ", "bEaReR  ", "Bearer   "]) {
        expect([path, scheme, (await get(path, scheme + token)).status]).toEqual([path, scheme, 200]);
      }
      for (const [header, error] of [
        [undefined, "Unauthorized"],
        [`Bearer\t${token}`, "Invalid Token"],
        [`Bearer ${token} ${token}`, "Invalid Token"],
        [`Bearer ${token}, Bearer ${token}`, "Invalid Token"],
        [`Bearer${token}`, "Invalid Token"],
        ["Bearer", "Invalid Token"],
        [token, "Invalid Token"],
      ] as const) {
        const answer = await get(path, header);
        expect([path, header, answer.status, await answer.json()]).toEqual([path, header, 401, { error }]);
        const challenge = answer.headers.get("www-authenticate") ?? "";
        if (header === undefined) expect(challenge).toBe("Bearer");
        else expect(challenge).toContain('error="invalid_token"');
      }
      const inQuery = await get(`${path}?access_token=${token}`);
      expect([inQuery.status, inQuery.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
      expect((await get(`${path}?access_token=x`, `Bearer ${token}`)).status).toBe(200);
    }
    const twice = await postForm(`${app.url}/userinfo`, { access_token: token }, { authorization: `Bearer ${token}` });
    expect([twice.status, await twice.json()]).toMatchObject([400, { error: "invalid_request" }]);

    // userinfo takes the token of every openid request (C-51), the account API only those for the client itself
    const elsewhere = (await webTokens({ resource: orders })).access_token;
    const answer = await get("/api/users/me", `Bearer ${elsewhere}`);
    expect([answer.status, await answer.json()]).toEqual([401, { error: "Invalid Token" }]);
    expect(answer.headers.get("www-authenticate")).toContain('error="invalid_token"');
  });
});
