import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { type Gateway, type GatewayOptions, startGateway } from "../../examples/gateway/gateway.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { acceptedUntil, getTokens, portal, postForm, signUp } from "../support/flow.ts";

describe("the example gateway", () => {
  let app: TestApp;
  let upstream: { url: string; server: Server };
  let gateway: Gateway;
  let shift = 0;
  let seen: { method: string; url: string; headers: IncomingHttpHeaders; body: string }[] = [];

  const listen = async (listener: RequestListener) => {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { server, url: `http://127.0.0.1:${(server.address() as { port: number }).port}` };
  };
  const optionsFor = (to: string): GatewayOptions => ({
    port: 0,
    host: "127.0.0.1",
    upstream: to,
    corsOrigins: ["http://portal.test"],
    upstreamTimeoutMs: 20_000,
    verifier: {
      issuer: app.url,
      audience: portal.clientId,
      stream: {
        baseUrl: `http://${app.grpc}`,
        credentials: { clientId: "internal-service", clientSecret: "internal-service-secret" },
      },
      onStreamLost: "fail-closed",
      // forgives a process that stood still for a while
      maxStalenessMs: 60_000,
      now: () => Date.now() + shift,
    },
  });
  const get = (path: string, token?: string, headers: Record<string, string> = {}) =>
    fetch(`${gateway.url}${path}`, {
      headers: { ...headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    });
  const outcome = async (response: Response) => {
    const text = await response.text();
    return [response.status, response.ok ? undefined : (JSON.parse(text) as { error: string }).error];
  };

  beforeAll(async () => {
    app = await startApp();
    upstream = await listen((request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        seen.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers, body });
        if (request.url === "/api/silent") return;
        response.writeHead(201, {
          "content-type": "text/plain",
          "set-cookie": ["a=1", "b=2"],
          "access-control-allow-origin": "*",
        });
        response.end("from upstream");
      });
    });
    gateway = await startGateway(optionsFor(upstream.url));
    await gateway.ready;
  });
  afterAll(async () => {
    await gateway?.close();
    upstream?.server.closeAllConnections();
    upstream?.server.close();
    await app?.close();
  });
  beforeEach(() => {
    seen = [];
    shift = 0;
  });

  it("forwards an allowed request with the caller's identity", async () => {
    const account = await signUp(app.url);
    const { access_token } = await getTokens(app.url, account);
    const response = await fetch(`${gateway.url}/api/users/me?a=%20b`, {
      method: "PUT",
      headers: { authorization: `Bearer ${access_token}`, "content-type": "application/json" },
      body: '{"nickname":"é"}',
    });
    expect([response.status, await response.text()]).toEqual([201, "from upstream"]);
    expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
    expect(seen).toMatchObject([{ method: "PUT", url: "/api/users/me?a=%20b", body: '{"nickname":"é"}' }]);
    expect(seen[0]?.headers).toMatchObject({
      "x-user-id": account.uuid,
      "x-user-roles": "ROLE_USER",
      "x-client-id": portal.clientId,
      "x-scopes": "openid profile read write",
      "content-type": "application/json",
    });
  });

  it("answers the whole table, and forwards none of it", async () => {
    const account = await signUp(app.url);
    const { access_token: good, id_token } = await getTokens(app.url, account);
    const { access_token: narrow } = await getTokens(app.url, account, { scope: "openid read" });
    expect(await outcome(await get("/api/orders"))).toEqual([401, "Unauthorized"]);
    const [head = "", payload = "", signature = ""] = good.split(".");
    const forged = `${head}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
    for (const bad of ["not-a-token", forged, id_token]) {
      expect(await outcome(await get("/api/orders", bad))).toEqual([401, "Invalid Token"]);
    }
    const basic = await get("/api/orders", undefined, { authorization: "Basic YTpi" });
    expect(await outcome(basic)).toEqual([401, "Invalid Token"]);
    expect(basic.headers.get("www-authenticate")).toContain('Bearer error="invalid_token"');
    const foreign = await postForm(
      `${app.url}/oauth2/token`,
      { grant_type: "client_credentials", scope: "auth.introspect" },
      { authorization: `Basic ${Buffer.from("internal-service:internal-service-secret").toString("base64")}` },
    );
    const { access_token: otherAudience } = (await foreign.json()) as { access_token: string };
    expect(await outcome(await get("/api/orders", otherAudience))).toEqual([401, "Invalid Token"]);
    const forbidden = await fetch(`${gateway.url}/api/users/me`, {
      method: "PUT",
      headers: { authorization: `Bearer ${narrow}` },
    });
    expect(forbidden.headers.get("www-authenticate")).toContain("insufficient_scope");
    expect(await outcome(forbidden)).toEqual([403, "Forbidden"]);
    shift = 180_000;
    expect(await outcome(await get("/api/orders", good))).toEqual([401, "Token Expired"]);
    expect(seen).toEqual([]);
  });

  it("refuses a revoked token within a second, also once it has expired", async () => {
    const tokens = await getTokens(app.url, await signUp(app.url));
    const options = optionsFor(upstream.url);
    const strict = await startGateway({ ...options, verifier: { ...options.verifier, maxStalenessMs: 1_000 } });
    const headers = { authorization: `Bearer ${tokens.access_token}` };
    const ask = async () => outcome(await fetch(`${strict.url}/api/orders`, { headers }));
    /** Not known for a moment is no decision. */
    const decided = async () => {
      let answer = await ask();
      for (let tries = 0; answer[0] === 503 && tries < 200; tries++) {
        await sleep(50);
        answer = await ask();
      }
      return answer;
    };
    try {
      await strict.ready;
      expect(await decided()).toEqual([201, undefined]);
      await postForm(`${app.url}/oauth2/revoke`, { token: tokens.refresh_token, client_id: portal.clientId });
      expect(await acceptedUntil(async () => (await ask())[0] === 201, 1_000)).toBeLessThan(1_000);
      expect(await decided()).toEqual([401, "Invalid Token"]);
      shift = 180_000;
      expect(await decided()).toEqual([401, "Invalid Token"]);
    } finally {
      await strict.close();
    }
  });

  it("strips identity headers that clients send, in every spelling", async () => {
    const spoofed = {
      "X-User-Id": "someone",
      "x-user-roles": "ROLE_ADMIN",
      "x-client-id": "root",
      "X-Scopes": "admin",
      x_user_id: "someone",
      "x-user_roles": "ROLE_ADMIN",
    };
    const account = await signUp(app.url);
    const { access_token } = await getTokens(app.url, account);
    await get("/api/orders", access_token, spoofed);
    await fetch(`${gateway.url}/api/users/signup`, { method: "POST", headers: spoofed, body: "{}" });
    // a client that names them as of this connection only
    const { port } = new URL(gateway.url);
    const socket = connect(Number(port), "127.0.0.1");
    socket.end(
      `GET /api/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${access_token}\r\nConnection: close, x-user-id, x-user-roles\r\n\r\n`,
    );
    await new Promise((resolve) => socket.resume().once("close", resolve));
    const named = seen.map(({ headers }) => Object.entries(headers).filter(([name]) => /^x[-_]/.test(name)));
    const own = [
      ["x-user-id", account.uuid],
      ["x-user-roles", "ROLE_USER"],
      ["x-client-id", portal.clientId],
      ["x-scopes", "openid profile read write"],
    ];
    expect(named).toEqual([own, [], own]);
    expect(named[0]).toHaveLength(4);
  });

  it("keeps a chunked body framed, so that none of it is read as another request", async () => {
    const { access_token } = await getTokens(app.url, await signUp(app.url));
    const inner = "GET /api/admin HTTP/1.1\r\nHost: x\r\n\r\n";
    const { port } = new URL(gateway.url);
    const socket = connect(Number(port), "127.0.0.1");
    socket.end(
      `GET /api/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${access_token}\r\nConnection: close\r\n` +
        `Transfer-Encoding: chunked\r\n\r\n${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`,
    );
    await new Promise((resolve) => socket.resume().once("close", resolve));
    expect(seen).toMatchObject([{ url: "/api/orders", body: inner }]);
  });

  it("answers 404 to paths without a rule, and refuses ambiguous paths", async () => {
    expect(await outcome(await get("/admin"))).toEqual([404, "Not Found"]);
    expect(await outcome(await get("/api/../admin"))).toEqual([404, "Not Found"]);
    expect(await outcome(await get("/api/%2e%2e/admin"))).toEqual([404, "Not Found"]);
    for (const path of ["//api/orders", "/api//orders", "/api/..%2fadmin", "/api/%5cadmin", "/api/%252e", "/api/%ff"]) {
      expect(await outcome(await get(path))).toEqual([400, "Bad Request"]);
    }
    // %75 is u: the row of /api/users/me decides
    expect(await outcome(await get("/api/%75sers/me"))).toEqual([401, "Unauthorized"]);
    expect(seen).toEqual([]);
  });

  it("lets the pages of known origins read its answers, and no others", async () => {
    const origin = "http://portal.test";
    const preflight = await fetch(`${gateway.url}/api/orders`, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "GET", "access-control-request-headers": "authorization" },
    });
    expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([204, origin]);
    const refused = await get("/api/orders", undefined, { origin });
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([401, origin]);
    const { access_token } = await getTokens(app.url, await signUp(app.url));
    const allowed = await get("/api/orders", access_token, { origin: "http://evil.test" });
    expect([allowed.status, allowed.headers.get("access-control-allow-origin")]).toEqual([201, null]);
  });

  it("is 502 while the upstream is down and 504 where it says nothing", async () => {
    const { access_token } = await getTokens(app.url, await signUp(app.url));
    const headers = { authorization: `Bearer ${access_token}` };
    const impatient = await startGateway({ ...optionsFor(upstream.url), upstreamTimeoutMs: 500 });
    try {
      await impatient.ready;
      const silent = await fetch(`${impatient.url}/api/silent`, { headers });
      expect(await outcome(silent)).toEqual([504, "Gateway Timeout"]);
    } finally {
      await impatient.close();
    }
    const gone = await listen(() => {});
    await new Promise((resolve) => gone.server.close(resolve));
    const toNobody = await startGateway(optionsFor(gone.url));
    try {
      await toNobody.ready;
      expect(await outcome(await fetch(`${toNobody.url}/api/orders`, { headers }))).toEqual([502, "Bad Gateway"]);
    } finally {
      await toNobody.close();
    }
  });

  it("is 503 with Retry-After while revocations are unknown", async () => {
    const lonely = await startApp();
    const { access_token } = await getTokens(lonely.url, await signUp(lonely.url));
    const options = optionsFor(upstream.url);
    const stream = { ...options.verifier.stream, baseUrl: `http://${lonely.grpc}` };
    const verifier = { ...options.verifier, issuer: lonely.url, stream, maxStalenessMs: 5_000 };
    const cutOff = await startGateway({ ...options, verifier });
    const headers = { authorization: `Bearer ${access_token}` };
    try {
      await cutOff.ready;
      expect((await fetch(`${cutOff.url}/api/orders`, { headers })).status).toBe(201);
      await lonely.close();
      let response = await fetch(`${cutOff.url}/api/orders`, { headers });
      for (let tries = 0; response.status === 201 && tries < 200; tries++) {
        await sleep(100);
        response = await fetch(`${cutOff.url}/api/orders`, { headers });
      }
      expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(await outcome(response)).toEqual([503, "Unavailable"]);
    } finally {
      await cutOff.close();
    }
  });
});
