import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { UserService } from "../../gen/auth/v1/user_pb.ts";
import { eraseClosedAccounts, GRACE_MS } from "../../src/users/deletion.ts";
import { startReplicas, type TestApp } from "../support/app.ts";
import { Authenticator } from "../support/authenticator.ts";
import { getTokens, patiently, postJson, signUp, TestBrowser, uniqueEmail } from "../support/flow.ts";
import { internalTransport } from "../support/grpc.ts";
import { type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { eventsOf, type ToldEvent, until } from "../support/resets.ts";

describe("an account at two replicas", () => {
  let database: MariaDb;
  let apps: TestApp[] = [];
  beforeAll(async () => {
    database = await startMariaDb();
    apps = await startReplicas(2, { DATABASE_URL: await database.createDatabase() });
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    await database?.stop();
  });

  const at = (index: number) => apps[index % apps.length] as TestApp;
  const told = (uuid: string): ToldEvent[] => apps.flatMap(eventsOf).filter(({ key }) => key === uuid);
  const payloads = (uuid: string, member: string) => told(uuid).flatMap(({ event }) => event.payload[member] ?? []);

  it("has its new address verified once by 50 presses at both, and the old one told once", async () => {
    const account = await signUp(at(0).url);
    const email = uniqueEmail();
    const { access_token } = await getTokens(at(1).url, account);
    const change = { currentPassword: account.password, email };
    const bearer = { authorization: `Bearer ${access_token}` };
    expect((await postJson(`${at(0).url}/api/users/me/email`, change, bearer)).status).toBe(202);
    const sent = () => told(account.uuid).find(({ event }) => event.payload["email"] === email);
    const token = (await until(sent)).event.payload["verificationToken"];
    const presses = Array.from({ length: 50 }, (_, index) =>
      patiently(() => postJson(`${at(index).url}/api/users/email-verification/confirm`, { token })),
    );
    const statuses = (await Promise.all(presses)).map(({ status }) => status);
    expect(statuses.filter((status) => status !== 204)).toEqual([]);
    await until(() => (payloads(account.uuid, "kind").includes("EMAIL_CHANGED") ? true : undefined));
    await getTokens(at(1).url, { ...account, email });
    expect(payloads(account.uuid, "kind").filter((kind) => kind === "EMAIL_CHANGED")).toHaveLength(1);
  });

  it("is told in its own language of a stranger's browser, whichever of them knows which language that is", async () => {
    const account = await signUp(at(0).url, {}, { "accept-language": "de-AT" });
    const { email, password } = account;
    await new TestBrowser().submit(`${at(1).url}/login`, { email, password });
    await new TestBrowser({ "accept-language": "ko" }).submit(`${at(1).url}/login`, { email, password });
    await createClient(UserService, internalTransport(at(0).grpc)).resetFactors({ uuid: account.uuid });
    await until(() => payloads(account.uuid, "kind")[1]);
    expect(payloads(account.uuid, "kind").sort()).toEqual(["FACTORS_RESET", "NEW_DEVICE"]);
    expect(new Set(payloads(account.uuid, "locale"))).toEqual(new Set(["de-AT"]));
  });

  it("is made once with a passkey by twenty calls at both, begun at one", async () => {
    const users = (index: number) => createClient(UserService, internalTransport(at(index).grpc));
    const names = { email: uniqueEmail(), nickname: "Zoë" };
    const { uuid, attempt, optionsJson } = await users(1).beginPasskeySignUp(names);
    const credentialJson = new Authenticator(at(0).url).create(JSON.parse(optionsJson) as never);
    const whole = { uuid, attempt, ...names, credentialJson, name: "Phone" };
    const calls = Array.from({ length: 20 }, (_, index) => users(index).signUpWithPasskey(whole));
    const made = (await Promise.all(calls)).map(({ user }) => user?.uuid);
    expect(new Set(made)).toEqual(new Set([uuid]));
    expect((await users(0).listFactors({ uuid })).passkeys).toHaveLength(1);
    await until(() => told(uuid)[1]);
    expect(
      told(uuid)
        .map(({ topic }) => topic)
        .sort(),
    ).toEqual(["user-email-verification", "user-signup"]);
  });

  it("is erased once by both", async () => {
    const { uuid } = await signUp(at(0).url);
    await createClient(UserService, internalTransport(at(1).grpc)).requestDeletion({ uuid });
    for (const app of apps) app.clock.shift = GRACE_MS + 60_000;
    await Promise.all(Array.from({ length: 20 }, (_, index) => eraseClosedAccounts(at(index).context)));
    for (const app of apps) app.clock.shift = 0;
    const deletions = () => told(uuid).filter(({ topic }) => topic === "user-deleted");
    await until(() => deletions()[0]);
    expect(deletions()).toHaveLength(1);
  });
});
