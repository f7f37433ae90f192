import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import type { Browser } from "playwright-core";
import { startApp, type TestApp } from "../support/app.ts";
import { type ClientServer, inBrowser, launchChromium, openProfile, startClientServer } from "../support/browser.ts";
import { authorizeUrl, claimsOf, pkce, postForm, signUp, TestBrowser, type Tokens } from "../support/flow.ts";
import { readGuide, registerAt } from "./guide.ts";
import { answerOf, asksForLogin } from "./sign-in.ts";

const guide = readGuide("Mobile");

let app: TestApp;
let clientId: string;
beforeAll(async () => {
  app = await startApp({});
  const registered = await registerAt(app, guide);
  expect(registered.secret).toBe("");
  clientId = registered.clientId;
});
afterAll(() => app?.close());

/** The parameters of AppAuth's authorization request, and no others. */
function requestOf(redirectUri: string, challenge: string, extra: Record<string, string> = {}): URL {
  const scope = "openid profile email";
  return new URL(
    authorizeUrl(app.url, { clientId, redirectUri, scope, challenge, extra: { nonce: "a-nonce", ...extra } }),
  );
}

/** What AppAuth sends to the token endpoint: a form with the client's id, and no Authorization header. */
async function askForTokens(form: Record<string, string>): Promise<Response> {
  return postForm(`${app.url}/oauth2/token`, { client_id: clientId, ...form });
}

const kinds = [
  ["a private-use scheme", "com.example.myapp:/callback"],
  ["a claimed https URL", "https://app.example.com/callback"],
  ["a loopback address at the port that was free", "http://127.0.0.1:49152/callback"],
] as const;

describe("a mobile app as the guide registers it, with what AppAuth sends", () => {
  it.each(kinds)("signs in by %s, refreshes, and signs out", async (_, redirectUri) => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const { verifier, challenge } = pkce();
    const request = requestOf(redirectUri, challenge);
    const answer = await answerOf(request, account, browser);
    expect(answer.href.split("?")[0]).toBe(redirectUri);
    expect([answer.searchParams.get("state"), answer.searchParams.get("iss")]).toEqual(["a-state", app.url]);

    const code = answer.searchParams.get("code") ?? "";
    const first = await askForTokens({
      grant_type: "authorization_code",
      code,
      redirect_uri: redirectUri,
      code_verifier: verifier,
    });
    expect(first.status).toBe(200);
    const tokens = (await first.json()) as Tokens;
    expect(claimsOf(tokens.id_token)).toMatchObject({ sub: account.uuid, aud: clientId, nonce: "a-nonce" });

    const second = await askForTokens({ grant_type: "refresh_token", refresh_token: tokens.refresh_token });
    expect(second.status).toBe(200);
    const renewed = (await second.json()) as Tokens;
    expect(renewed.refresh_token).not.toBe(tokens.refresh_token);

    const endSession = new URL(`${app.url}/connect/logout`);
    const parameters = {
      id_token_hint: renewed.id_token,
      post_logout_redirect_uri: "com.example.myapp:/signed-out",
      state: "out",
    };
    for (const [name, value] of Object.entries(parameters)) endSession.searchParams.set(name, value);
    const out = await browser.get(endSession.href);
    expect(out.headers.get("location")).toBe("com.example.myapp:/signed-out?state=out");
    expect(await asksForLogin(request, browser)).toBe(true);
    const over = await askForTokens({ grant_type: "refresh_token", refresh_token: renewed.refresh_token });
    expect([over.status, await over.json()]).toMatchObject([401, { error: "invalid_grant" }]);
  });

  it.each([
    ["no challenge", { code_challenge: "", code_challenge_method: "" }],
    ["the method plain", { code_challenge_method: "plain" }],
  ])("gets no code with %s", async (_, change) => {
    const url = requestOf("com.example.myapp:/callback", pkce().challenge);
    for (const [name, value] of Object.entries(change)) {
      if (value === "") url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    const answer = await new TestBrowser().get(url.href);
    const location = new URL(answer.headers.get("location") ?? "");
    expect([location.protocol, location.searchParams.get("error")]).toEqual(["com.example.myapp:", "invalid_request"]);
  });

  it("gets no tokens for a code that another app caught, without the verifier", async () => {
    const redirectUri = "com.example.myapp:/callback";
    const answer = await answerOf(requestOf(redirectUri, pkce().challenge), await signUp(app.url));
    const code = answer.searchParams.get("code") ?? "";
    const form = { grant_type: "authorization_code", code, redirect_uri: redirectUri };
    for (const more of [{}, { code_verifier: pkce().verifier }]) {
      expect((await askForTokens({ ...form, ...more })).status).toBe(400);
    }
  });

  it.each([
    ["another path of the scheme", "com.example.myapp:/other"],
    ["two slashes where one is registered", "com.example.myapp://callback"],
    ["another scheme", "com.example.other:/callback"],
    ["another path of the loopback address", "http://127.0.0.1:49152/other"],
    ["the loopback address by its name", "http://localhost:49152/callback"],
    ["another path of the https URL", "https://app.example.com/callback/"],
  ])("is not sent to %s: the browser shows a page", async (_, redirectUri) => {
    const answer = await new TestBrowser().get(requestOf(redirectUri, pkce().challenge).href);
    expect([answer.status, answer.headers.get("location")]).toEqual([400, null]);
  });

  it.each(["myapp://callback", "http://app.example.com/callback", "com.example.myapp:/callback#here", "*"])(
    "cannot be registered with %s",
    async (redirectUri) => {
      const register = guide.register.replace("com.example.myapp:/callback", `'${redirectUri}'`);
      const another = { ...guide, register: register.replace("my-mobile-app", "another-app") };
      await expect(registerAt(app, another)).rejects.toMatchObject({
        stdout: expect.stringContaining("redirect_uris"),
      });
    },
  );

  it("is named by the code for Android and iOS as it is registered", () => {
    const sources = guide.code.filter((text) => text.includes("my-mobile-app"));
    expect(sources).toHaveLength(2);
    for (const source of sources) {
      expect(source).toContain(`"${clientId}"`);
      const named = [...source.matchAll(/"(com\.example\.myapp:[^"]*)"/g)].map(([, uri]) => uri);
      expect(named).toEqual(["com.example.myapp:/callback", "com.example.myapp:/signed-out"]);
      for (const uri of named) expect(guide.register).toContain(` ${uri}`);
    }
  });
});

