import { Code, createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { VERIFICATION_LINK_LIFE_MS } from "../../src/users/email-verification.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { type Account, getTokens, postJson, signUp, uniqueEmail } from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";
import { signUpWithPasskey } from "../support/passkeys.ts";
import { eventsOf, resetTokenFor, until } from "../support/resets.ts";
import { rowsOf } from "../support/sqlite.ts";

describe("the verification of an e-mail address", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  const users = () => createClient(UserService, internalTransport(app.grpc));
  const mailsTo = (email: string) =>
    eventsOf(app)
      .filter(({ topic, event }) => topic === "user-email-verification" && event.payload["email"] === email)
      .map(({ event }) => event.payload);
  const tokenTo = async (email: string, index = 0) =>
    (await until(() => mailsTo(email)[index]))["verificationToken"] ?? "";
  const ask = (email: string) => postJson(`${app.url}/api/users/email-verification`, { email });
  const confirm = (token: string) => postJson(`${app.url}/api/users/email-verification/confirm`, { token });
  const isVerified = async ({ uuid }: { uuid: string }) => (await users().getUser({ uuid })).user?.emailVerified;
  const move = async (account: Account, email: string, currentPassword = account.password) => {
    const { access_token } = await getTokens(app.url, account);
    const bearer = { authorization: `Bearer ${access_token}` };
    return postJson(`${app.url}/api/users/me/email`, { currentPassword, email }, bearer);
  };

  it("is by a link of the sign-up, which works once and leaves no token in the store", async () => {
    const account = await signUp(app.url);
    expect(await isVerified(account)).toBe(false);
    const token = await tokenTo(account.email);
    const [mail] = mailsTo(account.email);
    expect(mail?.["verificationUrl"]).toBe(`${app.url}/verify-email?token=${token}`);
    const life = Date.parse(mail?.["expiresAt"] ?? "") - app.clock.now();
    expect(Math.abs(life - VERIFICATION_LINK_LIFE_MS)).toBeLessThan(60_000);
    const stored = rowsOf(app, "SELECT token_hash FROM email_verification WHERE email = ?", account.email);
    expect(JSON.stringify(stored)).not.toContain(token);
    expect((await confirm(token)).status).toBe(204);
    expect(await isVerified(account)).toBe(true);
    // a second press, or another tab
    expect((await confirm(token)).status).toBe(204);
    const refused = await confirm("x".repeat(43));
    expect([refused.status, await refused.json()]).toEqual([
      400,
      {
        success: false,
        error: { code: "AUTH_VERIFICATION_TOKEN_INVALID", message: expect.stringContaining("unknown") },
      },
    ]);
  });

  it("S-169 S-171 gives a new address to the account when it is verified and its password was given, tells the old one, and ends its reset link", async () => {
    const account = await signUp(app.url);
    const email = uniqueEmail();
    expect((await move(account, email, "a wrong password")).status).toBe(400);
    expect((await move(account, email)).status).toBe(202);
    const token = await tokenTo(email);
    expect((await users().getUser({ uuid: account.uuid })).user).toMatchObject({ email: account.email });
    const reset = await resetTokenFor(app, account.email);
    expect((await confirm(token)).status).toBe(204);
    expect((await users().getUser({ uuid: account.uuid })).user).toMatchObject({ email, emailVerified: true });
    const notices = () =>
      eventsOf(app).filter(({ key, event }) => key === account.uuid && event.payload["kind"] === "EMAIL_CHANGED");
    const { event } = await until(() => notices()[0]);
    expect(event.payload).toMatchObject({ email: account.email, detail: email });
    const usedReset = { token: reset, newPassword: "a password of the old mailbox" };
    expect((await postJson(`${app.url}/api/users/password-reset/confirm`, usedReset)).status).toBe(400);
    expect((await confirm(await tokenTo(account.email))).status).toBe(400);
    await getTokens(app.url, { ...account, email });
  });

  it("shows applications by updated_at that the address has changed, or is verified now", async () => {
    const account = await signUp(app.url);
    const updatedAt = async () => {
      const { access_token } = await getTokens(app.url, { ...account, email: email ?? account.email });
      const response = await fetch(`${app.url}/userinfo`, { headers: { authorization: `Bearer ${access_token}` } });
      return ((await response.json()) as { updated_at: number }).updated_at;
    };
    let email: string | undefined;
    const times = [await updatedAt()];
    app.clock.shift = 2_000;
    await confirm(await tokenTo(account.email));
    times.push(await updatedAt());
    app.clock.shift = 4_000;
    email = uniqueEmail();
    await users().requestEmailChange({ uuid: account.uuid, email, currentPassword: account.password });
    await confirm(await tokenTo(email));
    times.push(await updatedAt());
    app.clock.shift = 0;
    expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
  });

  it("answers the same for an address of another account, of none, and one that is verified, and mails no stranger", async () => {
    const [account, other] = [await signUp(app.url), await signUp(app.url)];
    await tokenTo(other.email);
    const answers = [await move(account, other.email), await move(account, uniqueEmail())];
    expect(await Promise.all(answers.map(async (each) => [each.status, await each.text()]))).toEqual([
      [202, '{"success":true}'],
      [202, '{"success":true}'],
    ]);
    await confirm(await tokenTo(other.email));
    const asked = [await ask(other.email), await ask(account.email), await ask(uniqueEmail())];
    expect(await Promise.all(asked.map(async (each) => [each.status, await each.text()]))).toEqual(
      Array(3).fill([202, '{"success":true}']),
    );
    await tokenTo(account.email, 1);
    expect(mailsTo(other.email)).toHaveLength(1);
  });

  it("sends five links an hour to one network, and the newest works alone", async () => {
    const account = await signUp(app.url);
    const first = await tokenTo(account.email);
    await Promise.all(Array.from({ length: 20 }, () => ask(account.email)));
    const newest = await tokenTo(account.email, 5);
    await ask((await signUp(app.url)).email);
    expect(mailsTo(account.email)).toHaveLength(6);
    expect((await confirm(first)).status).toBe(400);
    expect((await confirm(newest)).status).toBe(204);
  });

  it("C-42 sends a link to a new address however often strangers asked for links to it, and says so once it sends none", async () => {
    const account = await signUp(app.url);
    const email = uniqueEmail();
    await Promise.all(Array.from({ length: 20 }, () => ask(email)));
    const statuses: number[] = [];
    for (let time = 0; time < 11; time++) statuses.push((await move(account, email)).status);
    expect(statuses).toEqual([...Array<number>(10).fill(202), 429]);
    expect((await confirm(await tokenTo(email, 9))).status).toBe(204);
  });

  it("is the same over gRPC", async () => {
    const account = await signUp(app.url);
    const email = uniqueEmail();
    await users().requestEmailVerification({ email: account.email });
    await users().requestEmailVerification({ email: uniqueEmail() });
    const { user } = await users().verifyEmail({ token: await tokenTo(account.email, 1) });
    expect(user).toMatchObject({ uuid: account.uuid, emailVerified: true });
    await expect(users().verifyEmail({ token: "x".repeat(43) })).rejects.toThrow(/unknown/);
    const wrong = { uuid: account.uuid, email, currentPassword: "wrong" };
    await expect(users().requestEmailChange(wrong)).rejects.toThrow(/wrong/);
    await users().requestEmailChange({ ...wrong, currentPassword: account.password });
    expect((await users().verifyEmail({ token: await tokenTo(email) })).user).toMatchObject({ email });
  });

  it("goes to another address over gRPC without a password only for an account that has none", async () => {
    const { email: before } = await signUpWithPasskey([app.url, app.url], new Authenticator(app.url));
    const { uuid = "" } = (await users().getUserByEmail({ email: before })).user ?? {};
    const change = { uuid, email: uniqueEmail() };
    await expect(users().requestEmailChange({ ...change, currentPassword: "a password" })).rejects.toThrow(
      /no password/,
    );
    await users().requestEmailChange(change);
    expect((await users().verifyEmail({ token: await tokenTo(change.email) })).user).toMatchObject(change);
    const account = await signUp(app.url);
    const refused = users().requestEmailChange({ uuid: account.uuid, email: uniqueEmail() });
    await expect(refused).rejects.toMatchObject({
      code: Code.FailedPrecondition,
      rawMessage: expect.stringMatching(/wrong/),
    });
  });
});
