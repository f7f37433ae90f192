import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { claimsOf, signUp, TestBrowser } from "../support/flow.ts";
import { registerAsIn, settingsOf } from "./how-to.ts";
import { answerOf, asksForLogin, loggedOf } from "./sign-in.ts";
import { cache, hasMaven, make, programs, startProgram } from "./toolchains.ts";

const minutes = 60_000;
const withMaven: (name: string, work: () => Promise<void>) => void = hasMaven()
  ? (name, work) => it(name, work, minutes)
  : (name) => skip(name, "Java 17 and Maven");

/** What `/me` answers. */
interface Me {
  subject: string;
  email: string;
  authorities: string[];
  accessToken: string;
}

describe("a web app in Java that signs in with Spring Boot", () => {
  let app: TestApp;
  let webApp: Awaited<ReturnType<typeof startProgram>>;
  let start: (clientSecret: string, more?: Record<string, string>) => ReturnType<typeof startProgram>;

  beforeAll(async () => {
    if (!hasMaven()) return;
    await make(join(programs, "spring-login"), "mvn", "-q", "-B", "package");
    // Spring refreshes what has less than a minute left: here, at each request
    app = await startApp({ ACCESS_TOKEN_TTL: "60" });
    const [port] = await freePorts(1);
    const url = `http://127.0.0.1:${port}`;
    const addresses = { "https://app.example.com": url, "https://auth.example.com": app.url };
    const secret = await registerAsIn("spring-boot", app, addresses);
    const file = join(cache, "spring-login.properties");
    writeFileSync(file, settingsOf("spring-login/src/main/resources/application.properties", addresses));
    const command = ["java", "-jar", join(cache, "spring-login/login.jar"), `--spring.config.location=${file}`];
    start = (clientSecret, more = {}) =>
      startProgram(command, url, { PORT: `${port}`, CLIENT_SECRET: clientSecret, ...more });
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
    const start = locationOf(await atApp.get(`${webApp.url}/me`));
    const authorizationUrl = locationOf(await atApp.get(start.href));
    expect(authorizationUrl.searchParams.get("code_challenge_method")).toBe("S256");
    const back = locationOf(await atApp.get((await answerOf(authorizationUrl, account, atService)).href));
    expect(back.pathname).toBe("/me");
    return { account, atApp, atService, authorizationUrl };
  };
  const me = async (browser: TestBrowser): Promise<Me> => {
    const response = await browser.get(`${webApp.url}/me`);
    expect(response.status).toBe(200);
    return (await response.json()) as Me;
  };

  withMaven("signs in with PKCE, refreshes, and signs out of both", async () => {
    const { account, atApp, atService, authorizationUrl } = await logIn();
    const first = await me(atApp);
    expect(first).toMatchObject({ subject: account.uuid, email: account.email });
    expect(first.authorities).toEqual(expect.arrayContaining(["ROLE_USER", "SCOPE_profile"]));
    const second = await me(atApp);
    expect(second.accessToken).not.toBe(first.accessToken);
    expect(claimsOf(second.accessToken)["sid"]).toBe(claimsOf(first.accessToken)["sid"]);

    const endSession = locationOf(await atApp.submit(`${webApp.url}/`, {}));
    const back = locationOf(await atService.get(endSession.href));
    expect(back.href).toBe(`${webApp.url}/signed-out`);
    expect(await (await atApp.get(back.href)).text()).toBe("signed out");
    expect(locationOf(await atApp.get(`${webApp.url}/me`)).pathname).toBe("/oauth2/authorization/auth");
    expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
  });

  withMaven("sends the user to the login once the service refuses the refresh", async () => {
    const { atApp, atService } = await logIn();
    await me(atApp);
    await atService.submit(`${app.url}/connect/logout`, {});
    const refused = await atApp.get(`${webApp.url}/me`);
    expect([refused.status, locationOf(refused).pathname]).toEqual([303, "/oauth2/authorization/auth"]);
    const authorizationUrl = locationOf(await atApp.get(locationOf(refused).href));
    expect(authorizationUrl.href).toContain(`${app.url}/oauth2/authorize`);
    expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
  });

  withMaven("refuses the answer to a login that it did not begin", async () => {
    const theirs = locationOf(await new TestBrowser().get(`${webApp.url}/oauth2/authorization/auth`));
    const answer = await answerOf(theirs, await signUp(app.url));
    const victim = new TestBrowser();
    const refused = await victim.get(answer.href);
    expect(locationOf(refused).href).toBe(`${webApp.url}/login?error`);
    expect((await victim.get(`${webApp.url}/me`)).status).toBe(302);
  });

  withMaven("with a wrong secret shows that the login failed, and the service's log says why", async () => {
    await webApp.close();
    webApp = await start("not its secret", { LOGGING_LEVEL_ORG_SPRINGFRAMEWORK_SECURITY: "trace" });
    const atApp = new TestBrowser();
    const authorizationUrl = locationOf(await atApp.get(`${webApp.url}/oauth2/authorization/auth`));
    const refused = locationOf(await atApp.get((await answerOf(authorizationUrl, await signUp(app.url))).href));
    expect(refused.href).toBe(`${webApp.url}/login?error`);
    const page = await atApp.get(refused.href);
    expect(await page.text()).toContain("Invalid credentials");
    expect(webApp.output()).toContain("invalid_client");
    const reason = "the secret is wrong or over";
    expect(loggedOf(app, "client_authentication_failed")).toMatchObject({ client_id: "spring-login", reason });
  });
});
