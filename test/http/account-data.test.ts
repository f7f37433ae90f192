import { createClient } from "@connectrpc/connect";
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { AuthError } from "../../src/errors.ts";
import { ACCOUNT_MESSAGES } from "../../src/http/pages/account-messages/account-messages.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { eraseClosedAccounts, GRACE_MS } from "../../src/users/deletion.ts";
import { setUserDisabled } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { codeOf, firstStep, giveApp } from "../support/factors.ts";
import {
  type Account,
  authorizeUrl,
  getTokens,
  hiddenFields,
  introspectSettled,
  refresh,
  signUp,
  TestBrowser,
  uniqueEmail,
} from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";
import { newPasskeyOwner, optionsOf, signInWithPasskey } from "../support/passkeys.ts";
import { eventsOf, resetTokenFor, until } from "../support/resets.ts";
import { rowsOf } from "../support/sqlite.ts";

const [t, a] = [MESSAGES.en, ACCOUNT_MESSAGES.en];

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const users = () => createClient(UserService, internalTransport(app.grpc));
const kindsOf = (uuid: string) =>
  eventsOf(app)
    .filter(({ key, topic }) => key === uuid && (topic === "user-security" || topic === "user-deleted"))
    .map(({ event, topic }) => event.payload["kind"] ?? topic);

async function signedIn(account: Account): Promise<TestBrowser> {
  const browser = new TestBrowser();
  expect((await browser.submit(`${app.url}/login`, account as unknown as Record<string, string>)).status).toBe(303);
  return browser;
}

/** Sends the form of a page that has this action. */
async function send(browser: TestBrowser, page: string, action: string, fields: Record<string, string> = {}) {
  const html = await (await browser.get(app.url + page)).text();
  const at = html.indexOf(`action="${action}"`);
  expect(at).toBeGreaterThan(0);
  const form = html.slice(at, html.indexOf("</form>", at));
  return browser.post(app.url + action, { ...hiddenFields(form), ...fields });
}

const close = (browser: TestBrowser, account: Account, currentPassword = account.password) =>
  send(browser, "/account/data", "/account/delete", { current_password: currentPassword });

describe("the profile page", () => {
  it("shows and changes nickname and claims, and leaves claims alone that it does not show", async () => {
    const account = await signUp(app.url);
    const { uuid } = account;
    await users().updateUser({ uuid, claims: { gender: "x", name: "Old" }, updateMask: { paths: ["claims"] } });
    const browser = await signedIn(account);
    const fields = { nickname: "Ann", name: "Ann Example", birthdate: "1990-12-31", locale: "fr-CA", website: "" };
    const saved = await send(browser, "/account/profile", "/account/profile", fields);
    expect([saved.status, saved.headers.get("location")]).toEqual([303, "/account/profile?done=1"]);
    const html = await (await browser.get(`${app.url}/account/profile?done=1`)).text();
    for (const text of [a.profile.saved, 'value="Ann Example"', 'value="fr-CA"']) expect(html).toContain(text);
    const { user } = await users().getUser({ uuid });
    expect(user).toMatchObject({
      nickname: "Ann",
      claims: { gender: "x", name: "Ann Example", birthdate: "1990-12-31" },
    });
    await send(browser, "/account/profile", "/account/profile", { nickname: "Ann", name: " " });
    expect((await users().getUser({ uuid })).user?.claims?.name).toBe("");
  });

  it("says which value cannot be used, names that turn the text around them included", async () => {
    const browser = await signedIn(await signUp(app.url));
    for (const [field, value] of [
      ["nickname", "Ann\u202egpj.exe"],
      ["name", "Ann\u2067 Example"],
      ["birthdate", "31.12.1990"],
      ["website", "javascript:alert(1)"],
      ["zoneinfo", "Mars/Olympus"],
    ] as const) {
      const answer = await send(browser, "/account/profile", "/account/profile", { nickname: "Ann", [field]: value });
      const html = await answer.text();
      expect([field, answer.status, html.includes(`id="${field}-wrong"`)]).toEqual([field, 400, true]);
    }
    const emoji = "🦊".repeat(50);
    expect((await send(browser, "/account/profile", "/account/profile", { nickname: emoji })).status).toBe(303);
    const tooMany = await send(browser, "/account/profile", "/account/profile", { nickname: "🦊".repeat(64) });
    expect(tooMany.status).toBe(400);
  });
});

