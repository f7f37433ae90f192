import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { type Account, authorizeUrl, getTokens, postJson, signUp, TestBrowser } from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";
import { resetTokenFor } from "../support/resets.ts";

const album = { clientId: "album", redirectUri: "https://album.example/cb", scope: "openid profile" };
const newPassword = "the owner's new password";

describe("consents and a new password", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({}, [
      { client_id: "album", client_name: "Photo Album", redirect_uris: [album.redirectUri], scope: album.scope },
    ]);
  });
  afterAll(() => app.close());

  const users = () => createClient(UserService, internalTransport(app.grpc));

  /** Signs in and opens the album's request. @returns the path that the browser is led to */
  async function ask(browser: TestBrowser, { email, password }: Account): Promise<string> {
    await browser.submit(`${app.url}/login`, { email, password });
    const answer = await browser.get(authorizeUrl(app.url, album));
    return new URL(answer.headers.get("location") ?? "", app.url).href;
  }

  async function allowed(): Promise<{ account: Account & { uuid: string }; browser: TestBrowser }> {
    const account = await signUp(app.url);
    const browser = new TestBrowser();
    const consent = await ask(browser, account);
    const answer = await browser.submit(consent, { decision: "allow" });
    expect(answer.headers.get("location")).toContain("code=");
    return { account, browser };
  }

  it.each([
    [
      "on the page",
      (token: string) =>
        new TestBrowser().submit(`${app.url}/password-reset?token=${token}`, { password: newPassword }),
    ],
    ["by the API", (token: string) => postJson(`${app.url}/api/users/password-reset/confirm`, { token, newPassword })],
    ["by RPC", (token: string) => users().resetPassword({ token, newPassword })],
  ] as const)("C-40 a password reset %s removes what third parties were allowed before", async (_way, reset) => {
    const { account } = await allowed();
    await reset(await resetTokenFor(app, account.email));
    const asked = await ask(new TestBrowser(), { ...account, password: newPassword });
    expect(new URL(asked).pathname).toBe("/consent");
  });

  it("C-40 a password change keeps what third parties were allowed, by API and RPC", async () => {
    const { account } = await allowed();
    const tokens = await getTokens(app.url, account);
    const change = { currentPassword: account.password, newPassword: "a second good password" };
    const bearer = { authorization: `Bearer ${tokens.access_token}` };
    expect((await postJson(`${app.url}/api/users/me/password`, change, bearer)).status).toBe(204);
    await users().changePassword({ uuid: account.uuid, currentPassword: change.newPassword, newPassword });
    const answered = await ask(new TestBrowser(), { ...account, password: newPassword });
    expect(new URL(answered).host).toBe("album.example");
  });

  it("C-40 the account page says what a reset and a change do to applications, and the reset page that they lost access", async () => {
    const { account, browser } = await allowed();
    expect(await (await browser.get(`${app.url}/`)).text()).toContain(MESSAGES.en.applicationsAfterReset);
    const token = await resetTokenFor(app, account.email);
    const done = await browser.submit(`${app.url}/password-reset?token=${token}`, { password: newPassword });
    expect(await done.text()).toContain(MESSAGES.en.resetDone);
  });

  it("C-40 a consent page that was open during the reset leaves no consent behind", async () => {
    const account = await signUp(app.url);
    const intruder = new TestBrowser();
    const consent = await ask(intruder, account);
    // the form is sent while the reset is under way: the session was read, then everything ends
    const { authorizations } = app.context.store;
    const addConsent = authorizations.addConsent.bind(authorizations);
    authorizations.addConsent = async (...args) => {
      authorizations.addConsent = addConsent;
      const reset = { token: await resetTokenFor(app, account.email), newPassword };
      await postJson(`${app.url}/api/users/password-reset/confirm`, reset);
      return addConsent(...args);
    };
    const answer = await intruder.submit(consent, { decision: "allow" });
    expect(new URL(answer.headers.get("location") ?? "", app.url).pathname).toBe("/login");
    const asked = await ask(new TestBrowser(), { ...account, password: newPassword });
    expect(new URL(asked).pathname).toBe("/consent");
  });
});
