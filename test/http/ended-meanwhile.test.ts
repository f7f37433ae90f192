import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { UNKNOWN_ASKER } from "../../src/events.ts";
import { makeRecoveryCodes } from "../../src/factors/recovery-codes.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { codeOf, giveApp, setUpApp } from "../support/factors.ts";
import {
  type Account,
  authorizeUrl,
  getTokens,
  hiddenFields,
  signUp,
  TestBrowser,
  uniqueEmail,
} from "../support/flow.ts";
import { newPasskeyOwner, passkeyPage } from "../support/passkeys.ts";

const redirectUri = "https://bank.example/cb";
const bank = { clientId: "bank", redirectUri, scope: "openid" };

let app: TestApp;
beforeAll(async () => {
  const clients = ["shop", "bank"].map((client_id) => ({
    ...{ client_id, redirect_uris: [redirectUri], scope: "openid", first_party: true },
    ...(client_id === "bank" ? { require_acr: "urn:auth-service:acr:two-factor" } : {}),
  }));
  app = await startApp({}, clients);
});
afterEach(() => {
  jest.restoreAllMocks();
});
afterAll(() => app.close());

type Owned = Account & { uuid: string };
const sessionsOf = ({ uuid }: Owned) => app.context.store.sessions.listOfUser(uuid, app.clock.now());

/** Signs all browsers out just before the store is asked to do this, after everything was checked. */
function signOutBefore(
  area: "sessions" | "factors" | "users" | "emailVerifications",
  method: string,
  { uuid }: Owned,
): void {
  const { store } = app.context;
  const owner = store[area] as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  const real = owner[method]?.bind(owner);
  jest.spyOn(owner, method).mockImplementationOnce(async (...args) => {
    for (const { idHash } of await store.sessions.listOfUser(uuid, app.clock.now())) {
      await store.sessions.end(idHash, app.clock.now());
    }
    return real?.(...args);
  });
}

/** Sends what an open page brings. */
interface Sent {
  readonly account: Owned;
  send(): Promise<Response>;
}

const form = async (browser: TestBrowser, path: string) =>
  hiddenFields(await (await browser.get(app.url + path)).text());

async function withPassword(): Promise<{ account: Owned; browser: TestBrowser }> {
  const account = await signUp(app.url);
  const { browser } = await getTokens(app.url, account, { ...bank, clientId: "shop" });
  return { account, browser };
}

async function withApp(): Promise<{ account: Owned; browser: TestBrowser }> {
  const account = await signUp(app.url);
  const { browser } = await setUpApp(app.url, account, () => app.clock.now());
  return { account, browser };
}

const WAYS: Record<
  string,
  { area: "sessions" | "factors" | "users" | "emailVerifications"; method: string; open: () => Promise<Sent> }
> = {
  "a step-up": {
    area: "sessions",
    method: "signIn",
    open: async () => {
      const { account, browser } = await withPassword();
      const secret = await giveApp(app, account.uuid);
      const asked = (await browser.get(authorizeUrl(app.url, bank))).headers.get("location") ?? "";
      const fields = { ...(await form(browser, asked)), code: codeOf(secret, app.clock.now()) };
      return { account, send: () => browser.post(`${app.url}/login/second-factor`, fields) };
    },
  },
  "a fresh sign-in": {
    area: "sessions",
    method: "signIn",
    open: async () => {
      const { account, browser } = await withPassword();
      const fields = { ...(await form(browser, "/account/security/confirm")), password: account.password };
      return { account, send: () => browser.post(`${app.url}/account/security/confirm`, fields) };
    },
  },
  "an authenticator app": {
    area: "factors",
    method: "addTotp",
    open: async () => {
      const { account, browser } = await withPassword();
      const page = await (await browser.get(`${app.url}/account/security/totp`)).text();
      const secret = (/<code>([A-Z2-7 ]+)<\/code>/.exec(page)?.[1] ?? "").replaceAll(" ", "");
      const fields = { ...hiddenFields(page), code: codeOf(secret, app.clock.now()) };
      return { account, send: () => browser.post(`${app.url}/account/security/totp`, fields) };
    },
  },
  "a passkey": {
    area: "factors",
    method: "addPasskey",
    open: async () => {
      const { account, browser } = await withPassword();
      const { options, form } = await passkeyPage(browser, `${app.url}/account/security/passkeys`);
      const fields = { ...form, name: "Phone", credential: new Authenticator(app.url).create(options) };
      return { account, send: () => browser.post(`${app.url}/account/security/passkeys`, fields) };
    },
  },
  "a passkey's removal": {
    area: "factors",
    method: "removePasskey",
    open: async () => {
      const { account, browser } = await newPasskeyOwner([app.url, app.url], new Authenticator(app.url));
      const [passkey] = (await app.context.store.factors.find(account.uuid)).passkeys;
      const path = `/account/security/passkeys/remove?passkey=${passkey?.credentialId}`;
      const fields = await form(browser, path);
      return { account, send: () => browser.post(`${app.url}/account/security/passkeys/remove`, fields) };
    },
  },
  "a passkey's new name": {
    area: "factors",
    method: "renamePasskey",
    open: async () => {
      const { account, browser } = await newPasskeyOwner([app.url, app.url], new Authenticator(app.url));
      const security = await (await browser.get(`${app.url}/account/security`)).text();
      const [, html = ""] = /passkeys\/name">([\s\S]*?)<\/form>/.exec(security) ?? [];
      const fields = { ...hiddenFields(html), name: "Late" };
      return { account, send: () => browser.post(`${app.url}/account/security/passkeys/name`, fields) };
    },
  },
  "new recovery codes": {
    area: "factors",
    method: "setRecoveryCodes",
    open: async () => {
      const { account, browser } = await newPasskeyOwner([app.url, app.url], new Authenticator(app.url));
      const security = await (await browser.get(`${app.url}/account/security`)).text();
      const [, html = ""] = /recovery-codes">([\s\S]*?)<\/form>/.exec(security) ?? [];
      return { account, send: () => browser.post(`${app.url}/account/security/recovery-codes`, hiddenFields(html)) };
    },
  },
  "an authenticator app's removal": {
    area: "factors",
    method: "removeTotp",
    open: async () => {
      const { account, browser } = await withApp();
      const path = "/account/security/totp/remove";
      const fields = await form(browser, path);
      return { account, send: () => browser.post(app.url + path, fields) };
    },
  },
  "another address": {
    area: "emailVerifications",
    method: "create",
    open: async () => {
      const { account, browser } = await withPassword();
      const values = { current_password: account.password, email: uniqueEmail() };
      const fields = { ...(await form(browser, "/account/email")), ...values };
      return { account, send: () => browser.post(`${app.url}/account/email`, fields) };
    },
  },
  "the account's end": {
    area: "users",
    method: "close",
    open: async () => {
      const { account, browser } = await withPassword();
      const data = await (await browser.get(`${app.url}/account/data`)).text();
      const [, html = ""] = /account\/delete">([\s\S]*?)<\/form>/.exec(data) ?? [];
      const fields = { ...hiddenFields(html), current_password: account.password };
      return { account, send: () => browser.post(`${app.url}/account/delete`, fields) };
    },
  },
  "another password": {
    area: "users",
    method: "changePassword",
    open: async () => {
      const { account, browser } = await withPassword();
      const passwords = { current_password: account.password, password: "another horse battery" };
      const fields = { ...(await form(browser, "/account/password")), ...passwords };
      return { account, send: () => browser.post(`${app.url}/account/password`, fields) };
    },
  },
};