describe("the address page", () => {
  it("wants the current password, and shows the address that waits for its link", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const email = uniqueEmail();
    const wrong = await send(browser, "/account/email", "/account/email", { email, current_password: "wrong" });
    expect([wrong.status, (await wrong.text()).includes(t.currentPasswordWrong)]).toEqual([400, true]);
    const asked = await send(browser, "/account/email", "/account/email", {
      email,
      current_password: account.password,
    });
    expect(asked.status).toBe(303);
    const html = await (await browser.get(`${app.url}/account/email`)).text();
    expect(html).toContain(email);
    expect(html).toContain(a.address.unconfirmed);
  });
});

describe("the data page", () => {
  it("hands out everything that is stored about the user, and no secret", async () => {
    const account = await signUp(app.url, { nickname: "Zoë 🦊" }, { "accept-language": "de-AT" });
    await getTokens(app.url, account, { browser: new TestBrowser({ "user-agent": "a browser/1.0" }) });
    const browser = await signedIn(account);
    const file = await send(browser, "/account/data", "/account/export");
    expect(file.headers.get("content-disposition")).toBe('attachment; filename="account.json"');
    const text = await file.text();
    expect(JSON.parse(text)).toMatchObject({
      account: { uuid: account.uuid, email: account.email, emailVerified: false, language: "de-AT" },
      profile: { nickname: "Zoë 🦊" },
      factors: { authenticatorAppAddedAt: null, passkeys: [], recoveryCodesLeft: 0 },
      sessions: expect.arrayContaining([expect.objectContaining({ userAgent: "a browser/1.0" })]),
      applications: [expect.objectContaining({ clientId: "portal-client" })],
      authorizations: [expect.objectContaining({ clientId: "portal-client", grantType: "authorization_code" })],
    });
    expect(text).not.toMatch(/argon2|hash/i);
    const { data } = await users().exportUser({ uuid: account.uuid });
    expect(Object.keys(data ?? {}).sort()).toEqual(Object.keys(JSON.parse(text)).sort());
  });

  it("closes the account at once with the current password, and a second press says the same", async () => {
    const account = await signUp(app.url);
    const tokens = await getTokens(app.url, account);
    const browser = await signedIn(account);
    expect((await close(browser, account, "wrong")).status).toBe(400);
    const html = await (await browser.get(`${app.url}/account/data`)).text();
    const at = html.indexOf('action="/account/delete"');
    const form = { ...hiddenFields(html.slice(at)), current_password: account.password };
    const kept = new Map(browser.cookies);
    const endOf = async (answer: Response) => {
      expect(answer.status).toBe(303);
      const page = await browser.get(new URL(answer.headers.get("location") ?? "", app.url).href);
      return [page.status, (await page.text()).includes(a.data.closedTitle)];
    };
    expect(await endOf(await browser.post(`${app.url}/account/delete`, form))).toEqual([200, true]);
    for (const [name, value] of kept) browser.cookies.set(name, value);
    expect(await endOf(await browser.post(`${app.url}/account/delete`, form))).toEqual([200, true]);
    expect((await browser.get(`${app.url}/account/closed?account=x`)).status).toBe(403);
    expect(await introspectSettled(app.url, tokens.access_token)).toEqual({ active: false });
    expect((await refresh(app.url, tokens.refresh_token)).status).toBe(401);
    await until(() => (kindsOf(account.uuid).includes("DELETION_REQUESTED") ? true : undefined));
    expect(kindsOf(account.uuid).filter((kind) => kind === "DELETION_REQUESTED")).toHaveLength(1);
  });

  it("C-30 closes the account once for presses in several tabs at the same moment, and each of them says so", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const html = await (await browser.get(`${app.url}/account/data`)).text();
    const at = html.indexOf('action="/account/delete"');
    const form = { ...hiddenFields(html.slice(at)), current_password: account.password };
    const presses = await Promise.all(Array.from({ length: 6 }, () => browser.post(`${app.url}/account/delete`, form)));
    const ends = presses.map(({ status, headers }) => [status, headers.get("location")?.split("?", 1)[0]]);
    expect(ends).toEqual(presses.map(() => [303, "/account/closed"]));
    await until(() => (kindsOf(account.uuid).includes("DELETION_REQUESTED") ? true : undefined));
    expect(kindsOf(account.uuid).filter((kind) => kind === "DELETION_REQUESTED")).toHaveLength(1);
  });

  it("keeps a closed account for its second factor alone, if there is one", async () => {
    const account = await signUp(app.url);
    await close(await signedIn(account), account);
    const secret = await giveApp(app, account.uuid);
    const { browser, form, status } = await firstStep(app.url, account);
    expect([status, form["closed"]]).toEqual([200, undefined]);
    const kept = await browser.post(`${app.url}/login/second-factor`, {
      ...form,
      code: codeOf(secret, app.clock.now()),
    });
    const html = await kept.text();
    expect([kept.status, html.includes(a.data.restoreTitle)]).toEqual([403, true]);
    expect((await browser.post(`${app.url}/account/restore`, hiddenFields(html))).status).toBe(200);
  });

  it("keeps a closed account by a recovery code whose owner has lost the phone, once", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    await giveApp(app, account.uuid);
    const { codes } = await users().makeRecoveryCodes({ uuid: account.uuid });
    await close(browser, account);
    const give = async () => {
      const { browser: stranger, form } = await firstStep(app.url, account);
      const answer = await stranger.post(`${app.url}/login/second-factor`, { ...form, code: codes[0] ?? "" });
      return [answer.status, (await answer.text()).includes(a.data.restoreTitle)];
    };
    expect(await give()).toEqual([403, true]);
    expect(await give()).toEqual([401, false]);
    await until(() => (kindsOf(account.uuid).includes("RECOVERY_CODE_USED") ? true : undefined));
  });

  it("stays closed for what had signed in before: a passkey's answer, and a second step", async () => {
    const bases = [app.url, app.url] as const;
    const authenticator = new Authenticator(app.url);
    const { account } = await newPasskeyOwner(bases, authenticator);
    const alone = await signInWithPasskey(bases, authenticator);
    const second = new TestBrowser();
    const asked = await second.submit(`${app.url}/login`, { email: account.email, password: account.password });
    const html = await asked.text();
    const step = { ...hiddenFields(html), credential: authenticator.get(optionsOf(html)) };
    expect((await second.post(`${app.url}/login/second-factor`, step)).status).toBe(303);
    await users().requestDeletion({ uuid: account.uuid });
    const forms = [
      [alone.browser, "/login/passkey", alone.sent],
      [second, "/login/second-factor", step],
    ] as const;
    for (const [browser, path, sent] of forms) {
      const answer = await browser.post(app.url + path, sent);
      expect([path, answer.status, (await answer.text()).includes(a.data.restoreTitle)]).toEqual([path, 401, false]);
    }
    // a new answer keeps it, by both of two presses: it was asked for after the last sign-in, to the second
    app.clock.shift += 2_000;
    const fresh = await signInWithPasskey(bases, authenticator);
    const again = await fresh.browser.post(`${app.url}/login/passkey`, fresh.sent);
    expect([fresh.response.status, again.status]).toEqual([403, 403]);
    expect((await fresh.browser.post(`${app.url}/account/restore`, hiddenFields(await again.text()))).status).toBe(200);
  });

  it("stays closed for the form that kept it the time before", async () => {
    const account = await signUp(app.url);
    await close(await signedIn(account), account);
    const browser = new TestBrowser();
    const { email, password } = account;
    const form = hiddenFields(await (await browser.submit(`${app.url}/login`, { email, password })).text());
    const press = async () => (await browser.post(`${app.url}/account/restore`, form)).status;
    expect([await press(), await press()]).toEqual([200, 200]);
    app.clock.shift += 1_000;
    await close(await signedIn(account), account);
    expect(await press()).toBe(403);
    await expect(users().requestDeletion({ uuid: account.uuid })).rejects.toThrow(/closed or disabled/);
  });

  it("keeps a closed account whose password is lost, by a reset mail", async () => {
    const account = await signUp(app.url);
    await close(await signedIn(account), account);
    const page = `${app.url}/password-reset?token=${await resetTokenFor(app, account.email)}`;
    const browser = new TestBrowser();
    const password = "a password of today";
    const form = { ...hiddenFields(await (await browser.get(page)).text()), password };
    expect((await browser.post(`${app.url}/password-reset/confirm`, form)).status).toBe(200);
    const login = await browser.submit(`${app.url}/login`, { email: account.email, password });
    const html = await login.text();
    expect([login.status, html.includes(a.data.restoreTitle)]).toEqual([403, true]);
  });

  it("does not say that an account is open which an operator has disabled meanwhile", async () => {
    const account = await signUp(app.url);
    await close(await signedIn(account), account);
    const browser = new TestBrowser();
    const { email, password } = account;
    const html = await (await browser.submit(`${app.url}/login`, { email, password })).text();
    await setUserDisabled(app.context, account.uuid, true);
    const answer = await browser.post(`${app.url}/account/restore`, hiddenFields(html));
    expect([answer.status, (await answer.text()).includes(a.data.keepAgain)]).toEqual([403, false]);
  });

  it("offers to keep the account to who signs in within a week, and to no one with a wrong password", async () => {
    const account = await signUp(app.url);
    await close(await signedIn(account), account);
    const browser = new TestBrowser();
    const wrong = await browser.submit(`${app.url}/login`, { email: account.email, password: "wrong" });
    expect([wrong.status, (await wrong.text()).includes(a.data.restoreTitle)]).toEqual([401, false]);
    const login = new URL((await browser.get(authorizeUrl(app.url))).headers.get("location") ?? "", app.url).href;
    const right = await browser.submit(login, { email: account.email, password: account.password });
    const html = await right.text();
    expect([right.status, html.includes(a.data.restoreTitle)]).toEqual([403, true]);
    expect(browser.cookies.has("auth_session")).toBe(false);
    const press = () => browser.post(`${app.url}/account/restore`, hiddenFields(html));
    for (const answer of [await press(), await press()]) {
      const page = await answer.text();
      expect([answer.status, page.includes(a.data.keepAgain), page.includes("/login?request=")]).toEqual([
        200,
        true,
        true,
      ]);
    }
    await until(() => (kindsOf(account.uuid).includes("DELETION_CANCELLED") ? true : undefined));
    expect(kindsOf(account.uuid).filter((kind) => kind === "DELETION_CANCELLED")).toHaveLength(1);
    app.clock.shift = GRACE_MS + 60_000;
    await eraseClosedAccounts(app.context);
    app.clock.shift = 0;
    await getTokens(app.url, account);
  });

  it("erases a closed account after a week, once, with what names the person", async () => {
    const account = await signUp(app.url);
    const { uuid } = account;
    await getTokens(app.url, account);
    await users().requestDeletion({ uuid });
    await expect(users().requestDeletion({ uuid })).rejects.toThrow(/closed or disabled/);
    app.clock.shift = GRACE_MS - 60_000;
    await eraseClosedAccounts(app.context);
    expect((await users().getUser({ uuid })).user?.disabled).toBe(true);
    app.clock.shift = GRACE_MS + 60_000;
    await Promise.all(Array.from({ length: 10 }, () => eraseClosedAccounts(app.context)));
    await expect(users().getUser({ uuid })).rejects.toThrow(/no such user/);
    await until(() => (kindsOf(uuid).includes("user-deleted") ? true : undefined));
    expect(kindsOf(uuid).filter((kind) => kind === "user-deleted")).toHaveLength(1);
    const tables = ["users", "user_profiles", "browser_session", "email_verification", "oauth2_authorization"];
    const left = tables.flatMap((table) => rowsOf(app, `SELECT * FROM ${table}`));
    const traces = JSON.stringify(left.filter((row) => JSON.stringify(row).includes(uuid)));
    expect(traces).not.toContain(account.email);
    expect(traces).not.toContain("127.0.0.1");
    app.clock.shift = 0;
    await signUp(app.url, { email: account.email });
  });

  it("erases the accounts after one that cannot be erased, and that one when it can be", async () => {
    const accounts = [await signUp(app.url), await signUp(app.url), await signUp(app.url)];
    for (const { uuid } of accounts) await users().requestDeletion({ uuid });
    const stuck = accounts[0]?.uuid ?? "";
    const { users: store } = app.context.store;
    const erase = store.delete.bind(store);
    const away = new AuthError("unavailable", "the account is too large for now");
    jest.spyOn(store, "delete").mockImplementation(async (uuid, ...rest) => {
      if (uuid === stuck) throw away;
      return erase(uuid, ...rest);
    });
    const there = async () =>
      (
        await Promise.all(
          accounts.map(({ uuid }) =>
            users()
              .getUser({ uuid })
              .catch(() => null),
          ),
        )
      ).map((user) => user !== null);
    app.clock.shift = GRACE_MS + 60_000;
    await eraseClosedAccounts(app.context);
    expect(await there()).toEqual([true, false, false]);
    jest.restoreAllMocks();
    await eraseClosedAccounts(app.context);
    expect(await there()).toEqual([false, false, false]);
    app.clock.shift = 0;
  });

  it("leaves an account closed that an operator disabled since, and enabling it keeps it", async () => {
    const account = await signUp(app.url);
    const { uuid } = account;
    await users().requestDeletion({ uuid });
    await users().disableUser({ uuid });
    const login = await new TestBrowser().submit(`${app.url}/login`, { ...account });
    expect([login.status, (await login.text()).includes(a.data.restoreTitle)]).toEqual([401, false]);
    await users().enableUser({ uuid });
    await users().enableUser({ uuid });
    await getTokens(app.url, account);
    await until(() => (kindsOf(uuid).includes("DELETION_CANCELLED") ? true : undefined));
    expect(kindsOf(uuid).filter((kind) => kind === "DELETION_CANCELLED")).toHaveLength(1);
    await expect(users().cancelDeletion({ uuid })).rejects.toThrow(/not closed/);
  });
});

