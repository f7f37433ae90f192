import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { setPassword } from "../../src/users/users.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { type Account, getTokens, postJson, signUp, TestBrowser } from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";
import { eventsOf, resetTokenFor, until } from "../support/resets.ts";

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
    await until(() => told("password-reset", account)[1]);
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
