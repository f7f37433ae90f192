import { afterEach, expect, it } from "@jest/globals";
import type { Context } from "../../src/context.ts";
import { UNKNOWN_ASKER, userSecurity } from "../../src/events.ts";
import { getUser } from "../../src/users/users.ts";
import { Program } from "../commands/program.ts";
import { startApp, type TestApp, testEnvironment } from "../support/app.ts";
import { getTokens, refresh, signUp } from "../support/flow.ts";

const production = { NODE_ENV: "production", ALLOW_SQLITE: "1" };

let app: TestApp | null = null;
async function stop(): Promise<void> {
  await app?.close();
  app = null;
}
afterEach(stop);

/** Starts, and ends what was started before. */
async function restart(env: Record<string, string>): Promise<TestApp> {
  await stop();
  app = await startApp(env, []);
  return app;
}

it("refuses a start with another issuer than the one that the database is of, until that is meant", async () => {
  const env = { ...(await testEnvironment()), ...production, ISSUER: "https://auth.example.com" };
  await restart(env);
  await restart(env);
  const moved = { ...env, ISSUER: "https://login.example.com" };
  const refusal = /^ISSUER is https:\/\/login\.example\.com, but this database is of https:\/\/auth\.example\.com/;
  await expect(restart(moved)).rejects.toThrow(refusal);
  await expect(restart({ ...env, NODE_ENV: "", ISSUER: "http://localhost:8081" })).rejects.toThrow(/^ISSUER is http:/);
  const program = await Program.empty(moved);
  const asked = await program.run(["change-issuer"]);
  expect([asked.status, asked.stderr]).toEqual([2, expect.stringContaining("--yes")]);
  await restart(env);
  await stop();

  const changed = await program.run(["change-issuer", "--yes", "--json"]);
  const { ISSUER: former } = env;
  expect([changed.status, changed.json()]).toEqual([0, { former, issuer: moved.ISSUER, endedPasskeys: 0 }]);
  await restart(moved);
  await expect(restart(env)).rejects.toThrow(/^ISSUER is https:\/\/auth\.example\.com/);
});

it("refuses a start whose passkeys are for another domain than those of the database, until that is meant", async () => {
  const base = { ...(await testEnvironment()), ...production, ISSUER: "https://auth.example.com" };
  const env = { ...base, PASSKEY_RP_ID: "example.com" };
  // nobody has a passkey yet
  await restart(base);
  await restart(env);
  const { uuid } = await signUp(app?.url ?? "");
  const passkey = { credentialId: "id", userId: uuid, publicKey: "key", signCount: 0, transports: ["internal"] };
  const user = await getUser(app?.context as Context, uuid);
  const event = userSecurity(user, { kind: "FACTOR_ADDED", detail: "" }, UNKNOWN_ASKER, Date.now());
  await app?.context.store.factors.addPasskey(
    { ...passkey, isSynced: true, name: "Phone", createdAt: Date.now(), lastUsedAt: null },
    event,
  );
  await restart(env);
  await expect(restart(base)).rejects.toThrow(
    /for auth\.example\.com, but those of this database were made for example\.com.*PASSKEY_RP_ID=example\.com/,
  );
  await restart(env);
  await stop();

  // the service moves: its passkeys go with it where they are for a domain above both
  const moved = { ...env, ISSUER: "https://login.example.com" };
  const program = await Program.empty(moved);
  expect((await program.run(["change-issuer", "--yes", "--json"])).json()).toMatchObject({ endedPasskeys: 0 });
  await restart(moved);
  await stop();
  const alone = { ...base, ISSUER: "https://login.example.com" };
  const other = await Program.empty(alone);
  const asked = await other.run(["change-issuer"]);
  expect([asked.status, asked.stderr]).toEqual([
    2,
    expect.stringContaining("passkeys made for another PASSKEY_RP_ID (1)"),
  ]);
  expect((await other.run(["change-issuer", "--yes", "--json"])).json()).toMatchObject({ endedPasskeys: 1 });
  await restart(alone);
});

it("lets the issuer of a developer's machine change with the port, and warns of what ends", async () => {
  const env = await testEnvironment();
  const first = await restart(env);
  const tokens = await getTokens(first.url, await signUp(first.url));
  expect(first.logs.some((line) => line.includes("the issuer changed"))).toBe(false);
  const other = { ...(await testEnvironment()), DATABASE_URL: env["DATABASE_URL"] ?? "" };
  const second = await restart(other);
  expect(second.logs.some((line) => line.includes("the issuer changed"))).toBe(true);
  expect((await refresh(second.url, tokens.refresh_token)).status).not.toBe(200);
  const back = await restart(env);
  expect((await refresh(back.url, tokens.refresh_token)).status).toBe(200);
});
