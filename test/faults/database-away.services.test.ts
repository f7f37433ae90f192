import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { freePorts, startApp, startReplicas, type TestApp } from "../support/app.ts";
import {
  authorizeUrl,
  claimsOf,
  getCode,
  getTokens,
  internalBasic,
  introspect,
  patiently,
  portal,
  postForm,
  postJson,
  redeem,
  refresh,
  signUp,
  TestBrowser,
  type Tokens,
  uniqueEmail,
} from "../support/flow.ts";
import { type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { freeze } from "../support/process.ts";

/** A private server: it is stopped and continued. */
describe("while the database is frozen", () => {
  let database: MariaDb;
  let app: TestApp;
  beforeAll(async () => {
    delete process.env["TEST_DATABASE_URL"];
    database = await startMariaDb();
    const [first] = await startReplicas(1, { DATABASE_URL: await database.createDatabase() });
    if (first === undefined) throw new Error("no replica");
    app = first;
  });
  afterEach(() => {
    if (database.pid !== null) process.kill(database.pid, "SIGCONT");
  });
  afterAll(async () => {
    await app?.close();
    await database?.stop();
  });

  it("F-27 answers 503 with a retry hint, never a refusal, keeps serving keys, and heals by itself", async () => {
    const account = await signUp(app.url);
    const tokens = await getTokens(app.url, account);
    const { code, verifier, browser } = await getCode(app.url, account);
    const { pid } = database;
    if (pid === null) throw new Error("the server is not ours to freeze");
    await freeze(pid);
    const bearer = { authorization: `Bearer ${tokens.access_token}` };
    const answers = await Promise.all([
      refresh(app.url, tokens.refresh_token),
      redeem(app.url, code, verifier),
      postForm(`${app.url}/oauth2/token`, { grant_type: "client_credentials" }, { authorization: internalBasic }),
      postForm(`${app.url}/oauth2/introspect`, { token: tokens.access_token }, { authorization: internalBasic }),
      postForm(`${app.url}/oauth2/revoke`, { token: tokens.access_token, client_id: portal.clientId }),
      postJson(`${app.url}/api/users/signup`, {
        email: uniqueEmail(),
        password: "correct horse battery",
        nickname: "n",
      }),
      postJson(`${app.url}/api/users/password-reset`, { email: account.email }),
      fetch(`${app.url}/userinfo`, { headers: bearer }),
      fetch(`${app.url}/api/users/me`, { headers: bearer }),
      browser.get(authorizeUrl(app.url)),
      browser.get(`${app.url}/login`),
      new TestBrowser().post(`${app.url}/login`, { email: account.email, password: account.password }),
    ]);
    // the login form came without its page
    expect(answers.pop()?.status).toBe(403);
    const authorize = answers.splice(9, 1)[0];
    // told to the client, where its redirect URI is still known
    if (authorize?.status === 302) {
      expect(authorize.headers.get("location")).toContain("error=temporarily_unavailable");
    } else expect(authorize?.status).toBe(503);
    for (const response of answers) {
      expect([response.url, response.status]).toEqual([response.url, 503]);
      expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(response.headers.get("www-authenticate")).toBeNull();
    }
    const signup = (await answers[5]?.json()) as { success: boolean; error: { code: string } };
    expect(signup).toMatchObject({ success: false, error: { code: "AUTH_UNAVAILABLE" } });
    const oauth = (await answers[0]?.json()) as { error: string };
    expect(oauth.error).toBe("temporarily_unavailable");
    expect((await fetch(`${app.url}/oauth2/jwks`)).status).toBe(200);
    expect((await fetch(`${app.url}/.well-known/openid-configuration`)).status).toBe(200);
    expect((await fetch(`${app.internalUrl}/healthz`)).status).toBe(200);
    expect((await fetch(`${app.internalUrl}/readyz`)).status).toBe(503);

    process.kill(pid, "SIGCONT");
    let healed = 0;
    for (let tries = 0; tries < 200 && healed !== 200; tries++) {
      healed = (await refresh(app.url, tokens.refresh_token)).status;
      if (healed !== 200) await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(healed).toBe(200);
    expect(await introspect(app.url, tokens.access_token)).toMatchObject({ active: expect.any(Boolean) });
    const fresh = (await (await patiently(() => refresh(app.url, tokens.refresh_token))).json()) as Tokens;
    expect(await introspect(app.url, fresh.access_token)).toMatchObject({ active: true });
    expect((await patiently(() => fetch(`${app.internalUrl}/readyz`))).status).toBe(200);
  });

  it("C-21 fifty calls at once beside a database that stands still for longer than they may take: one wins, as on a quick machine", async () => {
    const { pid } = database;
    if (pid === null) throw new Error("the server is not ours to freeze");
    const email = uniqueEmail();
    const body = { email, password: "correct horse battery", nickname: "n" };
    const told: number[] = [];
    await freeze(pid);
    const answers = Array.from({ length: 50 }, () =>
      patiently(async () => {
        const response = await postJson(`${app.url}/api/users/signup`, body);
        told.push(response.status);
        return response;
      }),
    );
    while (!told.includes(503)) await new Promise((resolve) => setTimeout(resolve, 50));
    process.kill(pid, "SIGCONT");
    const statuses = (await Promise.all(answers)).map(({ status }) => status).sort();
    expect(statuses).toEqual([201, ...Array(49).fill(409)]);
  });

  it("F-23 who ends a session whose row another transaction keeps locked is told to ask again, before the call's deadline, and nobody else", async () => {
    const [locked, other] = await Promise.all([1, 2].map(async () => getTokens(app.url, await signUp(app.url))));
    const owner = await createConnection(app.env["DATABASE_URL"] ?? "");
    await owner.query("START TRANSACTION");
    await owner.query("SELECT id FROM oauth2_authorization WHERE id = ? FOR UPDATE", [
      claimsOf(locked?.access_token ?? "")["sid"],
    ]);
    const waits = async () => {
      const [[row]] = (await owner.query("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_waits'")) as unknown as [
        { Value: string }[],
      ];
      return Number(row?.Value);
    };
    const before = await waits();
    const order: string[] = [];
    const end = (token = "") => postForm(`${app.url}/oauth2/revoke`, { token, client_id: portal.clientId });
    const refused = end(locked?.refresh_token).finally(() => order.push("locked"));
    const passed = patiently(() => end(other?.refresh_token)).finally(() => order.push("other"));
    expect((await passed).status).toBe(200);
    const { status, headers } = await refused;
    expect([status, Number(headers.get("retry-after"))]).toEqual([503, expect.any(Number)]);
    expect(order).toEqual(["other", "locked"]);
    // by the lock's own bound: the call was not made again until its deadline
    expect(await waits()).toBe(before + 1);
    await owner.query("ROLLBACK");
    owner.destroy();
    expect((await patiently(() => end(locked?.refresh_token))).status).toBe(200);
  });

  it("S-029 redirects the error to a verified redirect URI, and otherwise shows a page without details", async () => {
    // one that still knows its clients for a while, and one that must not rely on what it knew
    const patient = await startApp({ ...app.env, ...(await ownListeners()), REVOCATION_MAX_STALENESS: "60000" });
    try {
      const account = await signUp(app.url);
      const browsers = await Promise.all([patient, app].map(async ({ url }) => (await getCode(url, account)).browser));
      if (database.pid === null) throw new Error("the server is not ours to freeze");
      await freeze(database.pid);
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      const [told, shown] = await Promise.all(
        [patient, app].map(({ url }, n) => browsers[n]?.get(authorizeUrl(url, { state: "mine" }))),
      );
      const location = new URL(told?.headers.get("location") ?? "none:");
      expect(`${location.origin}${location.pathname}`).toBe(portal.redirectUri);
      expect(Object.fromEntries(location.searchParams)).toEqual({
        error: "temporarily_unavailable",
        error_description: expect.any(String),
        state: "mine",
        iss: patient.url,
      });
      // no database is needed up to the login page
      const login = await new TestBrowser().get(authorizeUrl(patient.url));
      expect(login.headers.get("location")).toMatch(/^\/login\?request=/);
      expect([shown?.status, shown?.headers.get("location")]).toEqual([503, null]);
      expect(shown?.headers.get("content-type")).toContain("text/html");
      expect(await shown?.text()).not.toMatch(/mysql|ECONN|SELECT|\.ts\b|127\.0\.0\.1/i);
    } finally {
      if (database.pid !== null) process.kill(database.pid, "SIGCONT");
      await patient.close();
    }
  });
});

async function ownListeners(): Promise<Record<string, string>> {
  const [http, grpc, internal] = await freePorts(3);
  const ports = { HTTP_PORT: String(http), GRPC_PORT: String(grpc), INTERNAL_HTTP_PORT: String(internal) };
  return { ...ports, ISSUER: `http://localhost:${http}` };
}
