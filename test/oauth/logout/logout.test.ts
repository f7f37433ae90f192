import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { decodeProtectedHeader } from "jose";
import { removeOutlivedKeys, rotateSigningKeys } from "../../../src/oauth/keys/rotation.ts";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  authorizeUrl,
  getTokens,
  hiddenFields,
  introspect,
  introspectSettled,
  signUp,
  TestBrowser,
} from "../../support/flow.ts";

const clients = ["a", "b"].map((name) => ({
  client_id: name,
  redirect_uris: [`https://${name}.example/cb`],
  post_logout_redirect_uris: [`https://${name}.example/out`],
  scope: "openid",
  first_party: true,
}));
const DAY = 86_400_000;
const a = { clientId: "a", redirectUri: "https://a.example/cb", scope: "openid" };

describe("logout that a client asks for", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({}, clients);
  });
  afterEach(() => {
    app.clock.shift = 0;
  });
  afterAll(() => app.close());

  const logout = (browser: TestBrowser, query: Record<string, string>) =>
    browser.get(`${app.url}/connect/logout?${new URLSearchParams(query)}`);
  const isSignedIn = async (browser: TestBrowser) => {
    const answer = await browser.get(authorizeUrl(app.url, { ...a, extra: { prompt: "none" } }));
    return answer.headers.get("location")?.includes("code=") === true;
  };

  it("S-126 takes a hint that has long expired, and goes back with state", async () => {
    const { id_token, access_token, browser } = await getTokens(app.url, await signUp(app.url), a);
    app.clock.shift = 3_600_000;
    expect(await isSignedIn(browser)).toBe(true);
    const query = { id_token_hint: id_token, post_logout_redirect_uri: "https://a.example/out", state: "s t&=+" };
    const answer = await logout(browser, query);
    expect(answer.status).toBe(303);
    const location = new URL(answer.headers.get("location") ?? "");
    expect([location.origin + location.pathname, [...location.searchParams]]).toEqual([
      "https://a.example/out",
      [["state", "s t&=+"]],
    ]);
    expect(await isSignedIn(browser)).toBe(false);
    app.clock.shift = 0;
    expect(await introspectSettled(app.url, access_token)).toEqual({ active: false });
  });

  it("C-16 takes a hint whose signing key was replaced, as long as a session may live", async () => {
    const { id_token, browser } = await getTokens(app.url, await signUp(app.url), a);
    const query = { id_token_hint: id_token, post_logout_redirect_uri: "https://a.example/out" };
    await rotateSigningKeys(app.context, null);
    // the old key is in no key set any more
    app.clock.shift = 3 * DAY;
    await removeOutlivedKeys(app.context);
    await app.context.keys.reload();
    const { keys } = (await (await fetch(`${app.url}/oauth2/jwks`)).json()) as { keys: { kid: string }[] };
    expect(keys.map(({ kid }) => kid)).not.toContain(decodeProtectedHeader(id_token).kid);
    expect((await logout(browser, query)).headers.get("location")).toBe("https://a.example/out");
    app.clock.shift = 15 * DAY;
    expect((await logout(browser, query)).headers.get("location")).toBeNull();
  });

  it("C-33 takes a form of another site by the GET that follows, which brings the cookie and asks", async () => {
    const { browser } = await getTokens(app.url, await signUp(app.url), a);
    const form = { client_id: "a", post_logout_redirect_uri: "https://a.example/out", state: "x y" };
    // the browser sends no SameSite=Lax cookie with a POST of another site
    const posted = await new TestBrowser().post(`${app.url}/connect/logout`, form, { "sec-fetch-site": "cross-site" });
    expect([posted.status, posted.headers.get("set-cookie")]).toEqual([303, null]);
    const asked = await browser.get(new URL(posted.headers.get("location") ?? "", app.url).href);
    expect(asked.status).toBe(200);
    expect(await isSignedIn(browser)).toBe(true);
    const signedOut = await browser.post(`${app.url}/connect/logout`, hiddenFields(await asked.text()));
    expect(signedOut.headers.get("location")).toBe("https://a.example/out?state=x+y");
    expect(await isSignedIn(browser)).toBe(false);
  });

  it("C-70 ends only the authorization of an ID token that comes without a session cookie", async () => {
    const account = await signUp(app.url);
    const first = await getTokens(app.url, account, a);
    const other = { ...a, clientId: "b", redirectUri: "https://b.example/cb", browser: first.browser };
    const second = await getTokens(app.url, account, other);
    const answer = await logout(new TestBrowser(), { id_token_hint: first.id_token });
    expect(answer.status).toBe(200);
    expect(await introspectSettled(app.url, first.access_token)).toEqual({ active: false });
    expect(await introspect(app.url, second.access_token)).toMatchObject({ active: true });
    expect(await isSignedIn(first.browser)).toBe(true);
  });

  it("C-16 ignores a hint that cannot be verified: a signed-in user is asked", async () => {
    const { id_token, browser } = await getTokens(app.url, await signUp(app.url), a);
    const query = { id_token_hint: `${id_token}x`, client_id: "a", post_logout_redirect_uri: "https://a.example/out" };
    const asked = await logout(browser, query);
    expect([asked.status, asked.headers.get("location")]).toEqual([200, null]);
    expect(await isSignedIn(browser)).toBe(true);
    const signedOut = await browser.post(`${app.url}/connect/logout`, hiddenFields(await asked.text()));
    expect(signedOut.headers.get("location")).toBe("https://a.example/out");
  });

  it("S-127 goes nowhere with another URI, a changed hint or another client's, and leaves the session as it is", async () => {
    const { id_token: hint, access_token, browser } = await getTokens(app.url, await signUp(app.url), a);
    const good = { id_token_hint: hint, post_logout_redirect_uri: "https://a.example/out" };
    const [head, body = "", tail = ""] = hint.split(".");
    const claims = JSON.parse(Buffer.from(body, "base64url").toString()) as object;
    const changed = Buffer.from(JSON.stringify({ ...claims, aud: "b" })).toString("base64url");
    const wrong: Record<string, string>[] = [
      ...[
        "https://evil.example/",
        "https://a.example/out/",
        "https://a.example/out?x=1",
        "https://a.example/out#x",
        "https://a.example/OUT",
        "https://A.example/out",
        "http://a.example/out",
        "https://a.example:443/out",
        "https://a.example/./out",
        "https://a.example/out%20",
        "https://a.example/out\\@evil.example",
        "https://a.example@evil.example/out",
        "https://b.example/out",
        "//a.example/out",
        "/out",
        "javascript:alert(1)",
        "data:text/html,x",
      ].map((post_logout_redirect_uri) => ({ ...good, post_logout_redirect_uri })),
      { ...good, id_token_hint: `${head}.${changed}.${tail}` },
      { ...good, id_token_hint: `${head}.${body}.${tail.replace(/^./, (first) => (first === "A" ? "B" : "A"))}` },
      { ...good, id_token_hint: access_token },
      { ...good, id_token_hint: "x" },
      { ...good, client_id: "b" },
      { ...good, client_id: "b", post_logout_redirect_uri: "https://b.example/out" },
      { id_token_hint: hint, client_id: "b" },
    ];
    for (const query of wrong) {
      const answer = await logout(browser, query);
      expect([query, answer.status, answer.headers.get("location")]).toEqual([query, 400, null]);
    }
    expect(await isSignedIn(browser)).toBe(true);
    expect(await introspect(app.url, access_token)).toMatchObject({ active: true });
  });

  it("S-127 asks first without a hint, and goes to the client only after that", async () => {
    const { browser } = await getTokens(app.url, await signUp(app.url), a);
    const query = { client_id: "a", post_logout_redirect_uri: "https://a.example/out", state: "x" };
    const asked = await logout(browser, query);
    expect([asked.status, asked.headers.get("location")]).toEqual([200, null]);
    expect(await isSignedIn(browser)).toBe(true);
    const url = `${app.url}/connect/logout?${new URLSearchParams(query)}`;
    const confirmed = await browser.submit(url, {});
    expect([confirmed.status, confirmed.headers.get("location")]).toEqual([303, "https://a.example/out?state=x"]);
    expect(await isSignedIn(browser)).toBe(false);
  });
});
