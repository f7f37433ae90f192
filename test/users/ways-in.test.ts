import { createClient } from "@connectrpc/connect";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { type Account, getTokens, postJson, signUp, TestBrowser } from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";
import { allTold, resetEvents, resetTokenFor, until } from "../support/resets.ts";

const minute = 60_000;
const newPassword = "the owner's new password";
let networks = 0;
/** Someone at another network than everyone before. */
const stranger = () => new TestBrowser({ "x-forwarded-for": `198.18.${networks >> 8}.${networks++ & 255}` });

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ TRUST_PROXY: "loopback", LOG_LEVEL: "info" });
});
afterEach(() => {
  app.clock.shift = 0;
});
afterAll(() => app.close());

const users = () => createClient(UserService, internalTransport(app.grpc));
const login = async (browser: TestBrowser, { email }: Account, password: string) =>
  (await browser.submit(`${app.url}/login`, { email, password })).status;
const ask = ({ headers }: TestBrowser, { email }: Account) =>
  postJson(`${app.url}/api/users/password-reset`, { email }, headers);

/** Strangers use up the account's wrong passwords. */
async function closeLogin(account: Account): Promise<void> {
  for (let wrong = 0; wrong < 10; wrong++) await login(stranger(), account, `wrong ${wrong}`);
  expect(await login(stranger(), account, account.password)).toBe(429);
}

type Change = (account: Account & { uuid: string }) => Promise<unknown>;
const changes: Record<string, Change> = {
  "a change by the API": async (account) => {
    const { access_token } = await getTokens(app.url, account);
    const change = { currentPassword: account.password, newPassword };
    return postJson(`${app.url}/api/users/me/password`, change, { authorization: `Bearer ${access_token}` });
  },
  "a change by RPC": ({ uuid, password }) => users().changePassword({ uuid, currentPassword: password, newPassword }),
  "a reset by the API": async ({ email }) => {
    const reset = { token: await resetTokenFor(app, email), newPassword };
    return postJson(`${app.url}/api/users/password-reset/confirm`, reset);
  },
  "a reset by RPC": async ({ email }) => users().resetPassword({ token: await resetTokenFor(app, email), newPassword }),
  "a reset on the page": async ({ email }) => {
    const link = `${app.url}/password-reset?token=${await resetTokenFor(app, email)}`;
    return new TestBrowser().submit(link, { password: newPassword });
  },
};

describe("known devices", () => {
  it.each(Object.entries(changes))(
    "C-41 %s makes every device cookie from before it worthless",
    async (_way, change) => {
      const account = await signUp(app.url);
      const harvested = [stranger(), stranger(), stranger()];
      for (const browser of harvested) expect(await login(browser, account, account.password)).toBe(303);
      await change(account);
      await closeLogin(account);
      for (const browser of harvested) expect(await login(browser, account, newPassword)).toBe(429);
    },
  );

  it("C-41 a device that signed in with the new password has attempts of its own again, and each device only ten", async () => {
    const account = await signUp(app.url);
    const device = stranger();
    await login(device, account, account.password);
    await changes["a change by RPC"]?.(account);
    expect(await login(device, account, newPassword)).toBe(303);
    await closeLogin(account);
    const statuses: number[] = [];
    for (let wrong = 0; wrong < 12; wrong++) statuses.push(await login(device, account, `wrong ${wrong}`));
    expect(statuses).toEqual([...Array(10).fill(401), 429, 429]);
    // the other account of the same browser is another matter
    const other = await signUp(app.url);
    expect(await login(device, other, other.password)).toBe(303);
  });

  it("C-41 a device cookie says nothing about an account that was deleted and signed up again", async () => {
    const account = await signUp(app.url);
    const device = stranger();
    await login(device, account, account.password);
    await users().deleteUser({ uuid: account.uuid });
    const again = await signUp(app.url, account);
    await closeLogin(again);
    expect(await login(device, again, again.password)).toBe(429);
  });
});

