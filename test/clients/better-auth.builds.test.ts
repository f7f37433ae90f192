import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { claimsOf, signUp, TestBrowser } from "../support/flow.ts";
import { registerAsIn } from "./how-to.ts";
import { answerOf, asksForLogin, loggedOf } from "./sign-in.ts";
import { nodeProgram, programs, startProgram } from "./toolchains.ts";

const minutes = 60_000;

describe("a web app that signs in with Better Auth", () => {
  let app: TestApp;
  let webApp: Awaited<ReturnType<typeof startProgram>>;
  let command: string[];
  let port: number;
  const start = (clientSecret: string) =>
    startProgram(command, `http://127.0.0.1:${port}`, {
      PORT: `${port}`,
      ISSUER: app.url,
      CLIENT_SECRET: clientSecret,
      BETTER_AUTH_SECRET: randomBytes(32).toString("hex"),
    });

  beforeAll(async () => {
    command = await nodeProgram(join(programs, "better-auth"));
    app = await startApp();
    [port = 0] = await freePorts(1);
    const secret = await registerAsIn("better-auth", app, { "https://app.example.com": `http://127.0.0.1:${port}` });
    webApp = await start(secret);
  }, 10 * minutes);
  afterAll(async () => {
    await webApp?.close();
    await app?.close();
  });

  const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", response.url);
  /** As the client library of Better Auth in a browser calls the app. */
  const call = async <T>(browser: TestBrowser, path: string, body?: object) => {
    const headers = { origin: webApp.url, "content-type": "application/json" };
    const method = body === undefined ? { method: "GET" } : { method: "POST", body: JSON.stringify(body) };
    const response = await browser.request(`${webApp.url}/api/auth${path}`, { ...method, headers });
    return { status: response.status, data: (await response.json()) as T };
  };
  const sessionOf = async (browser: TestBrowser) =>
    (await call<{ user: Record<string, unknown> } | null>(browser, "/get-session")).data;
  const beginLogin = async (browser: TestBrowser) => {
    const { data } = await call<{ url: string }>(browser, "/sign-in/social", {
      provider: "auth-service",
      callbackURL: "/orders",
    });
    return new URL(data.url);
  };
  const logIn = async () => {
    const account = await signUp(app.url, { nickname: "Zoë 🦊" });
    const [atApp, atService] = [new TestBrowser(), new TestBrowser()];
    const authorizationUrl = await beginLogin(atApp);
    expect(authorizationUrl.searchParams.get("code_challenge_method")).toBe("S256");
    const answer = await atApp.get((await answerOf(authorizationUrl, account, atService)).href);
    expect(locationOf(answer).href).toBe(`${webApp.url}/orders`);
    const accounts = await call<{ id: string; accountId: string }[]>(atApp, "/list-accounts");
    const [{ id, accountId } = { id: "", accountId: "" }] = accounts.data;
    expect(accountId).toBe(account.uuid);
    return { account, atApp, atService, authorizationUrl, accountId: id };
  };

  it(
    "signs in with PKCE, refreshes, and signs out of both",
    async () => {
      const { account, atApp, atService, authorizationUrl, accountId } = await logIn();
      const user = { email: account.email, name: "Zoë 🦊", emailVerified: false };
      expect((await sessionOf(atApp))?.user).toMatchObject(user);

      const first = await call<{ accessToken: string }>(atApp, "/get-access-token", { accountId });
      expect(claimsOf(first.data.accessToken)).toMatchObject({ sub: account.uuid });
      const refreshed = await call<{ accessToken: string }>(atApp, "/refresh-token", { accountId });
      expect(refreshed.data.accessToken).not.toBe(first.data.accessToken);
      expect(claimsOf(refreshed.data.accessToken)["sid"]).toBe(claimsOf(first.data.accessToken)["sid"]);

      const { data } = await call<{ url: string }>(atApp, "/sign-out", {});
      expect(locationOf(await atService.get(data.url)).href).toBe(`${webApp.url}/signed-out`);
      expect(await sessionOf(atApp)).toBeNull();
      expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
    },
    minutes,
  );

  it(
    "says so once the service refuses the refresh, and signs in again",
    async () => {
      const { account, atApp, atService, accountId } = await logIn();
      await atService.submit(`${app.url}/connect/logout`, {});
      const refused = await call(atApp, "/refresh-token", { accountId });
      expect(refused).toMatchObject({ status: 400, data: { code: "FAILED_TO_REFRESH_ACCESS_TOKEN" } });
      const again = await answerOf(await beginLogin(atApp), account, atService);
      expect(locationOf(await atApp.get(again.href)).href).toBe(`${webApp.url}/orders`);
      expect((await call(atApp, "/refresh-token", { accountId })).status).toBe(200);
    },
    minutes,
  );

  it(
    "refuses the answer to a login that it did not begin",
    async () => {
      const theirs = await beginLogin(new TestBrowser());
      const answer = await answerOf(theirs, await signUp(app.url));
      const victim = new TestBrowser();
      await beginLogin(victim);
      const refused = locationOf(await victim.get(answer.href));
      expect(refused.searchParams.get("error")).toMatch(/^state_/);
      expect(await sessionOf(victim)).toBeNull();
    },
    minutes,
  );

  it(
    "with a wrong secret says so, and the service's log names the client and the reason",
    async () => {
      await webApp.close();
      webApp = await start("not its secret");
      const atApp = new TestBrowser();
      const answer = await answerOf(await beginLogin(atApp), await signUp(app.url));
      const refused = locationOf(await atApp.get(answer.href));
      expect([refused.pathname, refused.search]).toEqual(["/api/auth/error", "?error=invalid_code"]);
      expect(webApp.output()).toContain("invalid_client");
      expect(await sessionOf(atApp)).toBeNull();
      const reason = "the secret is wrong or over";
      expect(loggedOf(app, "client_authentication_failed")).toMatchObject({ client_id: "better-auth", reason });
    },
    minutes,
  );
});
