import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { freePorts, startApp, type TestApp } from "../support/app.ts";
import { skip } from "../support/browser.ts";
import { type Account, claimsOf, hiddenFields, signUp, TestBrowser } from "../support/flow.ts";
import { eventsOf, until } from "../support/resets.ts";
import { registerAsIn, settingsOf } from "./how-to.ts";
import { answerOf, asksForLogin, loggedOf } from "./sign-in.ts";
import { cache, hasGo, make, programs, startProgram } from "./toolchains.ts";

const minutes = 60_000;
const withGo: (name: string, work: () => Promise<void>) => void = hasGo()
  ? (name, work) => it(name, work, minutes)
  : (name) => skip(name, "Go");

describe("oauth2-proxy before an app", () => {
  let app: TestApp;
  let url: string;
  let upstream: Server;
  let proxy: Awaited<ReturnType<typeof startProgram>>;
  let secret: string;
  let addresses: Record<string, string>;
  /** @param change of what stands in its settings */
  const start = (clientSecret: string, change: Record<string, string> = {}) => {
    const file = join(cache, "oauth2-proxy.cfg");
    writeFileSync(file, settingsOf("oauth2-proxy/oauth2-proxy.cfg", { ...change, ...addresses }));
    // sooner than the page has it, and cookies for http
    const command = [join(cache, "oauth2-proxy"), `--config=${file}`, "--cookie-refresh=1s", "--cookie-secure=false"];
    return startProgram(command, url, {
      OAUTH2_PROXY_CLIENT_SECRET: clientSecret,
      OAUTH2_PROXY_COOKIE_SECRET: randomBytes(16).toString("hex"),
    });
  };

  beforeAll(async () => {
    if (!hasGo()) return;
    const program = join(cache, "oauth2-proxy");
    const source = "github.com/oauth2-proxy/oauth2-proxy/v7";
    await make(join(programs, "oauth2-proxy"), "go", "build", "-o", program, source);
    const [port, upstreamPort] = await freePorts(2);
    upstream = createServer((request, response) => response.end(JSON.stringify(request.headers)));
    await new Promise<void>((resolve) => upstream.listen(upstreamPort, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${port}`;
    app = await startApp();
    addresses = {
      "https://app.example.com": url,
      "https://auth.example.com": app.url,
      "auth.example.com": new URL(app.url).host,
      "127.0.0.1:4180": new URL(url).host,
      "127.0.0.1:3000": `127.0.0.1:${upstreamPort}`,
    };
    secret = await registerAsIn("oauth2-proxy", app, addresses);
    proxy = await start(secret);
  }, 10 * minutes);
  afterAll(async () => {
    await proxy?.close();
    upstream?.close();
    await app?.close();
  });

  const locationOf = (response: Response) => new URL(response.headers.get("location") ?? "", response.url);
  /** A new account, its address verified by the mailed link. */
  const verifiedAccount = async () => {
    const account = await signUp(app.url);
    const link = await until(
      () =>
        eventsOf(app).find(
          ({ topic, event }) => topic === "user-email-verification" && event.payload["email"] === account.email,
        )?.event.payload["verificationUrl"],
    );
    const browser = new TestBrowser();
    const page = await browser.get(link);
    expect((await browser.post(`${app.url}/verify-email`, hiddenFields(await page.text()))).status).toBe(200);
    return account;
  };
  /** What the app behind the proxy is told of the browser, null where the proxy sends it to the login. */
  const forwarded = async (browser: TestBrowser): Promise<IncomingHttpHeaders | null> => {
    const response = await browser.get(`${url}/orders`);
    if (response.status === 302) return null;
    expect(response.status).toBe(200);
    return (await response.json()) as IncomingHttpHeaders;
  };
  const logIn = async (account: Account) => {
    const [atApp, atService] = [new TestBrowser(), new TestBrowser()];
    const authorizationUrl = locationOf(await atApp.get(`${url}/orders`));
    expect(authorizationUrl.searchParams.get("code_challenge_method")).toBe("S256");
    const answer = await atApp.get((await answerOf(authorizationUrl, account, atService)).href);
    return { atApp, atService, authorizationUrl, answer };
  };
  const tokenOf = (headers: IncomingHttpHeaders | null) => String(headers?.["x-forwarded-access-token"]);
  /** After cookie_refresh: the first answer that has another token than this, or none. */
  const untilRefreshed = async (browser: TestBrowser, token: string) => {
    for (;;) {
      const headers = await forwarded(browser);
      if (tokenOf(headers) !== token) return headers;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };

  withGo("signs in, tells the app who it is, refreshes, and signs out of both", async () => {
    const account = await verifiedAccount();
    const { atApp, atService, authorizationUrl, answer } = await logIn(account);
    expect([answer.status, locationOf(answer).pathname]).toEqual([302, "/orders"]);
    const first = await forwarded(atApp);
    expect(first).toMatchObject({
      "x-forwarded-user": account.uuid,
      "x-forwarded-email": account.email,
      "x-forwarded-groups": "ROLE_USER",
    });
    const refreshed = await untilRefreshed(atApp, tokenOf(first));
    expect(claimsOf(tokenOf(refreshed))).toMatchObject({ sub: account.uuid, sid: claimsOf(tokenOf(first))["sid"] });

    const endSession = `${app.url}/connect/logout?id_token_hint={id_token}&post_logout_redirect_uri=${url}/`;
    const out = locationOf(await atApp.get(`${url}/oauth2/sign_out?rd=${encodeURIComponent(endSession)}`));
    expect(locationOf(await atService.get(out.href)).href).toBe(`${url}/`);
    expect(await forwarded(atApp)).toBeNull();
    expect(await asksForLogin(authorizationUrl, atService)).toBe(true);
  });

  withGo("asks for a new login once the service refuses the refresh", async () => {
    const account = await verifiedAccount();
    const { atApp, atService } = await logIn(account);
    const first = await forwarded(atApp);
    expect(first).toMatchObject({ "x-forwarded-user": account.uuid });
    await atService.submit(`${app.url}/connect/logout`, {});
    expect(await untilRefreshed(atApp, tokenOf(first))).toBeNull();
    expect(proxy.output()).toContain("invalid_grant");
  });

  withGo("refuses an account whose address is not verified, and says so in its log", async () => {
    const { atApp, answer } = await logIn(await signUp(app.url));
    expect(answer.status).toBe(403);
    expect(await forwarded(atApp)).toBeNull();
    expect(proxy.output()).toMatch(/email in id_token \(.*\) isn't verified/);
  });

  withGo("with a wrong secret says so in its log, and the service's names the client and the reason", async () => {
    await proxy.close();
    proxy = await start("not its secret");
    const { atApp, answer } = await logIn(await verifiedAccount());
    expect([answer.status, await answer.text()]).toEqual([500, expect.stringContaining("Internal Server Error")]);
    expect(await forwarded(atApp)).toBeNull();
    expect(proxy.output()).toContain("invalid_client");
    const reason = "the secret is wrong or over";
    expect(loggedOf(app, "client_authentication_failed")).toMatchObject({ client_id: "oauth2-proxy", reason });
  });

  withGo("without PKCE shows that the login failed, and the service's log says why", async () => {
    await proxy.close();
    proxy = await start(secret, { "code_challenge_method =": "# code_challenge_method =" });
    const atApp = new TestBrowser();
    const authorizationUrl = locationOf(await atApp.get(`${url}/orders`));
    const answer = await atApp.get(locationOf(await new TestBrowser().get(authorizationUrl.href)).href);
    expect([answer.status, await answer.text()]).toEqual([403, expect.stringContaining("error: invalid_request")]);
    const reason = expect.stringContaining("code_challenge is missing");
    const refused = { client_id: "oauth2-proxy", error: "invalid_request", reason };
    expect(loggedOf(app, "authorization_refused")).toMatchObject(refused);
  });
});