describe("a session that is signed out while its form is checked", () => {
  it.each(Object.entries(WAYS))("gets nothing: %s", async (way, { area, method, open }) => {
    const { account, send } = await open();
    const state = async () => ({
      ...(await app.context.store.factors.find(account.uuid)),
      user: await app.context.store.users.findWithPassword(account.uuid).then((user) => ({ ...user, signedInAt: 0 })),
      address: await app.context.store.emailVerifications.pendingOf(account.uuid, app.clock.now()),
    });
    const before = await state();
    signOutBefore(area, method, account);
    const answer = await send();
    expect(await sessionsOf(account)).toEqual([]);
    expect(
      answer.headers.getSetCookie().filter((line) => line.startsWith("auth_session=") && !/max-age=0/i.test(line)),
    ).toEqual([]);
    // the application's request goes on at the login; a form of the account's pages is out of date
    if (way === "a step-up") expect(answer.headers.get("location")).toMatch(/^\/login\?request=/);
    else
      expect([answer.status, await answer.text()]).toEqual([
        403,
        expect.stringContaining(MESSAGES.en.errors["form"] ?? ""),
      ]);
    expect(await state()).toEqual(before);
  });
});

describe("a second step whose factors change while its code is checked", () => {
  it("signs nobody in, and starts again", async () => {
    const account = await signUp(app.url);
    const secret = await giveApp(app, account.uuid);
    const { sessions } = app.context.store;
    const signIn = sessions.signIn.bind(sessions);
    const browser = new TestBrowser();
    const { email, password } = account;
    const fields = hiddenFields(await (await browser.submit(`${app.url}/login`, { email, password })).text());
    jest.spyOn(sessions, "signIn").mockImplementationOnce(async (...args) => {
      await makeRecoveryCodes(app.context, account.uuid, null, { asker: UNKNOWN_ASKER });
      return signIn(...args);
    });
    const send = () =>
      browser.post(`${app.url}/login/second-factor`, { ...fields, code: codeOf(secret, app.clock.now()) });
    const answer = await send();
    expect([answer.status, answer.headers.get("location")]).toEqual([303, "/login?ended=1"]);
    expect(await sessionsOf(account)).toEqual([]);
    // nothing changed since: the same form is good again
    expect((await send()).headers.get("location")).toBe("/");
  });
});

describe("a sign-in without a second step, whose factors change while it is stored", () => {
  it("is not told that the password is wrong, and is asked for the second step next", async () => {
    const account = await signUp(app.url);
    const { sessions } = app.context.store;
    const signIn = sessions.signIn.bind(sessions);
    jest.spyOn(sessions, "signIn").mockImplementationOnce(async (...args) => {
      await giveApp(app, account.uuid);
      return signIn(...args);
    });
    const browser = new TestBrowser();
    const { email, password } = account;
    const fields = { ...hiddenFields(await (await browser.get(`${app.url}/login`)).text()), email, password };
    const send = () => browser.post(`${app.url}/login`, fields);
    const answer = await send();
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
    expect(await sessionsOf(account)).toEqual([]);
    expect(await (await send()).text()).toContain("/login/second-factor");
  });
});
