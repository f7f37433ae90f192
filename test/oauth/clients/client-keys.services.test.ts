import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, startReplicas, type TestApp } from "../../support/app.ts";
import { PatientCalls, postForm } from "../../support/flow.ts";
import { assertionOf, assertionType, makeKey, type TestKey } from "../../support/keys.ts";
import { type MariaDb, startMariaDb } from "../../support/mariadb.ts";

const parallel = 50;

describe("client assertions on two replicas", () => {
  let database: MariaDb;
  let apps: TestApp[] = [];
  let key: TestKey;
  let clients: object[];
  let env: Record<string, string>;
  beforeAll(async () => {
    database = await startMariaDb();
    key = await makeKey();
    const jwks = { keys: [key.jwk] };
    const client = { client_id: "keyed", grant_types: ["client_credentials"], scope: "read", jwks };
    clients = [{ ...client, token_endpoint_auth_method: "private_key_jwt" }];
    env = { DATABASE_URL: await database.createDatabase() };
    apps = await startReplicas(2, env, clients);
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    await database.stop();
  });

  const issuer = () => apps[0]?.url ?? "";
  const ask = async (base: string, assertion: string, calls = new PatientCalls()) => {
    const form = {
      grant_type: "client_credentials",
      client_assertion_type: assertionType,
      client_assertion: assertion,
    };
    const response = await calls.ask(() => postForm(`${base}/oauth2/token`, form));
    const body = (await response.json()) as { error?: string; access_token?: string };
    return body.error ?? body.access_token ?? "";
  };

  it("S-100 accepts one of fifty equal assertions, and none after a restart", async () => {
    for (let round = 0; round < 4; round++) {
      const calls = new PatientCalls();
      const assertion = await assertionOf(key, "keyed", issuer());
      const answers = await Promise.all(
        Array.from({ length: parallel }, (_, n) => ask(apps[n % 2]?.url ?? "", assertion, calls)),
      );
      const taken = answers.filter((answer) => answer !== "invalid_client");
      expect(taken.every((answer) => answer.startsWith("ey"))).toBe(true);
      if (taken.length > 0 || calls.busy === 0) expect(taken).toHaveLength(1);
      if (round > 0) continue;
      const restarted = await startApp({ ...env, ISSUER: issuer() }, clients);
      apps.push(restarted);
      expect(await ask(restarted.url, assertion)).toBe("invalid_client");
      expect(await ask(restarted.url, await assertionOf(key, "keyed", issuer()))).toMatch(/^ey/);
    }
  });

  it("gives fifty callers at once tokens of one standing authorization", async () => {
    const tokens = await Promise.all(
      Array.from({ length: parallel }, async (_, n) =>
        ask(apps[n % 2]?.url ?? "", await assertionOf(key, "keyed", issuer())),
      ),
    );
    const sids = tokens.map((token) => JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()).sid);
    expect(new Set(sids).size).toBe(1);
  });
});
