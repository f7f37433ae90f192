import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../../support/app.ts";
import {
  authorizeUrl,
  getCode,
  getTokens,
  hiddenFields,
  introspect,
  introspectSettled,
  redeem,
  signUp,
  TestBrowser,
  type Tokens,
} from "../../support/flow.ts";

const a = { clientId: "a", redirectUri: "https://a.example/callback" };
const out = "https://a.example/out";
let app: TestApp;
beforeAll(async () => {
  app = await startApp({}, [
    {
      client_id: a.clientId,
      client_name: "Photo Album",
      first_party: true,
      redirect_uris: [a.redirectUri],
      post_logout_redirect_uris: [out],
      grant_types: ["authorization_code", "refresh_token"],
      token_endpoint_auth_method: "none",
      scope: "openid profile read write",
    },
  ]);
});
afterAll(() => app.close());

const logoutUrl = (query: Record<string, string>) => `${app.url}/connect/logout?${new URLSearchParams(query)}`;
const isSignedIn = async (browser: TestBrowser) => {
  const answer = await browser.get(authorizeUrl(app.url, { ...a, extra: { prompt: "none" } }));
  return answer.headers.get("location")?.includes("code=") === true;
};

it("S-127 asks whoever is signed in when the hint is somebody else's", async () => {
  const other = await getTokens(app.url, await signUp(app.url), a);
  const { browser } = await getTokens(app.url, await signUp(app.url), a);
  const url = logoutUrl({ id_token_hint: other.id_token, post_logout_redirect_uri: out, state: "x" });
  const asked = await browser.get(url);
  expect([asked.status, asked.headers.get("location")]).toEqual([200, null]);
  expect([await isSignedIn(browser), await isSignedIn(other.browser)]).toEqual([true, true]);
  const confirmed = await browser.submit(url, {});
  expect([confirmed.status, confirmed.headers.get("location")]).toEqual([303, `${out}?state=x`]);
  expect([await isSignedIn(browser), await isSignedIn(other.browser)]).toEqual([false, true]);
});

it("S-127 without a hint shows a page first, also to a browser that is not signed in", async () => {
  const query = { client_id: "a", post_logout_redirect_uri: out, state: "x" };
  const answer = await new TestBrowser().get(logoutUrl(query));
  expect([answer.status, answer.headers.get("location")]).toEqual([200, null]);
  expect(await answer.text()).toContain(`href="${out}?state=x"`);
});

it("S-127 speaks the language that the application asks for (ui_locales, RP-Initiated Logout 1.0 section 2)", async () => {
  const { browser } = await getTokens(app.url, await signUp(app.url), a);
  const languageOf = (answer: Response) => answer.headers.get("content-language");
  const french = { ui_locales: "xx fr-CA" };
  expect(
    languageOf(await browser.get(logoutUrl({ ...french, post_logout_redirect_uri: "https://evil.example" }))),
  ).toBe("fr");
  const asked = await browser.get(logoutUrl(french));
  expect([asked.status, languageOf(asked)]).toEqual([200, "fr"]);
  expect(hiddenFields(await asked.text())).toMatchObject(french);
  expect(languageOf(await browser.submit(logoutUrl(french), {}))).toBe("fr");
  expect(languageOf(await new TestBrowser().get(logoutUrl(french)))).toBe("fr");
});

it("C-31 a question that somebody else answers, who signed in meanwhile, leads back to it by the application's name", async () => {
  const { browser } = await getTokens(app.url, await signUp(app.url), a);
  const url = logoutUrl({ client_id: "a", post_logout_redirect_uri: out });
  const form = hiddenFields(await (await browser.get(url)).text());
  const other = await signUp(app.url);
  await browser.submit(`${app.url}/login?account=other`, { email: other.email, password: other.password });
  const again = await browser.post(`${app.url}/connect/logout`, form);
  expect([again.status, await isSignedIn(browser)]).toEqual([403, true]);
  const [, back = "", label = ""] = /<a class="button" href="([^"]+)">([^<]+)</.exec(await again.text()) ?? [];
  expect(label).toContain("Photo Album");
  const left = await browser.submit(new URL(back.replaceAll("&amp;", "&"), app.url).href, {});
  expect([left.status, left.headers.get("location")]).toEqual([303, out]);
  expect(await isSignedIn(browser)).toBe(false);
});

it("logging out ends an authorization whose code was redeemed while the same browser signed in again", async () => {
  const account = await signUp(app.url);
  const { authorizations } = app.context.store;
  const { code, verifier, browser } = await getCode(app.url, account, a);
  const { redeemCode } = authorizations;
  authorizations.redeemCode = async (...parameters) => {
    await getCode(app.url, account, { ...a, browser, extra: { prompt: "login" } });
    return redeemCode.apply(authorizations, parameters);
  };
  const redeemed = await redeem(app.url, code, verifier, { client_id: "a", redirect_uri: a.redirectUri });
  authorizations.redeemCode = redeemCode;
  const { access_token } = (await redeemed.json()) as Tokens;
  expect(await introspect(app.url, access_token)).toMatchObject({ active: true });
  await browser.submit(logoutUrl({ client_id: "a" }), {});
  expect(await introspectSettled(app.url, access_token)).toEqual({ active: false });
});
