import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { claimsOf, signUp, TestBrowser } from "../support/flow.ts";
import { registerAsIn } from "./how-to.ts";
import { answerOf, asksForLogin, loggedOf } from "./sign-in.ts";
import { nodeProgram, programs, startProgram } from "./toolchains.ts";

const minutes = 60_000;

/** What `/me` answers. */
interface Me {
  id: string;
  name: string;
  roles: string[];
  accessToken: string;
}

describe("a web app that signs in with Auth.js", () => {
  let app: TestApp;
  let command: string[];
  let port: number;
  let webApp: Awaited<ReturnType<typeof startProgram>>;
  const start = (clientSecret: string) =>
    startProgram(command, `http://127.0.0.1:${port}`, {
      PORT: `${port}`,
      ISSUER: app.url,
      CLIENT_SECRET: clientSecret,
      AUTH_SECRET: randomBytes(32).toString("hex"),
    });

  beforeAll(async () => {
    command = await nodeProgram(join(programs, "auth-js"));
    // the app refreshes what has less than half a minute left: here, at each request
    app = await startApp({ ACCESS_TOKEN_TTL: "30" });
    [port = 0] = await freePorts(1);
    const secret = await registerAsIn("auth-js", app, { "https://app.example.com": `http://127.0.0.1:${port}` });
    webApp = await start(secret);
  }, 10 * minutes);
  afterAll(async () => {
    await webApp?.close();
    await app?.close();
  });

  const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", response.url);
  /** As its sign-in page does: a form with a CSRF token. */
  const beginLogin = async (atApp: TestBrowser, url = webApp.url): Promise<URL> => {
    const csrf = (await (await atApp.get(`${url}/auth/csrf`)).json()) as { csrfToken: string };
    const form = { ...csrf, callbackUrl: `${url}/me` };
    return locationOf(await atApp.post(`${url}/auth/signin/auth-service`, form));
  };
  const logIn = async () => {
    const account = await signUp(app.url, { nickname: "Zoë 🦊" });
    const [atApp, atService] = [new TestBrowser(), new TestBrowser()];
    const authorizationUrl = await beginLogin(atApp);
    expect(authorizationUrl.searchParams.get("code_challenge_method")).toBe("S256");
    const answer = await atApp.get((await answerOf(authorizationUrl, account, atService)).href);
    expect(locationOf(answer).href).toBe(`${webApp.url}/me`);
    return { account, atApp, atService, authorizationUrl };
  };
  const me = async (atApp: TestBrowser): Promise<Me> => {
    const response = await atApp.get(`${webApp.url}/me`);
    expect(response.status).toBe(200);
    return (await response.json()) as Me;
  };

  it(
    "signs in with PKCE, refreshes, keeps tokens from scripts, and signs out of both",
    async () => {
      const { account, atApp, atService, authorizationUrl } = await logIn();
      const first = await me(atApp);
      expect(first).toMatchObject({ id: account.uuid, name: "Zoë 🦊", roles: ["ROLE_USER"] });
      const second = await me(atApp);
      expect(second.accessToken).not.toBe(first.accessToken);
      expect(claimsOf(second.accessToken)).toMatchObject({
        sub: account.uuid,
        sid: claimsOf(first.accessToken)["sid"],
      });
      // two tabs at once: both refresh with the same token, and neither is signed out
      await Promise.all([me(atApp), me(atApp)]);
      expect(await me(atApp)).toMatchObject({ id: account.uuid });

      const session = (await (await atApp.get(`${webApp.url}/auth/session`)).json()) as object;
      expect(Object.keys(session).sort()).toEqual(["expires", "user"]);
      expect(session).toMatchObject({ user: { id: account.uuid, email: account.email } });

      const endSession = locationOf(await atApp.post(`${webApp.url}/sign-out`, {}));
      expect(locationOf(await atService.get(endSession.href)).href).toBe(`${webApp.url}/signed-out`);
      expect(locationOf(await atApp.get(`${webApp.url}/me`)).pathname).toBe("/auth/signin");
      expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
    },
    minutes,
  );

  it(
    "ends its session once the service refuses the refresh",
    async () => {
      const { account, atApp, atService } = await logIn();
      await me(atApp);
      await atService.submit(`${app.url}/connect/logout`, {});
      expect(locationOf(await atApp.get(`${webApp.url}/me`)).pathname).toBe("/auth/signin");
      const again = await answerOf(await beginLogin(atApp), account, atService);
      expect(locationOf(await atApp.get(again.href)).href).toBe(`${webApp.url}/me`);
      expect(await me(atApp)).toMatchObject({ id: account.uuid });
    },
    minutes,
  );

  it(
    "refuses the answer to a login that it did not begin",
    async () => {
      const answer = await answerOf(await beginLogin(new TestBrowser()), await signUp(app.url));
      const victim = new TestBrowser();
      await beginLogin(victim);
      expect(locationOf(await victim.get(answer.href)).pathname).toBe("/auth/error");
      expect(locationOf(await victim.get(`${webApp.url}/me`)).pathname).toBe("/auth/signin");
    },
    minutes,
  );

  it(
    "at another address than it is registered with, the service shows a page that says so",
    async () => {
      const authorizationUrl = await beginLogin(new TestBrowser(), `http://localhost:${port}`);
      const page = await new TestBrowser().get(authorizationUrl.href);
      expect([page.status, await page.text()]).toEqual([
        400,
        expect.stringContaining("redirect_uri is not registered"),
      ]);
      const path = "/auth/callback/auth-service";
      expect(loggedOf(app, "authorization_refused")).toMatchObject({
        client_id: "auth-js",
        redirect_uri: `http://localhost:${port}${path}`,
        registered: [`http://127.0.0.1:${port}${path}`],
      });
    },
    minutes,
  );

  it(
    "makes the redirect URI of the scheme that a trusted proxy names",
    async () => {
      const authorizationUrl = await beginLogin(new TestBrowser({ "x-forwarded-proto": "https" }));
      const redirectUri = `https://127.0.0.1:${port}/auth/callback/auth-service`;
      expect(authorizationUrl.searchParams.get("redirect_uri")).toBe(redirectUri);
    },
    minutes,
  );

  it(
    "with a wrong secret says so in its log, and the service's names the client and the reason",
    async () => {
      await webApp.close();
      webApp = await start("not its secret");
      const atApp = new TestBrowser();
      const answer = await answerOf(await beginLogin(atApp), await signUp(app.url));
      const refused = locationOf(await atApp.get(answer.href));
      expect([refused.pathname, refused.search]).toEqual(["/auth/error", "?error=Configuration"]);
      expect(webApp.output()).toContain("WWWAuthenticateChallengeError");
      const reason = "the secret is wrong or over";
      expect(loggedOf(app, "client_authentication_failed")).toMatchObject({ client_id: "auth-js", reason });
    },
    minutes,
  );
});
