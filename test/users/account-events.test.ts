import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { setPassword } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { type Account, authorizeUrl, getTokens, postJson, signUp, TestBrowser, uniqueEmail } from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";
import { allTold, eventsOf, resetTokenFor, until } from "../support/resets.ts";

describe("the events of an account", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  const korean = { "accept-language": "ko-KR,ko;q=0.9,en;q=0.8", "user-agent": "a browser/1.0" };
  const told = (topic: string, { email }: Account) =>
    eventsOf(app).filter((told) => told.topic === topic && told.event.payload["email"] === email);
  const users = () => createClient(UserService, internalTransport(app.grpc));

  it("say how the password came to be another one, once for each way", async () => {
    const account = await signUp(app.url);
    const changing = { currentPassword: account.password, newPassword: "another horse battery" };
    const { access_token } = await getTokens(app.url, account);
    const bearer = { ...korean, authorization: `Bearer ${access_token}` };
    expect((await postJson(`${app.url}/api/users/me/password`, changing, bearer)).status).toBe(204);
    const reset = { token: await resetTokenFor(app, account.email), newPassword: "a third horse battery" };
    expect((await postJson(`${app.url}/api/users/password-reset/confirm`, reset, korean)).status).toBe(204);
    expect((await postJson(`${app.url}/api/users/password-reset/confirm`, reset, korean)).status).toBe(400);
    await setPassword(app.context, account.uuid, "an operator's horse");

    await until(() => told("user-password-changed", account)[2]);
    const byBrowser = { ipAddress: expect.stringMatching(/^127\.|^::1/), userAgent: "a browser/1.0", locale: "ko-KR" };
    expect(told("user-password-changed", account).map(({ event }) => event.payload)).toEqual([
      { uuid: account.uuid, email: account.email, change: "CHANGED", ...byBrowser },
      { uuid: account.uuid, email: account.email, change: "RESET", ...byBrowser },
      { uuid: account.uuid, email: account.email, change: "SET_BY_OPERATOR" },
    ]);
  });

  it("have the user's locale claim before the language of the browser", async () => {
    const account = await signUp(app.url);
    const asked = () => postJson(`${app.url}/api/users/password-reset`, { email: account.email }, korean);
    await asked();
    const claims = { locale: "fr-CA" };
    await users().updateUser({ uuid: account.uuid, claims, updateMask: { paths: ["claims"] } });
    await asked();
    await allTold(app);
    const locales = told("password-reset", account).map(({ event }) => event.payload["locale"]);
    expect(locales).toEqual(["ko-KR", "fr-CA"]);
    expect(told("user-signup", account).map(({ event }) => event.payload["locale"])).toEqual([undefined]);
  });

  it("are in the language that a person chose on the pages, whatever their browser prefers", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser({ "accept-language": "en-GB" });
    await browser.get(`${app.url}/password-reset?language=ja`);
    expect((await browser.submit(`${app.url}/password-reset`, { email: account.email })).status).toBe(200);
    const { event } = await until(() => told("password-reset", account)[0]);
    expect(event.payload["locale"]).toBe("ja");
  });

  it.each([
    ["nl, de-AT;q=0.9, ko;q=0.5", "de", "de-AT"],
    ["en;q=0.2, ko-KR", "ko", "ko-KR"],
    // the pages have none of these: who writes mails of their own may
    ["nl-BE, sv;q=0.5", "en", "nl-BE"],
    ["nl, *;q=0.5", "en", "nl"],
    ["*", "en", undefined],
  ])("are in the language of the page where the browser prefers %s", async (accepted, page, locale) => {
    const account = await signUp(app.url);
    const browser = new TestBrowser({ "accept-language": accepted });
    const sent = await browser.submit(`${app.url}/password-reset`, { email: account.email });
    expect(sent.headers.get("content-language")).toBe(page);
    const { event } = await until(() => told("password-reset", account)[0]);
    expect(event.payload["locale"]).toBe(locale);
  });

  it("are in the language that the application asks for, on every page of its request", async () => {
    const account = { email: uniqueEmail(), password: "correct horse battery", nickname: "Ada" };
    const open = async (headers: object, ui_locales = "nl fr-CA ja") => {
      const browser = new TestBrowser({ "accept-language": "en", ...headers });
      const asked = await browser.get(authorizeUrl(app.url, { extra: { ui_locales } }));
      return { browser, login: new URL(asked.headers.get("location") ?? "", app.url).href };
    };
    const first = await open({});
    const made = await first.browser.submit(first.login.replace("/login", "/signup"), account);
    expect(made.status).toBe(303);
    const second = await open({});
    expect((await second.browser.submit(second.login, account)).status).toBe(303);
    const reset = await open({});
    await reset.browser.submit(reset.login.replace("/login", "/password-reset"), { email: account.email });
    // a choice on the pages goes before it
    const chosen = await open({});
    await chosen.browser.get(`${app.url}/login?language=es`);
    await chosen.browser.submit(chosen.login.replace("/login", "/password-reset"), { email: account.email });
    await allTold(app);
    const locales = (topic: string) => told(topic, account).map(({ event }) => event.payload["locale"]);
    expect(locales("user-signup")).toEqual(["fr-CA"]);
    expect(locales("user-email-verification")).toEqual(["fr-CA"]);
    expect(locales("user-security")).toEqual(["fr-CA"]);
    expect(locales("password-reset")).toEqual(["fr-CA", "es"]);
  });

  const german = { "accept-language": "de-AT,de;q=0.9" };
  /** Signs in on the pages. */
  const signIn = async (account: Account, headers: Record<string, string>, browser = new TestBrowser()) => {
    Object.assign(browser.headers, headers);
    const { email, password } = account;
    expect((await browser.submit(`${app.url}/login`, { email, password })).status).toBe(303);
    return browser;
  };

  it("speak the language of the account's owner, whatever the browser of a stranger who has the password prefers", async () => {
    const account = await signUp(app.url, {}, german);
    await getTokens(app.url, account, { browser: await signIn(account, german) });
    const stranger = await signIn(account, korean);
    const { access_token } = await getTokens(app.url, account, { browser: stranger });
    const changing = { currentPassword: account.password, newPassword: "another horse battery" };
    const bearer = { ...korean, authorization: `Bearer ${access_token}` };
    expect((await postJson(`${app.url}/api/users/me/password`, changing, bearer)).status).toBe(204);
    await users().resetFactors({ uuid: account.uuid });
    await users().deleteUser({ uuid: account.uuid });
    await allTold(app);
    const locales = (topic: string) => told(topic, account).map(({ event }) => event.payload["locale"]);
    expect(locales("user-signup")).toEqual(["de-AT"]);
    expect(locales("user-login")).toEqual(["de-AT", "de-AT"]);
    expect(told("user-security", account).map(({ event }) => event.payload["kind"])).toEqual([
      "NEW_DEVICE",
      "FACTORS_RESET",
    ]);
    expect(locales("user-security")).toEqual(["de-AT", "de-AT"]);
    expect(locales("user-password-changed")).toEqual(["de-AT"]);
    expect(locales("user-deleted")).toEqual(["de-AT"]);
  });

  it("follow the owner to another language by a login from a browser that the account knows, or by the first one", async () => {
    const account = await signUp(app.url);
    const notify = async (count: number) => {
      await users().resetFactors({ uuid: account.uuid });
      await until(() => resets()[count - 1]);
      return resets().at(-1)?.event.payload["locale"];
    };
    const resets = () =>
      told("user-security", account).filter(({ event }) => event.payload["kind"] === "FACTORS_RESET");
    const browser = await signIn(account, german);
    expect(await notify(1)).toBe("de-AT");
    await signIn(account, korean, browser);
    expect(await notify(2)).toBe("ko-KR");
    // a browser that names none changes nothing, and neither does a new one
    await signIn(account, { "accept-language": "*" }, browser);
    await signIn(account, german);
    expect(await notify(3)).toBe("ko-KR");
  });

  it("of what somebody waits for speak the language in which they asked, else that of the account", async () => {
    const account = await signUp(app.url, {}, german);
    const ask = (headers: Record<string, string>) =>
      postJson(`${app.url}/api/users/password-reset`, { email: account.email }, headers);
    await ask(korean);
    await until(() => told("password-reset", account)[0]);
    await ask({});
    await until(() => told("password-reset", account)[1]);
    const locales = told("password-reset", account).map(({ event }) => event.payload["locale"]);
    expect(locales).toEqual(["ko-KR", "de-AT"]);
  });

  it("say once that the account was deleted, and where it could be reached", async () => {
    const account = await signUp(app.url);
    const deleting = () => users().deleteUser({ uuid: account.uuid });
    const answers = await Promise.allSettled(Array.from({ length: 10 }, deleting));
    expect(answers.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    const { event } = await until(() => told("user-deleted", account)[0]);
    expect(event.payload).toEqual({
      uuid: account.uuid,
      email: account.email,
      deletedAt: expect.stringMatching(/^\d{4}-/),
    });
    expect(told("user-deleted", account)).toHaveLength(1);
  });
});