describe("a desktop app that listens on a loopback address, in Chromium", () => {
  let browser: Browser | null;
  let listener: ClientServer;
  beforeAll(async () => {
    browser = await launchChromium();
    listener = await startClientServer();
  });
  afterAll(async () => {
    await browser?.close();
    await listener?.close();
  });

  inBrowser("gets the code at the port that it listens on", async () => {
    const account = await signUp(app.url);
    const { page, complaints, close } = await openProfile(browser, { locale: "en-US" });
    try {
      const redirectUri = `${listener.origin}/callback`;
      const { verifier, challenge } = pkce();
      await page.goto(requestOf(redirectUri, challenge).href);
      await page.getByLabel("E-mail address").fill(account.email);
      await page.getByLabel("Password").fill(account.password);
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      await page.getByRole("heading", { name: "Client" }).waitFor();
      const code = new URL(page.url()).searchParams.get("code") ?? "";
      const form = { grant_type: "authorization_code", code, redirect_uri: redirectUri, code_verifier: verifier };
      expect((await askForTokens(form)).status).toBe(200);
      expect(complaints).toEqual([]);
    } finally {
      await close();
    }
  });

  inBrowser(
    "and a browser goes on to an app's scheme after the login, as no policy of the page forbids it",
    async () => {
      const account = await signUp(app.url);
      const { page, complaints, close } = await openProfile(browser, { locale: "en-US" });
      try {
        await page.goto(requestOf("com.example.myapp:/callback", pkce().challenge).href);
        const devtools = await page.context().newCDPSession(page);
        await devtools.send("Network.enable");
        const asked = new Promise<string>((resolve) => {
          devtools.on("Network.requestWillBeSent", ({ request }) => {
            if (request.url.startsWith("com.example.myapp:")) resolve(request.url);
          });
        });
        await page.getByLabel("E-mail address").fill(account.email);
        await page.getByLabel("Password").fill(account.password);
        await page.getByRole("button", { name: "Sign in", exact: true }).click();
        expect(new URL(await asked).searchParams.get("code")).toMatch(/./);
        expect(complaints).toEqual([]);
      } finally {
        await close();
      }
    },
  );
});
