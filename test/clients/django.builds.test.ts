import { randomBytes } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { hiddenFields, signUp, TestBrowser } from "../support/flow.ts";
import { registerAsIn, settingsOf } from "./how-to.ts";
import { answerOf, asksForLogin, loggedOf } from "./sign-in.ts";
import { hasPython, programs, pythonWith, startProgram } from "./toolchains.ts";

const minutes = 60_000;
const withPython: (name: string, work: () => Promise<void>) => void = hasPython()
  ? (name, work) => it(name, work, minutes)
  : (name) => skip(name, "Python 3 with venv and pip");

describe("a project of Django that signs in with mozilla-django-oidc", () => {
  let app: TestApp;
  let webApp: Awaited<ReturnType<typeof startProgram>>;
  let secret: string;
  /** @param change of what stands in its settings */
  let start: (clientSecret: string, change?: Record<string, string>) => ReturnType<typeof startProgram>;

  beforeAll(async () => {
    if (!hasPython()) return;
    const python = await pythonWith(join(programs, "django/requirements.txt"));
    app = await startApp();
    const [port] = await freePorts(1);
    const url = `http://127.0.0.1:${port}`;
    const addresses = {
      "https://app.example.com": url,
      "https://auth.example.com": app.url,
      // sooner than the page has it
      "15 * 60": "1",
    };
    secret = await registerAsIn("django", app, addresses);
    start = (clientSecret, change = {}) => {
      const folder = mkdtempSync(join(tmpdir(), "django-"));
      for (const file of ["settings.py", "app.py", "manage.py"]) {
        writeFileSync(join(folder, file), settingsOf(`django/${file}`, { ...change, ...addresses }));
      }
      return startProgram([python, join(folder, "manage.py"), `127.0.0.1:${port}`], url, {
        CLIENT_SECRET: clientSecret,
        SECRET_KEY: randomBytes(32).toString("hex"),
        DATABASE: join(folder, "db.sqlite3"),
      });
    };
    webApp = await start(secret);
  }, 10 * minutes);
  afterAll(async () => {
    await webApp?.close();
    await app?.close();
  });

  const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", response.url);
  const logIn = async () => {
    const account = await signUp(app.url);
    const [atApp, atService] = [new TestBrowser(), new TestBrowser()];
    const start = locationOf(await atApp.get(`${webApp.url}/`));
    const authorizationUrl = locationOf(await atApp.get(start.href));
    expect(authorizationUrl.searchParams.get("code_challenge_method")).toBe("S256");
    const answer = await atApp.get((await answerOf(authorizationUrl, account, atService)).href);
    expect([answer.status, locationOf(answer).href]).toEqual([302, `${webApp.url}/`]);
    return { account, atApp, atService, authorizationUrl };
  };
  /** After OIDC_RENEW_ID_TOKEN_EXPIRY_SECONDS: where the app sends the browser to ask the service again. */
  const untilAsked = async (atApp: TestBrowser): Promise<URL> => {
    for (;;) {
      const response = await atApp.get(`${webApp.url}/`);
      if (response.status === 302) return locationOf(response);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };

  /** A page of the app, whether it asks the service first or not. */
  const pageOf = async (path: string, atApp: TestBrowser, atService: TestBrowser): Promise<Response> => {
    for (;;) {
      const response = await atApp.get(`${webApp.url}${path}`);
      if (response.status === 200) return response;
      await atApp.get(locationOf(await atService.get(locationOf(response).href)).href);
    }
  };

  withPython("signs in, asks the service again in silence, and signs out of both", async () => {
    const { account, atApp, atService, authorizationUrl } = await logIn();
    const user = { username: account.uuid, email: account.email, staff: false };
    expect(await (await pageOf("/", atApp, atService)).json()).toEqual(user);

    const silent = await untilAsked(atApp);
    expect(silent.searchParams.get("prompt")).toBe("none");
    const renewed = await atApp.get(locationOf(await atService.get(silent.href)).href);
    expect(locationOf(renewed).href).toBe(`${webApp.url}/`);
    expect(await (await pageOf("/", atApp, atService)).json()).toEqual(user);

    const form = await pageOf("/sign-out", atApp, atService);
    const endSession = locationOf(await atApp.post(`${webApp.url}/oidc/logout/`, hiddenFields(await form.text())));
    expect(locationOf(await atService.get(endSession.href)).href).toBe(`${webApp.url}/signed-out`);
    expect(locationOf(await atApp.get(`${webApp.url}/`)).pathname).toBe("/oidc/authenticate/");
    expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
  });

  withPython("ends its session once the user has signed out of the service", async () => {
    const { atApp, atService } = await logIn();
    await atService.submit(`${app.url}/connect/logout`, {});
    const refused = locationOf(await atService.get((await untilAsked(atApp)).href));
    expect(refused.searchParams.get("error")).toBe("login_required");
    expect(locationOf(await atApp.get(refused.href)).pathname).toBe("/signed-out");
    expect(locationOf(await atApp.get(`${webApp.url}/`)).pathname).toBe("/oidc/authenticate/");
  });

  const beginLogin = async (atApp: TestBrowser) =>
    locationOf(await atApp.get(locationOf(await atApp.get(`${webApp.url}/`)).href));

  withPython("with a wrong secret shows an error, and the service's log names the client and the reason", async () => {
    await webApp.close();
    webApp = await start("not its secret");
    const atApp = new TestBrowser();
    const answer = await atApp.get((await answerOf(await beginLogin(atApp), await signUp(app.url))).href);
    expect([answer.status, await answer.text()]).toEqual([500, expect.stringContaining("Server Error (500)")]);
    // in the log of the service alone: Django keeps the reason to itself unless LOGGING is set
    const reason = "the secret is wrong or over";
    expect(loggedOf(app, "client_authentication_failed")).toMatchObject({ client_id: "django", reason });
  });

  withPython("without PKCE ends the login, and the service's log says why", async () => {
    await webApp.close();
    webApp = await start(secret, { "OIDC_USE_PKCE = True": "OIDC_USE_PKCE = False" });
    const atApp = new TestBrowser();
    const refused = locationOf(await new TestBrowser().get((await beginLogin(atApp)).href));
    expect(refused.searchParams.get("error_description")).toContain("code_challenge is missing");
    const answer = await atApp.get(refused.href);
    expect([answer.status, locationOf(answer).pathname]).toEqual([302, "/signed-out"]);
    const reason = expect.stringContaining("code_challenge is missing");
    expect(loggedOf(app, "authorization_refused")).toMatchObject({
      client_id: "django",
      error: "invalid_request",
      reason,
    });
  });
});
