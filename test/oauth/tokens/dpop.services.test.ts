import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startApp, startReplicas, type TestApp } from "../../support/app.ts";
import { PatientCalls, postForm } from "../../support/flow.ts";
import { makeKey, proofOf, type TestKey, withAssertion } from "../../support/keys.ts";
import { type MariaDb, startMariaDb } from "../../support/mariadb.ts";

describe("DPoP on two replicas", () => {
  let database: MariaDb;
  let apps: TestApp[] = [];
  let key: TestKey;
  let clientKey: TestKey;
  let clients: object[];
  let env: Record<string, string>;
  beforeAll(async () => {
    database = await startMariaDb();
    [key, clientKey] = await Promise.all([makeKey(), makeKey()]);
    const machine = { grant_types: ["client_credentials"], scope: "read" };
    clients = [
      { client_id: "machine", client_secret: "the secret of machine", ...machine },
      { client_id: "fapi", profile: "fapi2", jwks: { keys: [clientKey.jwk] }, ...machine },
    ];
    env = { DATABASE_URL: await database.createDatabase() };
    apps = await startReplicas(2, env, clients);
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    await database.stop();
  });

  const base = (n: number) => apps[n % apps.length]?.url ?? "";
  /** Clients know the issuer's URL, whichever replica they reach. */
  const prove = (nonce?: string) =>
    proofOf(key, "POST", `${base(0)}/oauth2/token`, nonce === undefined ? {} : { nonce });
  const authorization = `Basic ${Buffer.from("machine:the secret of machine").toString("base64")}`;
  const ask = (url: string, dpop: string, calls = new PatientCalls()) =>
    calls.ask(() => postForm(`${url}/oauth2/token`, { grant_type: "client_credentials" }, { authorization, dpop }));

  it("S-144 accepts one of fifty equal proofs, and none after a restart", async () => {
    for (let round = 0; round < 4; round++) {
      const calls = new PatientCalls();
      const proof = await prove();
      const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => ask(base(n), proof, calls)));
      const taken = answers.filter(({ status }) => status === 200);
      if (taken.length > 0 || calls.busy === 0) expect(taken).toHaveLength(1);
      expect(answers.filter(({ status }) => status === 400)).toHaveLength(50 - taken.length);
      if (round > 0) continue;
      const restarted = await startApp({ ...env, ISSUER: base(0) }, clients);
      try {
        expect((await ask(restarted.url, proof)).status).toBe(400);
        expect((await ask(restarted.url, await prove())).status).toBe(200);
      } finally {
        await restarted.close();
      }
    }
  });

  it("S-143 a nonce of one replica is good at the other", async () => {
    const fapi = async (n: number, nonce?: string) => {
      const form = { grant_type: "client_credentials", ...(await withAssertion(clientKey, "fapi", base(0))) };
      return postForm(`${base(n)}/oauth2/token`, form, { dpop: await prove(nonce) });
    };
    const first = await fapi(0);
    expect([first.status, await first.json()]).toMatchObject([400, { error: "use_dpop_nonce" }]);
    const nonce = first.headers.get("dpop-nonce") ?? "";
    expect([(await fapi(1, nonce)).status, (await fapi(0, nonce)).status]).toEqual([200, 200]);
  });
});
