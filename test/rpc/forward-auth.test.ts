import { Code, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { HeaderValueOption_HeaderAppendAction as AppendAction } from "../../gen/envoy/config/core/v3/base_pb.ts";
import { Authorization } from "../../gen/envoy/service/auth/v3/external_auth_pb.ts";
import { AuthError } from "../../src/errors.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { getTokens, internalBasic, postForm, signUp } from "../support/flow.ts";

const orders = "https://orders.example.com";
const secret = "a secret of at least thirty-two characters";
const client = (client_id: string, more: object = {}) => ({
  client_id,
  client_secret: secret,
  grant_types: ["client_credentials"],
  scope: "orders.read orders.write",
  resources: [orders],
  ...more,
});

describe("GET /authorize-request", () => {
  let app: TestApp;
  let own: string;
  let forOrders: string;
  beforeAll(async () => {
    app = await startApp({}, [client("shop"), client("envoy", { scope: "auth.introspect" })]);
    own = await tokenOf({});
    forOrders = await tokenOf({ resource: orders, scope: "orders.read" });
  });
  afterAll(() => app.close());

  async function tokenOf(more: Record<string, string>): Promise<string> {
    const authorization = `Basic ${Buffer.from(`shop:${encodeURIComponent(secret)}`).toString("base64")}`;
    const answer = await postForm(
      `${app.url}/oauth2/token`,
      { grant_type: "client_credentials", ...more },
      { authorization },
    );
    return ((await answer.json()) as { access_token: string }).access_token;
  }

  async function ask(path: string, token: string | null, init: RequestInit = {}) {
    const headers = { ...(init.headers as object), ...(token === null ? {} : { authorization: `Bearer ${token}` }) };
    const answer = await fetch(`${app.internalUrl}/authorize-request${path}`, { ...init, headers });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, error: text === "" ? null : JSON.parse(text).error };
  }

  it("lets a good token through, and says whose it is in all of its headers", async () => {
    const { status, headers, error } = await ask(`?scope=orders.read&audience=${orders}`, forOrders);
    expect([status, error, headers.get("cache-control")]).toEqual([200, null, "no-store"]);
    const names = ["subject", "client", "scope", "audience", "roles"].map((name) => headers.get(`x-auth-${name}`));
    expect(names).toEqual(["shop", "shop", "orders.read", orders, ""]);
    const user = await signUp(app.url);
    const { access_token } = await getTokens(app.url, user);
    const { headers: ofUser } = await ask("", access_token);
    expect([ofUser.get("x-auth-subject"), ofUser.get("x-auth-client")]).toEqual([user.uuid, "portal-client"]);
    expect(ofUser.get("x-auth-roles")).toBe("ROLE_USER");
  });

  it("refuses by the gateway's table", async () => {
    const expected: [string, string | null, number, string, string][] = [
      ["", null, 401, "Unauthorized", "Bearer"],
      ["", "nonsense", 401, "Invalid Token", "invalid_token"],
      ["", forOrders, 401, "Invalid Token", "invalid_token"],
      [`?audience=${orders}`, own, 401, "Invalid Token", "invalid_token"],
      ["?audience=https://other.example", forOrders, 401, "Invalid Token", "invalid_token"],
      [`?audience=${orders}&scope=orders.write`, forOrders, 403, "Forbidden", "insufficient_scope"],
      [`?audience=${orders}&scope=orders.read%20orders.write`, forOrders, 403, "Forbidden", "insufficient_scope"],
      [`?audience=${orders}&scope=orders.read&scope=orders.write`, forOrders, 403, "Forbidden", "insufficient_scope"],
    ];
    for (const [path, token, status, error, challenge] of expected) {
      const answer = await ask(path, token);
      expect([path, answer.status, answer.error]).toEqual([path, status, error]);
      expect(answer.headers.get("www-authenticate")).toContain(challenge);
      expect(answer.headers.get("x-auth-subject")).toBeNull();
    }
    const basic = await fetch(`${app.internalUrl}/authorize-request`, { headers: { authorization: internalBasic } });
    expect([basic.status, await basic.json()]).toEqual([401, { error: "Invalid Token" }]);
  });

  it("refuses a token that was revoked, and one that has expired", async () => {
    const token = await tokenOf({});
    expect((await ask("", token)).status).toBe(200);
    const authorization = `Basic ${Buffer.from(`shop:${encodeURIComponent(secret)}`).toString("base64")}`;
    expect((await postForm(`${app.url}/oauth2/revoke`, { token }, { authorization })).status).toBe(200);
    expect(await ask("", token)).toMatchObject({ status: 401, error: "Invalid Token" });
    app.clock.shift = 3_600_000;
    try {
      expect(await ask("", own)).toMatchObject({ status: 401, error: "Token Expired" });
    } finally {
      app.clock.shift = 0;
    }
  });

  it("answers Envoy, which sends method, body type, path and query of the request: none of them changes what is demanded", async () => {
    const demands = `/scope=orders.write&audience=${encodeURIComponent(orders)}`;
    const types = ["application/json", "application/x-www-form-urlencoded", "text/html; charset", "none", "{}"];
    for (const [n, method] of ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "QUERY"].entries()) {
      const init = { method, headers: { "content-type": types[n % types.length] ?? "" } };
      for (const rest of ["", "/", "/carts/7", "/carts?scope=orders.read", "/scope=orders.read", "//x/%2e%2e/y"]) {
        const answer = await ask(demands + rest, forOrders, init);
        expect([method, rest, answer.status]).toEqual([method, rest, 403]);
      }
      const path = `/scope=orders.read&audience=${encodeURIComponent(orders)}/carts/7?page=2`;
      expect([method, (await ask(path, forOrders, init)).status]).toEqual([method, 200]);
    }
    expect((await ask("/-/carts?x=1", own)).status).toBe(200);
  });

  it("lets nobody through where the settings of the proxy are misspelt, and says so in the log", async () => {
    const lines = app.logs.length;
    // a variable that is not set in the proxy's settings
    for (const query of ["?scope=", `?scope=&audience=${orders}`, "?audience=", "?scope=%20"]) {
      expect((await ask(query, forOrders)).status).toBe(400);
    }
    expect((await ask(`?scopes=orders.write&audience=${orders}`, forOrders)).status).toBe(400);
    expect((await ask("/scopes=orders.write/carts", forOrders)).status).toBe(400);
    expect(app.logs.slice(lines).filter((line) => line.includes("/authorize-request"))).toHaveLength(6);
  });

  describe("Envoy's envoy.service.auth.v3.Authorization", () => {
    const envoy = `Basic ${Buffer.from(`envoy:${encodeURIComponent(secret)}`).toString("base64")}`;
    const transports = () => [
      createGrpcTransport({ baseUrl: `http://${app.grpc}`, idleConnectionTimeoutMs: 100 }),
      createConnectTransport({ baseUrl: app.internalUrl, httpVersion: "1.1" }),
    ];
    const check = (token: string | null, contextExtensions: Record<string, string>, by: string | null = envoy) => {
      const sent = { ":path": "/carts?scope=orders.read", "x-auth-roles": "ROLE_ADMIN" };
      const http = { headers: { ...sent, ...(token === null ? {} : { authorization: `Bearer ${token}` }) } };
      const request = { attributes: { contextExtensions, request: { http } } };
      const options = by === null ? {} : { headers: { authorization: by } };
      return transports().map((transport) => createClient(Authorization, transport).check(request, options));
    };

    it("lets a good token through with whose it is, and takes away what its sender claimed", async () => {
      for (const answer of await Promise.all(check(forOrders, { scope: "orders.read", audience: orders }))) {
        expect(answer.status?.code ?? 0).toBe(0);
        if (answer.httpResponse.case !== "okResponse") throw new Error("not let through");
        const { headers, headersToRemove } = answer.httpResponse.value;
        expect(headers.map(({ header }) => [header?.key, header?.value])).toEqual([
          ["x-auth-subject", "shop"],
          ["x-auth-client", "shop"],
          ["x-auth-scope", "orders.read"],
          ["x-auth-audience", orders],
        ]);
        expect(new Set(headers.map(({ appendAction }) => appendAction))).toEqual(
          new Set([AppendAction.OVERWRITE_IF_EXISTS_OR_ADD]),
        );
        expect(headersToRemove).toEqual(["x-auth-roles"]);
      }
    });

    it("refuses by the gateway's table", async () => {
      for (const [token, demands, status, code, error] of [
        [null, {}, 401, 16, "Unauthorized"],
        [own, { audience: orders }, 401, 16, "Invalid Token"],
        [forOrders, { audience: orders, scope: "orders.write" }, 403, 7, "Forbidden"],
      ] as const) {
        for (const answer of await Promise.all(check(token, demands))) {
          expect(answer.status?.code).toBe(code);
          if (answer.httpResponse.case !== "deniedResponse") throw new Error("let through");
          const { status: sent, headers, body } = answer.httpResponse.value;
          expect([sent?.code, JSON.parse(body)]).toEqual([status, { error }]);
          expect(headers.map(({ header }) => header?.key)).toContain("www-authenticate");
        }
      }
    });

    it("has it answer 503 while good tokens cannot be told from bad ones, which an error would make 403", async () => {
      const token = await tokenOf({});
      const unknown = jest.spyOn(app.context.keys, "verify").mockRejectedValue(new AuthError("unavailable", "away"));
      for (const answering of check(token, {})) {
        const answer = await answering;
        expect(answer.status?.code).toBe(Code.Unavailable);
        if (answer.httpResponse.case !== "deniedResponse") throw new Error("let through");
        const { status: sent, headers, body } = answer.httpResponse.value;
        expect([sent?.code, JSON.parse(body)]).toEqual([503, { error: "Service Unavailable" }]);
        expect(headers.map(({ header }) => header?.key)).toContain("retry-after");
      }
      unknown.mockRestore();
    });

    it("finds the token where Envoy sends raw headers, and takes two of them for none", async () => {
      const raw = (name: string, token: string) => ({ key: name, rawValue: Buffer.from(`Bearer ${token}`) });
      for (const [sent, code] of [
        [[raw("authorization", own)], 0],
        [[raw("Authorization", own)], 0],
        [[raw("authorization", own), raw("authorization", own)], 16],
        [[raw("x-authorization", own)], 16],
      ] as const) {
        const request = { attributes: { request: { http: { headerMap: { headers: [...sent] } } } } };
        for (const transport of transports()) {
          const client = createClient(Authorization, transport);
          const answer = await client.check(request, { headers: { authorization: envoy } });
          expect([sent, answer.status?.code ?? 0]).toEqual([sent, code]);
        }
      }
    });

    it("answers only callers with auth.introspect, and refuses settings that are misspelt", async () => {
      const shop = `Basic ${Buffer.from(`shop:${encodeURIComponent(secret)}`).toString("base64")}`;
      for (const [demands, by, code] of [
        [{}, null, Code.Unauthenticated],
        [{}, shop, Code.PermissionDenied],
        [{ scopes: "x" }, envoy, Code.InvalidArgument],
        [{ scope: "" }, envoy, Code.InvalidArgument],
      ] as const) {
        const refused = { status: "rejected", reason: expect.objectContaining({ code }) };
        expect(await Promise.allSettled(check(own, demands, by))).toEqual([refused, refused]);
      }
    });
  });

  it("is counted, and is not served to the public", async () => {
    const metrics = await (await fetch(`${app.internalUrl}/metrics`)).text();
    expect(metrics).toMatch(/auth_request_seconds_count\{[^}]*operation="authorize-request"[^}]*outcome="200"/);
    expect((await fetch(`${app.url}/authorize-request`)).status).toBe(404);
  });
});
