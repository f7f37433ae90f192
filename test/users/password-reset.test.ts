import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { requestPasswordReset } from "../../src/users/password-reset.ts";
import { startApp, type TestApp } from "../support/app.ts";
import {
  type Account,
  authorizeUrl,
  getCode,
  getTokens,
  hiddenFields,
  introspectSettled,
  postForm,
  postJson,
  redeem,
  refresh,
  signUp,
  TestBrowser,
} from "../support/flow.ts";
import { eventsOf, resetEvents, resetTokenFor, until } from "../support/resets.ts";

describe("the password reset", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  const newPassword = "the owner's new password";
  const confirm = (token: string, password = newPassword) =>
    postJson(`${app.url}/api/users/password-reset/confirm`, { token, newPassword: password });
  const login = async ({ email }: Account, password: string, browser = new TestBrowser()) =>
    (await browser.submit(`${app.url}/login`, { email, password })).status;
  const isSignedIn = async (browser: TestBrowser) => {
    const step = await browser.get(authorizeUrl(app.url, { extra: { prompt: "none" } }));
    return !step.headers.get("location")?.includes("error=login_required");
  };
  const linesOf = (uuid: string) =>
    app.logs
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ sub, event }) => sub === uuid && String(event).startsWith("password_reset"));

  it("S-170 ends everything the account had, signs no browser in, and puts the token only into the event for the mail", async () => {
    const account = await signUp(app.url);
    const tokens = await getTokens(app.url, account);
    const pending = await getCode(app.url, account, { browser: tokens.browser });
    expect(await isSignedIn(tokens.browser)).toBe(true);
    const older = await resetTokenFor(app, account.email);
    const token = await resetTokenFor(app, account.email);
    expect((await confirm(older)).status).toBe(400);
    // a token that was refused ends nothing
    expect(await isSignedIn(tokens.browser)).toBe(true);

    const done = await confirm(token);
    expect([done.status, done.headers.getSetCookie(), await done.text()]).toEqual([204, [], ""]);
    expect((await confirm(token, "a password of somebody else")).status).toBe(400);
    expect((await confirm(older)).status).toBe(400);
    expect(await introspectSettled(app.url, tokens.access_token)).toEqual({ active: false });
    const bearer = { authorization: `Bearer ${tokens.access_token}` };
    expect((await fetch(`${app.url}/userinfo`, { headers: bearer })).status).toBe(401);
    expect((await refresh(app.url, tokens.refresh_token)).status).toBe(401);
    expect(await (await redeem(app.url, pending.code, pending.verifier)).json()).toMatchObject({
      error: "invalid_grant",
    });
    expect(await isSignedIn(tokens.browser)).toBe(false);
    expect(await login(account, account.password)).toBe(401);
    expect(await login(account, newPassword)).toBe(303);

    expect(linesOf(account.uuid).map(({ level, time, request_id, address, agent, ...line }) => line)).toEqual([
      { event: "password_reset_requested", sub: account.uuid, msg: "password reset requested" },
      { event: "password_reset_requested", sub: account.uuid, msg: "password reset requested" },
      { event: "password_reset", sub: account.uuid, msg: "password reset" },
    ]);
    const { uuid: later } = await signUp(app.url);
    await until(() => eventsOf(app).find(({ key }) => key === later));
    for (const secret of [older, token]) {
      expect(app.logs.filter((line) => line.includes(secret))).toEqual([]);
      const told = eventsOf(app).filter((event) => JSON.stringify(event).includes(secret));
      expect(told.map(({ topic, key }) => [topic, key])).toEqual([["password-reset", account.uuid]]);
    }
  });

  it("S-170 leaves the browser of the reset page signed out", async () => {
    const account = await signUp(app.url);
    const token = await resetTokenFor(app, account.email);
    const browser = new TestBrowser();
    const link = `${app.url}/password-reset?token=${token}`;
    const answer = await browser.submit(link, { password: newPassword });
    expect([answer.status, answer.headers.getSetCookie().filter((line) => line.includes("session"))]).toEqual([
      200,
      [],
    ]);
    expect(await isSignedIn(browser)).toBe(false);
    expect((await browser.get(link)).status).toBe(400);
    expect(await login(account, newPassword, browser)).toBe(303);
  });

  it("C-38 the page behind a link names the account for password managers, and says at once when the link is dead", async () => {
    const account = await signUp(app.url);
    const older = await resetTokenFor(app, account.email);
    const token = await resetTokenFor(app, account.email);
    const page = async (value: string) => {
      const answer = await fetch(`${app.url}/password-reset?token=${value}`);
      return { status: answer.status, html: await answer.text() };
    };
    const live = await page(token);
    const username = /<input id="username"[^>]*>/.exec(live.html)?.[0] ?? "";
    expect([live.status, username.includes('autocomplete="username"')]).toEqual([200, true]);
    expect(username).toContain(`value="${account.email}"`);
    expect(username).toContain("readonly");
    const dead = { unknown: "x".repeat(43), malformed: "x", replaced: older };
    for (const [why, value] of Object.entries(dead)) {
      const { status, html } = await page(value);
      expect([why, status, html.includes("<form"), html.includes(account.email)]).toEqual([why, 400, false, false]);
      expect(html).toContain(MESSAGES.en.errors["reset_token_invalid"]);
    }
    app.clock.shift = 10 * 60_000;
    expect((await page(token)).status).toBe(400);
    app.clock.shift = 0;
    expect((await confirm(token)).status).toBe(204);
    expect((await page(token)).status).toBe(400);
  });

  it("C-38 the page after a request names the address that was typed, whether it has an account or not", async () => {
    const { email } = await signUp(app.url);
    for (const typed of [email, "<b>nobody@example.com", "nobody@example.com"]) {
      const answer = await new TestBrowser().submit(`${app.url}/password-reset`, { email: typed });
      const isAddress = !typed.startsWith("<");
      expect([typed, answer.status]).toEqual([typed, isAddress ? 200 : 400]);
      if (isAddress) expect(await answer.text()).toContain(`<strong>${typed}</strong>`);
    }
  });

  it("S-172 publishes five of a thousand resets in an hour, and locks out neither the account nor others", async () => {
    const [account, other] = [await signUp(app.url), await signUp(app.url)];
    const request = { email: account.email, asker: { ipAddress: "192.0.2.1", userAgent: "", language: "" } };
    await Promise.all(Array.from({ length: 1_000 }, () => requestPasswordReset(app.context, request)));
    expect(linesOf(account.uuid)).toHaveLength(5);
    await until(() => resetEvents(app, account.email)[4]);
    expect(await login(account, account.password)).toBe(303);
    expect((await confirm(await resetTokenFor(app, other.email))).status).toBe(204);
    expect(resetEvents(app, account.email)).toHaveLength(5);
  });

  it("S-173 asks for passwords in fields that managers fill and people paste into, and for nothing else", async () => {
    const token = await resetTokenFor(app, (await signUp(app.url)).email);
    for (const [path, autocomplete, others] of [
      ["/login", "current-password", ["email"]],
      ["/signup", "new-password", ["email", "nickname"]],
      [`/password-reset?token=${token}`, "new-password", ["username"]],
    ] as const) {
      const html = await (await fetch(app.url + path)).text();
      const inputs = (html.match(/<(?:input|textarea|select)\b[^>]*>/g) ?? []).filter(
        (each) => !each.includes('"hidden"'),
      );
      const nameOf = (input: string) => /\bname="([^"]*)"/.exec(input)?.[1];
      expect([path, inputs.map(nameOf)]).toEqual([path, [...others, "password"]]);
      const password = inputs.at(-1) ?? "";
      expect(password).toContain('type="password"');
      expect(password).toContain(`autocomplete="${autocomplete}"`);
      expect(password).not.toMatch(/maxlength|readonly|pattern/);
      expect(html).not.toMatch(/<script(?! src="\/assets\/)|\son[a-z]+\s*=|javascript:/i);
    }
  });

  it("S-174 sets no password by GET, by a form of another site, or by a plain-text body", async () => {
    const account = await signUp(app.url);
    const token = await resetTokenFor(app, account.email);
    const evil = { origin: "https://evil.example", "sec-fetch-site": "cross-site" };
    const browser = new TestBrowser();
    const page = await browser.get(`${app.url}/password-reset?token=${token}`);
    const form = { ...hiddenFields(await page.text()), password: newPassword };
    const confirmPage = `${app.url}/password-reset/confirm`;
    expect((await browser.get(`${confirmPage}?${new URLSearchParams(form)}`)).status).toBe(405);
    expect((await browser.post(confirmPage, form, evil)).status).toBe(403);
    expect((await browser.post(confirmPage, { ...form, csrf: "" })).status).toBe(403);
    expect((await new TestBrowser().post(confirmPage, form)).status).toBe(403);

    const api = `${app.url}/api/users/password-reset/confirm`;
    const fields = { token, newPassword };
    expect((await fetch(`${api}?${new URLSearchParams(fields)}`, { headers: evil })).status).toBe(405);
    expect((await postForm(api, fields, evil)).status).toBe(415);
    const plain = { ...evil, "content-type": "text/plain" };
    expect((await postJson(api, fields, plain)).status).toBe(415);

    expect(await login(account, account.password)).toBe(303);
    expect((await browser.post(confirmPage, form)).status).toBe(200);
    expect(await login(account, newPassword)).toBe(303);
  });
});
