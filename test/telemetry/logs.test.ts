import { DatabaseSync } from "node:sqlite";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { TokenService } from "../../gen/auth/v1/token_pb.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  authorizeUrl,
  getCode,
  getTokens,
  hiddenFields,
  internalBasic,
  introspect,
  pkce,
  portal,
  postForm,
  postJson,
  redeem,
  refresh,
  signUp,
  TestBrowser,
} from "../support/flow.ts";
import { makeKey, proofOf, type TestKey, withAssertion } from "../support/keys.ts";
import { resetTokenFor } from "../support/resets.ts";
import { everySecret, secretClients } from "../support/secrets.ts";

/** Under these names something goes to and fro that opens something, or might be a mistyped one that does. */
const secretNames =
  /^(password|\w+Password|code|code_verifier|token|\w+_token|accessToken|client_?secret|clientSecret|client_assertion|device_code|user_code|request_uri|csrf|id_token_hint)$/;

/** Everything secret that `fetch` sends and gets, by its name. */
function listenIn(): Map<string, string> {
  const secrets = new Map<string, string>();
  const add = (name: string, value: string | null | undefined) => {
    if (value != null && value.length >= 8) secrets.set(value, name);
  };
  const addMembers = (members: Iterable<[string, unknown]>) => {
    for (const [name, value] of members) if (secretNames.test(name)) add(name, String(value));
  };
  const addJson = (text: string) => {
    try {
      addMembers(Object.entries(JSON.parse(text) as object));
    } catch {
      // not JSON
    }
  };
  const { fetch } = globalThis;
  jest.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const headers = new Headers(init?.headers);
    const [scheme = "", credentials = ""] = (headers.get("authorization") ?? "").split(" ");
    add(scheme, credentials);
    if (scheme === "Basic") add("secret", Buffer.from(credentials, "base64").toString().split(":")[1]);
    add("DPoP proof", headers.get("dpop"));
    for (const cookie of headers.get("cookie")?.split("; ") ?? []) add("cookie", cookie.split("=")[1]);
    addMembers(new URL(String(input)).searchParams);
    if (init?.body instanceof URLSearchParams) addMembers(init.body);
    else addJson(String(init?.body));
    const response = await fetch(input, init);
    for (const cookie of response.headers.getSetCookie()) add("cookie", /=([^;]*)/.exec(cookie)?.[1]);
    const location = response.headers.get("location");
    if (location !== null) addMembers(new URL(location, "http://x").searchParams);
    addJson(await response.clone().text());
    return response;
  });
  return secrets;
}

