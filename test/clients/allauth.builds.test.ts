import { randomBytes } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { type Account, hiddenFields, signUp, TestBrowser } from "../support/flow.ts";
import { registerAsIn, settingsOf } from "./how-to.ts";
import { answerOf, asksForLogin, loggedOf } from "./sign-in.ts";
import { hasPython, programs, pythonWith, startProgram } from "./toolchains.ts";

const minutes = 60_000;
const withPython: (name: string, work: () => Promise<void>) => void = hasPython()
  ? (name, work) => it(name, work, minutes)
  : (name) => skip(name, "Python 3 with venv and pip");

describe("a project of Django that signs in with django-allauth", () => {
  let app: TestApp;
  let python: string;
  let secret: string;
  let webApp: Awaited<ReturnType<typeof startProgram>>;
  let port: number;

  /** @param change of what stands in its settings */
  const start = (clientSecret: string, change: Record<string, string> = {}) => {
    const url = `http://127.0.0.1:${port}`;
    const folder = mkdtempSync(join(tmpdir(), "allauth-"));
    for (const file of ["settings.py", "app.py", "manage.py"]) {
      const addresses = { ...change, "https://app.example.com": url, "https://auth.example.com": app.url };
      writeFileSync(join(folder, file), settingsOf(`allauth/${file}`, addresses));
    }
    return startProgram([python, join(folder, "manage.py"), `127.0.0.1:${port}`], url, {
      CLIENT_SECRET: clientSecret,
      SECRET_KEY: randomBytes(32).toString("hex"),
      DATABASE: join(folder, "db.sqlite3"),
    });
  };

  beforeAll(async () => {
    if (!hasPython()) return;
    python = await pythonWith(join(programs, "allauth/requirements.txt"));
    app = await startApp();
    [port = 0] = await freePorts(1);
    secret = await registerAsIn("django-allauth", app, { "https://app.example.com": `http://127.0.0.1:${port}` });
    webApp = await start(secret);
  }, 10 * minutes);
  afterAll(async () => {
    await webApp?.close();
    await app?.close();
  });

  const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", response.url);
  const csrfOf = async (page: Response) => {
    const html = await page.text();
    return { csrfmiddlewaretoken: hiddenFields(html)["csrfmiddlewaretoken"] ?? "" };
  };
  /** The page that says where the login goes, and its button. */
  const beginLogin = async (atApp: TestBrowser): Promise<URL> => {
    const page = locationOf(await atApp.get(`${webApp.url}/`));
    expect(page.pathname).toBe("/accounts/oidc/auth-service/login/");
    return locationOf(await atApp.post(page.href, await csrfOf(await atApp.get(page.href))));
  };
  const logIn = async (account: Account) => {
    const [atApp, atService] = [new TestBrowser(), new TestBrowser()];
    const authorizationUrl = await beginLogin(atApp);
    const answer = await atApp.get((await answerOf(authorizationUrl, account, atService)).href);
    return { atApp, atService, authorizationUrl, answer };
  };

  withPython("signs in with PKCE, knows the user again, and signs out of both", async () => {
    const account = await signUp(app.url, { nickname: "Zoë" });
    await logIn(account);
    const { atApp, atService, authorizationUrl, answer } = await logIn(account);
    expect(authorizationUrl.searchParams.get("code_challenge_method")).toBe("S256");
    expect(locationOf(answer).href).toBe(`${webApp.url}/`);
    expect(await (await atApp.get(`${webApp.url}/`)).json()).toEqual({
      sub: account.uuid,
      email: account.email,
      first_name: "Zoë",
      staff: false,
    });

    const signOut = `${webApp.url}/accounts/logout/`;
    const endSession = locationOf(await atApp.post(signOut, await csrfOf(await atApp.get(signOut))));
    const asked = await atService.submit(endSession.href, {});
    expect(locationOf(asked).href).toBe(`${webApp.url}/signed-out`);
    expect(locationOf(await atApp.get(`${webApp.url}/`)).pathname).toBe("/accounts/oidc/auth-service/login/");
    expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
  });

  withPython("refuses the answer to a login that it did not begin", async () => {
    const answer = await answerOf(await beginLogin(new TestBrowser()), await signUp(app.url));
    const victim = new TestBrowser();
    await beginLogin(victim);
    expect((await victim.get(answer.href)).status).toBe(401);
    expect((await victim.get(`${webApp.url}/`)).status).toBe(302);
  });

  withPython("with a wrong secret says so in its log, and the service's names the client and the reason", async () => {
    await webApp.close();
    webApp = await start("not its secret");
    const { answer } = await logIn(await signUp(app.url));
    expect([answer.status, await answer.text()]).toEqual([401, expect.stringContaining("Login Failure")]);
    expect(webApp.output()).toContain("invalid_client");
    const line = app.logs.filter((each) => each.includes('"client_authentication_failed"')).at(-1);
    expect(JSON.parse(line ?? "{}")).toMatchObject({ client_id: "allauth", reason: "the secret is wrong or over" });
  });

  withPython("without PKCE shows that the login failed, and says why in its log", async () => {
    await webApp.close();
    webApp = await start(secret, { '"OAUTH_PKCE_ENABLED": True': '"OAUTH_PKCE_ENABLED": False' });
    const atApp = new TestBrowser();
    const refused = locationOf(await new TestBrowser().get((await beginLogin(atApp)).href));
    expect((await atApp.get(refused.href)).status).toBe(401);
    expect(webApp.output()).toContain("code_challenge is missing");
    expect(loggedOf(app, "authorization_refused")).toMatchObject({
      client_id: "allauth",
      error: "invalid_request",
      reason: expect.stringContaining("code_challenge is missing"),
    });
  });
});