describe("a login from a browser that the account never used", () => {
  it("is told to its owner, but not the first one, and not one from a known browser", async () => {
    const account = await signUp(app.url);
    const first = await signedIn(account);
    await first.submit(`${app.url}/login`, { email: account.email, password: account.password });
    const other = new TestBrowser({ "user-agent": "another browser/2.0", "accept-language": "de" });
    await other.submit(`${app.url}/login`, { email: account.email, password: account.password });
    await other.submit(`${app.url}/login`, { email: account.email, password: account.password });
    const notices = () =>
      eventsOf(app).filter(({ key, event }) => key === account.uuid && event.payload["kind"] === "NEW_DEVICE");
    const { event } = await until(() => notices()[0]);
    expect(event.payload).toMatchObject({ email: account.email, userAgent: "another browser/2.0", locale: "de" });
    await signUp(app.url);
    expect(notices()).toHaveLength(1);
  });

  it("is not told where the password was changed in that browser", async () => {
    const account = await signUp(app.url);
    const browser = await signedIn(account);
    const fields = { current_password: account.password, password: "another horse battery" };
    expect((await send(browser, "/account/password", "/account/password", fields)).status).toBe(303);
    await until(() =>
      eventsOf(app).find(({ topic, key }) => topic === "user-password-changed" && key === account.uuid),
    );
    expect(kindsOf(account.uuid)).toEqual([]);
  });
});

it("C-02 the page of an account with thousands of applications is shown, with the first of them, and its data has them all", async () => {
  const account = await signUp(app.url);
  const browser = await signedIn(account);
  const consents = Array.from({ length: 11_000 }, (_, n) => ({ clientId: `mcp-${n}`, scope: "openid", updatedAt: 0 }));
  const listing = jest.spyOn(app.context.store.authorizations, "listConsents").mockResolvedValue(consents);
  const page = await browser.get(`${app.url}/`);
  const html = await page.text();
  expect([page.status, html.split('action="/account/applications/remove"').length - 1]).toEqual([200, 200]);
  expect(html).toContain(t.moreApplications(10_800));
  const data = (await (await send(browser, "/account/data", "/account/export")).json()) as { applications: unknown[] };
  expect(data.applications).toHaveLength(11_000);
  listing.mockRestore();
});
