import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import {
  authorizeUrl,
  getCode,
  getTokens,
  hiddenFields,
  internalBasic,
  introspect,
  portal,
  postForm,
  redeem,
  refresh,
  signUp,
  TestBrowser,
} from "../support/flow.ts";
import { optionsOf, signUpWithPasskey } from "../support/passkeys.ts";
import { type LoggingMariaDb, startLoggingMariaDb, type Unit } from "../support/statements.ts";

const rotating = {
  client_id: "rotating",
  token_endpoint_auth_method: "none",
  redirect_uris: [portal.redirectUri],
  grant_types: ["authorization_code", "refresh_token"],
  scope: "openid profile",
  first_party: true,
};

let database: LoggingMariaDb;
let app: TestApp;
beforeAll(async () => {
  database = await startLoggingMariaDb();
  app = await startApp({ DATABASE_URL: await database.createDatabase() }, [rotating]);
});
afterAll(async () => {
  await app?.close();
  await database?.stop();
});

/** Transactions, and the tables that its statements read and wrote, one entry a statement. */
function workOf(units: readonly Unit[]) {
  const statements = units.flat().filter((sql) => !/^(START TRANSACTION|COMMIT)/.test(sql));
  return {
    transactions: units.filter(([first]) => first?.startsWith("START TRANSACTION")).length,
    reads: statements.filter((sql) => sql.startsWith("SELECT")).map((sql) => /FROM (\w+)/.exec(sql)?.[1]),
    writes: statements.flatMap((sql) => /^(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)/.exec(sql)?.[1] ?? []).sort(),
  };
}

describe("what a flow asks the database, which must not grow", () => {
  it("a refresh reads once and writes once, and a token for a client's own use writes nothing", async () => {
    const account = await signUp(app.url);
    const { refresh_token: token } = await getTokens(app.url, account, {
      clientId: "rotating",
      scope: "openid profile",
    });
    const rotated = await database.unitsOf(async () => {
      expect((await refresh(app.url, token, { client_id: "rotating" })).status).toBe(200);
    });
    expect(workOf(rotated)).toEqual({
      transactions: 0,
      reads: ["oauth2_authorization"],
      writes: ["oauth2_authorization"],
    });
    const kept = await getTokens(app.url, account);
    const notRotated = await database.unitsOf(async () => {
      expect((await refresh(app.url, kept.refresh_token)).status).toBe(200);
    });
    expect(workOf(notRotated)).toEqual({ transactions: 0, reads: ["oauth2_authorization"], writes: [] });
    const form = { grant_type: "client_credentials", scope: "auth.introspect" };
    const issue = () => postForm(`${app.url}/oauth2/token`, form, { authorization: internalBasic });
    expect(await database.unitsOf(issue)).toEqual([]);
    expect(workOf(await database.unitsOf(() => introspect(app.url, kept.access_token))).writes).toEqual([]);
  });

  it("a login of a new browser takes two transactions up to its tokens, and writes nothing before the password was right", async () => {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    let page = "";
    const shown = await database.unitsOf(async () => {
      const answer = await browser.get(authorizeUrl(app.url));
      page = await (await browser.get(new URL(answer.headers.get("location") ?? "", app.url).href)).text();
    });
    expect(workOf(shown)).toEqual({ transactions: 0, reads: [], writes: [] });
    const login = await database.unitsOf(async () => {
      const fields = { ...hiddenFields(page), email: account.email, password: account.password };
      expect((await browser.post(`${app.url}/login`, fields)).status).toBe(303);
    });
    expect(workOf(login)).toEqual({
      transactions: 1,
      // one statement, named by its first table: it reads the user too
      reads: ["rate_limit"],
      writes: ["browser_session", "oauth2_authorization_code", "users"],
    });
    const { code, verifier } = await getCode(app.url, account, { browser });
    const redeemed = await database.unitsOf(async () => {
      expect((await redeem(app.url, code, verifier)).status).toBe(200);
    });
    expect(workOf(redeemed)).toEqual({
      transactions: 1,
      reads: ["oauth2_authorization_code"],
      writes: ["oauth2_authorization", "oauth2_authorization_code", "outbox", "session_application", "users"],
    });
  });

  it("a login with a passkey takes one transaction up to its code, which uses the passkey's answer up", async () => {
    const authenticator = new Authenticator(app.url);
    const { browser: own } = await signUpWithPasskey([app.url, app.url], authenticator);
    const browser = new TestBrowser();
    browser.cookies.set("auth_device", own.cookies.get("auth_device") ?? "");
    const answer = await browser.get(authorizeUrl(app.url));
    const page = await (await browser.get(new URL(answer.headers.get("location") ?? "", app.url).href)).text();
    const fields = { ...hiddenFields(page), credential: authenticator.get(optionsOf(page)) };
    const login = await database.unitsOf(async () => {
      const signedIn = await browser.post(`${app.url}/login/passkey`, fields);
      expect(signedIn.headers.get("location")).toContain("code=");
    });
    expect(workOf(login)).toEqual({
      transactions: 1,
      reads: ["passkey", "rate_limit"],
      writes: ["browser_session", "oauth2_authorization_code", "passkey", "used_once", "users"],
    });
  });

  it("a signed-in browser gets a code by one transaction", async () => {
    const account = await signUp(app.url);
    const { browser } = await getTokens(app.url, account);
    const units = await database.unitsOf(() => getCode(app.url, account, { browser }));
    expect(workOf(units)).toEqual({
      transactions: 1,
      reads: ["browser_session"],
      writes: ["browser_session", "oauth2_authorization_code"],
    });
  });

  it("an idle replica asks at most five statements a second", async () => {
    // idle is what nobody asked for some seconds; the count is of time, so it is asked over many seconds
    await sleep(5_000);
    const seconds = 60;
    const asked = await database.countDuring(() => sleep(seconds * 1_000));
    expect(asked).toBeGreaterThan(seconds);
    expect(asked / seconds).toBeLessThanOrEqual(5);
  });
});