describe("the owner's ways in while strangers try", () => {
  it("C-42 checks at most a hundred guesses an hour from any number of networks, however often the owner signs in", async () => {
    const account = await signUp(app.url);
    const known = stranger();
    await login(known, account, account.password);
    let checked = 0;
    for (let passed = 0; passed < 60 * minute; passed += minute) {
      app.clock.shift = passed;
      // a right password of a new browser is no wrong one, and forgives none
      if (passed % (15 * minute) === 0) expect(await login(stranger(), account, account.password)).toBe(303);
      for (let guess = 0; guess < 17; guess++) {
        if ((await login(stranger(), account, `guess ${passed} ${guess}`)) === 401) checked++;
        if (guess === 4 && passed % (15 * minute) === 0) await login(stranger(), account, account.password);
      }
      if (passed % (20 * minute) === 0) expect(await login(known, account, account.password)).toBe(303);
    }
    expect(checked).toBeGreaterThanOrEqual(40);
    expect(checked).toBeLessThanOrEqual(100);
  });

  const changeByApi = (accessToken: string, currentPassword: string) => {
    const bearer = { authorization: `Bearer ${accessToken}` };
    return postJson(`${app.url}/api/users/me/password`, { currentPassword, newPassword }, bearer);
  };

  it.each(["the API", "RPC"] as const)("C-42 changes a password by %s while the login is closed", async (way) => {
    const account = await signUp(app.url);
    const { access_token } = await getTokens(app.url, account);
    await closeLogin(account);
    expect((await changeByApi(access_token, "wrong")).status).toBe(400);
    if (way === "the API") expect((await changeByApi(access_token, account.password)).status).toBe(204);
    else await users().changePassword({ uuid: account.uuid, currentPassword: account.password, newPassword });
  });

  it("C-42 counts wrong current passwords by themselves, by RPC and by the API together", async () => {
    const account = await signUp(app.url);
    const { access_token } = await getTokens(app.url, account);
    const statuses: number[] = [];
    for (let n = 0; n < 11; n++) statuses.push((await changeByApi(access_token, `wrong ${n}`)).status);
    expect(statuses).toEqual([...Array(10).fill(400), 429]);
    const refused = users().changePassword({ uuid: account.uuid, currentPassword: account.password, newPassword });
    await expect(refused).rejects.toThrow("too many attempts");
    expect(await login(stranger(), account, account.password)).toBe(303);
  });

  it("C-42 a browser of the network from which the password was set gets in without a device cookie", async () => {
    const account = await signUp(app.url);
    const owner = () => new TestBrowser({ "x-forwarded-for": "203.0.113.7" });
    await closeLogin(account);
    const body = { token: await resetTokenFor(app, account.email), newPassword };
    const confirm = `${app.url}/api/users/password-reset/confirm`;
    expect((await postJson(confirm, body, owner().headers)).status).toBe(204);
    await closeLogin({ ...account, password: newPassword });
    expect(await login(owner(), account, "wrong")).toBe(401);
    expect(await login(owner(), account, newPassword)).toBe(303);
    // ten wrong ones there are all, and an hour
    for (let wrong = 0; wrong < 9; wrong++) expect(await login(owner(), account, `wrong ${wrong}`)).toBe(401);
    expect(await login(owner(), account, newPassword)).toBe(429);
  });

  it("C-42 the browser that reset the password on the page gets in from any network", async () => {
    const account = await signUp(app.url);
    const browser = stranger();
    const link = `${app.url}/password-reset?token=${await resetTokenFor(app, account.email)}`;
    expect((await browser.submit(link, { password: newPassword })).status).toBe(200);
    await closeLogin({ ...account, password: newPassword });
    const elsewhere = stranger();
    for (const [name, value] of browser.cookies) elsewhere.cookies.set(name, value);
    expect(await login(elsewhere, account, newPassword)).toBe(303);
  });
});

describe("the owner's mail while strangers ask for it", () => {
  const mailsTo = ({ email }: Account) => resetEvents(app, email);
  it("C-42 a network that used its resets up leaves others theirs, on the page and by the API", async () => {
    const account = await signUp(app.url);
    const attacker = stranger();
    for (let n = 0; n < 8; n++) expect((await ask(attacker, account)).status).toBe(202);
    await allTold(app);
    expect(mailsTo(account)).toHaveLength(5);
    await ask(stranger(), account);
    await until(() => mailsTo(account)[5]);
    await stranger().submit(`${app.url}/password-reset`, { email: account.email });
    await until(() => mailsTo(account)[6]);
  });

  it("C-42 in an hour of requests from many networks the owner always has a link that works, or gets one by asking", async () => {
    const account = await signUp(app.url);
    const works = async () => {
      const token = mailsTo(account).at(-1)?.payload["resetToken"] ?? "";
      return (await (await fetch(`${app.url}/password-reset?token=${token}`)).text()).includes('type="password"');
    };
    for (let passed = 0; passed < 60 * minute; passed += 2 * minute) {
      app.clock.shift = passed;
      await Promise.all([1, 2, 3, 4, 5].map(() => ask(stranger(), account)));
      await ask(stranger(), account);
      await allTold(app);
      expect([passed, await works()]).toEqual([passed, true]);
    }
    expect(mailsTo(account).length).toBeLessThanOrEqual(21);
  });

  it("C-42 after a reset the owner can ask again at once, whatever strangers used up", async () => {
    const account = await signUp(app.url);
    await Promise.all(Array.from({ length: 30 }, () => ask(stranger(), account)));
    await allTold(app);
    const token = mailsTo(account).at(-1)?.payload["resetToken"];
    expect(mailsTo(account)).toHaveLength(15);
    const owner = stranger();
    const confirm = `${app.url}/api/users/password-reset/confirm`;
    expect((await postJson(confirm, { token, newPassword }, owner.headers)).status).toBe(204);
    await ask(owner, account);
    await until(() => mailsTo(account)[15]);
  });
});
