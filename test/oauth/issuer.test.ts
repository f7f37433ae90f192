import { afterEach, expect, it } from "@jest/globals";
import { Program } from "../commands/program.ts";
import { startApp, type TestApp, testEnvironment } from "../support/app.ts";
import { getTokens, refresh, signUp } from "../support/flow.ts";

const production = { NODE_ENV: "production", ALLOW_SQLITE: "1" };

let app: TestApp | null = null;
afterEach(async () => {
  await app?.close();
  app = null;
});

/** Starts, and ends what was started before. */
async function restart(env: Record<string, string>): Promise<TestApp> {
  await app?.close();
  app = null;
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
  await app?.close();
  app = null;

  const changed = await program.run(["change-issuer", "--yes", "--json"]);
  expect([changed.status, changed.json()]).toEqual([0, { former: env.ISSUER, issuer: moved.ISSUER }]);
  await restart(moved);
  await expect(restart(env)).rejects.toThrow(/^ISSUER is https:\/\/auth\.example\.com/);
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