const basic = (id: string, secret: string) => ({
  authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`,
});

describe("the log at its most verbose level", () => {
  let app: TestApp;
  let key: TestKey;
  beforeAll(async () => {
    key = await makeKey();
    app = await startApp({ LOG_LEVEL: "trace" }, secretClients(key));
  });
  afterEach(() => {
    app.clock.shift = 0;
    jest.restoreAllMocks();
  });
  afterAll(() => app.close());

  const token = (form: Record<string, string>, headers: Record<string, string> = {}) =>
    postForm(`${app.url}/oauth2/token`, form, headers);
  const rotating = { clientId: "rotating", redirectUri: "https://rotating.example/cb", scope: "openid" };

  it("S-053 is nothing secret that was sent or given, right or wrong", async () => {
    const secrets = listenIn();
    for (const [name, value] of [...(await everySecret([app], key, 1))]) secrets.set(value, name);
    const account = await signUp(app.url, { password: "another password nobody should find" });
    const own = await getTokens(app.url, account);
    const bearer = { authorization: `Bearer ${own.access_token}` };

    const browser = new TestBrowser();
    await browser.submit(`${app.url}/login`, { email: account.email, password: "a password mistyped here" });
    await browser.submit(`${app.url}/login`, { email: `${account.email}x`, password: "a password of nobody's" });
    await postJson(`${app.url}/api/users/signup`, { email: "no address", password: "a password to sign up with" });
    const broken = { headers: { "content-type": "application/json" }, body: '{"password":"a password in broken JSON' };
    await fetch(`${app.url}/api/users/signup`, { method: "POST", ...broken });
    await postJson(`${app.url}/api/users/me/password`, {
      currentPassword: "not the current one",
      newPassword: "short",
    });
    const change = { currentPassword: "not the current one", newPassword: "a password that is not taken" };
    await postJson(`${app.url}/api/users/me/password`, change, bearer);
    const reset = { token: pkce().verifier, newPassword: "a password by a false token" };
    await postJson(`${app.url}/api/users/password-reset/confirm`, reset);
    // a link that is dead shows no form: this is one that died while its page was open
    const link = await resetTokenFor(app, (await signUp(app.url)).email);
    const form = hiddenFields(await (await browser.get(`${app.url}/password-reset?token=${link}`)).text());
    const dead = { ...form, token: pkce().verifier, password: "the same on the page" };
    expect((await browser.post(`${app.url}/password-reset/confirm`, dead)).status).toBe(400);

    const { code } = await getCode(app.url, account);
    await redeem(app.url, code, pkce().verifier);
    const second = await getCode(app.url, account);
    await redeem(app.url, second.code, second.verifier);
    const first = await getTokens(app.url, account, rotating);
    await refresh(app.url, first.refresh_token, { client_id: "rotating" });
    app.clock.shift = 20_000;
    await redeem(app.url, second.code, second.verifier);
    await refresh(app.url, first.refresh_token, { client_id: "rotating" });
    await refresh(app.url, own.refresh_token, { client_id: "rotating" });
    await refresh(app.url, `${own.refresh_token.slice(0, -9)}AAAAAAAAA`);
    app.clock.shift = 0;

    const grant = { grant_type: "client_credentials" };
    await token(grant, basic("internal-service", "a wrong secret by Basic"));
    await token({ ...grant, client_id: "posting", client_secret: "a wrong secret by post" });
    await token({ ...grant, ...(await withAssertion(await makeKey(), "keyed", app.url)) });
    await token({ ...grant, ...(await withAssertion(key, "keyed", "https://another.example")) });
    const proof = await proofOf(key, "POST", `${app.url}/oauth2/token`);
    await token(grant, { authorization: internalBasic, dpop: proof });
    await token(grant, { authorization: internalBasic, dpop: proof });
    await fetch(`${app.url}/userinfo`, { headers: { authorization: `DPoP ${own.access_token}`, dpop: proof } });
    const push = { client_id: "posting", redirect_uri: "https://posting.example/cb", response_type: "code" };
    await postForm(`${app.url}/oauth2/par`, { ...push, client_secret: "a wrong secret pushed" });
    await browser.get(`${app.url}/oauth2/authorize?client_id=posting&request_uri=urn:none:${pkce().verifier}`);
    await browser.get(authorizeUrl(app.url, { extra: { prompt: "none", id_token_hint: `${own.id_token}x` } }));
    const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code";
    await token({ grant_type: deviceGrant, client_id: "tv", device_code: pkce().verifier });
    await own.browser.submit(`${app.url}/device`, { user_code: "BCDF-GHJK" });
    const metadata = { redirect_uris: ["https://x.example/cb"] };
    await postJson(`${app.url}/oauth2/register`, metadata, { authorization: `Bearer ${pkce().verifier}` });

    const forged = `${own.access_token.slice(0, -9)}AAAAAAAAA`;
    await fetch(`${app.url}/userinfo`, { headers: { authorization: `Bearer ${forged}` } });
    await fetch(`${app.url}/nowhere?token=${forged}&code=${pkce().verifier}`);
    await introspect(app.url, forged);
    await postForm(`${app.url}/oauth2/revoke`, { token: own.refresh_token, client_id: portal.clientId });
    await own.browser.get(`${app.url}/connect/logout?id_token_hint=${own.id_token}`);
    const rpc = (method: string, message: object, headers: Record<string, string>) =>
      postJson(`${app.internalUrl}/auth.v1.${method}`, message, headers);
    const inRpc = { grantType: "client_credentials", clientId: "posting", clientSecret: "a wrong secret in a message" };
    await rpc("IntrospectionService/Introspect", { token: forged }, { authorization: internalBasic });
    await rpc("TokenService/IssueToken", inRpc, { authorization: internalBasic });
    await rpc("TokenService/IssueToken", inRpc, basic("internal-service", "a wrong secret over Connect"));
    await rpc("UserService/SignUp", { password: ["a password in a list"] }, { authorization: internalBasic });
    const grpc = createClient(
      TokenService,
      createGrpcTransport({ baseUrl: `http://${app.grpc}`, idleConnectionTimeoutMs: 100 }),
    );
    const overGrpc = { ...inRpc, clientSecret: "a wrong secret over gRPC" };
    secrets.set(overGrpc.clientSecret, "gRPC");
    for (const headers of [{ authorization: internalBasic }, basic("internal-service", overGrpc.clientSecret)]) {
      await expect(grpc.issueToken(overGrpc, { headers })).rejects.toThrow();
    }
    for (const secret of ["a password in broken JSON", "a password in a list"]) secrets.set(secret, "unreadable");

    const lines = app.logs.map((line) => JSON.parse(line) as { event?: string });
    const told = new Set(lines.map(({ event }) => event));
    for (const event of [
      "login_failed",
      "client_authentication_failed",
      "code_replayed",
      "refresh_token_reused",
      "refresh_token_of_other_client",
      "password_reset_requested",
      "client_registered",
      "device_code_refused",
    ]) {
      expect(told).toContain(event);
    }
    // every name was heard that there is
    expect([...new Set(secrets.values())].map((name) => name.replace(/ \d+$/, ""))).toEqual(
      expect.arrayContaining([
        "password",
        "code",
        "code_verifier",
        "cookie",
        "DPoP proof",
        "Basic",
        "Bearer",
        "secret",
      ]),
    );
    expect(secrets.size).toBeGreaterThan(80);
    const log = app.logs.join("");
    const parts = [...secrets].flatMap(([value, name]) => [
      [value, name],
      // a token's own parts would do too
      ...(/^ey[\w-]+\.[\w-]+\.[\w-]+$/.test(value) ? [[value.split(".")[1] ?? "", `claims of ${name}`]] : []),
      ...(/^ey[\w-]+\.[\w-]+\.[\w-]{20,}$/.test(value) ? [[value.split(".")[2] ?? "", `signature of ${name}`]] : []),
    ]);
    expect(parts.filter(([value = ""]) => log.includes(value))).toEqual([]);
  });

  it("S-053 is no value of a statement that the database refused", async () => {
    const account = await signUp(app.url, { password: "a password before the fault" });
    const from = app.logs.length;
    const database = new DatabaseSync(app.secrets.databaseUrl.slice("sqlite:".length));
    const secrets = listenIn();
    try {
      database.exec("CREATE TRIGGER refusing BEFORE INSERT ON users BEGIN SELECT RAISE(FAIL, 'refused'); END");
      database.exec(
        "CREATE TRIGGER refusing2 BEFORE INSERT ON browser_session BEGIN SELECT RAISE(FAIL, 'refused'); END",
      );
      const body = { email: "fault@example.test", password: "a password at the fault", nickname: "n" };
      expect((await postJson(`${app.url}/api/users/signup`, body)).status).toBe(500);
      const { email, password } = account;
      expect((await new TestBrowser().submit(`${app.url}/login`, { email, password })).status).toBe(500);
    } finally {
      database.exec("DROP TRIGGER refusing; DROP TRIGGER refusing2");
      database.close();
    }
    expect(await getTokens(app.url, account)).toHaveProperty("access_token");
    const log = app.logs.slice(from).join("");
    expect(log).toContain("unexpected error");
    expect(log).not.toMatch(/\$argon2id|fault@example\.test/);
    expect([...secrets].filter(([value]) => log.includes(value))).toEqual([]);
  });
});
