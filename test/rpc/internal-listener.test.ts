import { request as httpsRequest } from "node:https";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { AuthError } from "../../src/errors.ts";
import { startInternalListener } from "../../src/rpc/internal-listener.ts";
import { pemFile } from "../support/pem-file.ts";
import { caCertificate, clientCertificate, clientKey, serverCertificate, serverKey } from "./certificates.ts";
import { authenticateByWord, standInParts, startEdges } from "./stand-ins.ts";

let edges: Awaited<ReturnType<typeof startEdges>>;
let url: string;

beforeAll(async () => {
  edges = await startEdges({
    getUser: async () => {
      throw new AuthError("rate_limited", "too many attempts", { retryAfter: 3 });
    },
  });
  url = `http://127.0.0.1:${edges.http.port}`;
});
afterAll(() => edges.close());

const post = (path: string, body: string | Buffer, headers: Record<string, string> = {}) =>
  fetch(`${url}/auth.v1.${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer all", ...headers },
    body: typeof body === "string" ? body : new Uint8Array(body),
  });

test("healthz, readyz and metrics say that they are read with GET", async () => {
  for (const path of ["/healthz", "/readyz", "/metrics"]) {
    for (const method of ["POST", "DELETE", "OPTIONS"]) {
      const { status, headers } = await fetch(url + path, { method });
      expect([path, method, status, headers.get("allow")]).toEqual([path, method, 405, "GET, HEAD"]);
    }
  }
});

test("healthz, readyz and metrics answer without credentials", async () => {
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  edges.health.ready = false;
  edges.health.reason = "the database is away";
  const unready = await fetch(`${url}/readyz`);
  expect([unready.status, await unready.json()]).toEqual([503, { ready: false, reason: "the database is away" }]);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  edges.health.ready = true;
  const metrics = await fetch(`${url}/metrics`);
  expect(metrics.headers.get("content-type")).toContain("text/plain");
  expect(await metrics.text()).toContain("auth_request_seconds");
});

test("a Connect error is JSON with its HTTP status, detail and Retry-After, and forbids caching", async () => {
  const answer = await post("UserService/GetUser", "{}");
  expect(answer.status).toBe(429);
  expect(answer.headers.get("retry-after")).toBe("3");
  expect(answer.headers.get("cache-control")).toBe("no-store");
  expect(await answer.json()).toMatchObject({
    code: "resource_exhausted",
    message: "too many attempts",
    details: [{ type: "auth.v1.ErrorDetail" }, { type: "google.rpc.RetryInfo" }],
  });
});

test("S-183 a message over the limit is refused, sent as it is or as a bomb", async () => {
  const limit = 4 * 1024 * 1024;
  expect((await post("UserService/SignUp", `{"email":"${"x".repeat(limit)}"}`)).status).toBe(429);
  const bomb = gzipSync(Buffer.alloc(16 * limit, " "));
  // nothing compressed is unpacked at all
  expect((await post("UserService/SignUp", bomb, { "content-encoding": "gzip" })).status).toBe(501);
});

test("S-185 a lone surrogate in JSON is refused", async () => {
  edges.reached.length = 0;
  expect((await post("UserService/SignUp", '{"email":"\\ud800"}')).status).toBe(400);
  expect(edges.reached).toEqual([]);
});

test("S-190 GET is for methods without side effects only", async () => {
  const get = (path: string) =>
    fetch(`${url}/auth.v1.${path}?encoding=json&message={}`, { headers: { authorization: "Bearer all" } });
  expect((await get("TokenService/GetJwks")).status).toBe(200);
  expect((await get("TokenService/IssueToken")).status).toBe(405);
  const introspecting = await get("IntrospectionService/Introspect");
  expect([introspecting.status, await introspecting.text()]).toEqual([405, ""]);
});

test("gRPC proper is not spoken here, and unknown methods are 404", async () => {
  const answer = await post("UserService/GetUser", Buffer.alloc(5), { "content-type": "application/grpc" });
  expect(answer.status).toBe(415);
  expect((await post("UserService/Nothing", "{}")).status).toBe(404);
});

test("with a client CA only the probes answer without a certificate", async () => {
  const parts = standInParts();
  const seen: (string | null)[] = [];
  const listener = await startInternalListener(
    edges.ctx,
    {
      host: "127.0.0.1",
      port: 0,
      tls: { cert: pemFile(serverCertificate), key: pemFile(serverKey), clientCa: pemFile(caCertificate) },
      ready: async () => ({ ready: true }),
    },
    {
      ...parts,
      authenticate: async (ctx, credentials) => {
        seen.push(credentials.certificateSubject);
        return parts.authenticate(ctx, { ...credentials, authorization: "Bearer all" });
      },
    },
  );
  const ask = (path: string, tls: object) =>
    new Promise<number | undefined>((resolve, reject) => {
      const method = path.startsWith("/auth") ? "POST" : "GET";
      const headers = method === "POST" ? { "content-type": "application/json" } : {};
      const options = { host: "localhost", port: listener.port, path, method, headers, ca: caCertificate, ...tls };
      const asking = httpsRequest({ ...options, agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      asking.on("error", reject);
      asking.end(method === "POST" ? "{}" : undefined);
    });
  const deleteUser = "/auth.v1.UserService/DeleteUser";
  expect(await ask("/healthz", {})).toBe(200);
  expect(await ask("/metrics", {})).toBe(401);
  expect(await ask(deleteUser, {})).toBe(401);
  expect(await ask(deleteUser, { cert: clientCertificate, key: clientKey })).toBe(200);
  expect(seen).toEqual(["CN=orders,O=Example\\, Inc.,C=DE"]);
  await listener.close(1000);
});

test("a call whose client hangs up before it is known who calls is not under way for ever", async () => {
  const { ctx } = edges;
  const [asked, known] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const parts = standInParts();
  const authenticate: typeof parts.authenticate = async (...by) => {
    asked.resolve();
    await known.promise;
    return authenticateByWord(...by);
  };
  const options = { host: "127.0.0.1", port: 0, tls: null, ready: async () => ({ ready: true }) };
  const listener = await startInternalListener(ctx, options, { ...parts, authenticate });
  const counted = jest.spyOn(ctx.callerLimits, "enter");
  const observed = jest.spyOn(ctx.metrics.requests, "observe");
  const call = (signal?: AbortSignal) =>
    fetch(`http://127.0.0.1:${listener.port}/auth.v1.TokenService/GetJwks`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer all" },
      body: "{}",
      ...(signal === undefined ? {} : { signal }),
    });
  try {
    const hangUp = new AbortController();
    const gone = call(hangUp.signal).catch(() => null);
    await asked.promise;
    hangUp.abort();
    await gone;
    while (observed.mock.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    known.resolve();
    expect((await call()).status).toBe(200);
    while (observed.mock.calls.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    const [load] = counted.mock.results.map(({ value }) => value as ReturnType<typeof ctx.callerLimits.enter>);
    expect(load?.inFlight).toBe(0);
  } finally {
    jest.restoreAllMocks();
    await listener.close(1000);
  }
});
