import { randomBytes } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { afterAll, describe, expect, it } from "@jest/globals";
import { keysFor } from "../../src/crypto/keys-for.ts";
import { Sealer } from "../../src/crypto/sealing.ts";
import { startApp, type TestApp, testEnvironment } from "../support/app.ts";
import { codeOf, firstStep, giveApp } from "../support/factors.ts";
import { getTokens, introspect, refresh, signUp, type Tokens } from "../support/flow.ts";
import { eventsOf, until } from "../support/resets.ts";
import { Program } from "./program.ts";

const [older, newer] = [randomBytes(32).toString("base64"), randomBytes(32).toString("base64")];
/** Where no broker is: events wait. */
const noBroker = { KAFKA_BROKERS: "127.0.0.1:9" };

describe("F-57 a new KEY_ENCRYPTION_KEY", () => {
  let app: TestApp | undefined;
  afterAll(() => app?.close());

  it("key reseal moves everything to it while the service runs, and nobody is signed out", async () => {
    const env = await testEnvironment();
    const start = async (key: string, more: Record<string, string> = {}) => {
      await app?.close();
      app = undefined;
      app = await startApp({ ...env, KEY_ENCRYPTION_KEY: key, ...more });
      return app;
    };
    let tokens: Tokens;
    const goesOn = async ({ url }: TestApp) => {
      expect(await introspect(url, tokens.access_token)).toMatchObject({ active: true });
      const answer = await refresh(url, tokens.refresh_token);
      expect(answer.status).toBe(200);
      tokens = (await answer.json()) as Tokens;
    };

    const first = await start(older, noBroker);
    const { url } = first;
    const user = await signUp(url);
    const owner = await signUp(url);
    const secret = await giveApp(first, owner.uuid);
    tokens = await getTokens(url, user);
    // the new key opens first, then seals
    await goesOn(await start(`${older},${newer}`, noBroker));
    const running = await start(`${newer},${older}`, noBroker);
    await goesOn(running);

    const program = await Program.empty({ ...env, ...noBroker, KEY_ENCRYPTION_KEY: `${newer},${older}` });
    const resealed = await program.run(["key", "reseal", "--json"]);
    expect([resealed.status, resealed.json()]).toEqual([0, { keys: 3, events: 6, authenticatorApps: 1 }]);
    const again = await program.run(["key", "reseal"]);
    expect([again.status, again.stdout]).toEqual([
      0,
      expect.stringContaining("0 signing keys, 0 events and 0 authenticator apps"),
    ]);
    await goesOn(running);

    const sends = await start(newer);
    await goesOn(sends);
    const { browser, form } = await firstStep(url, owner);
    const code = codeOf(secret, sends.clock.now());
    expect((await browser.post(`${url}/login/second-factor`, { ...form, code })).status).toBe(303);
    const sent = () =>
      eventsOf(sends).filter(({ key, topic }) => key === user.uuid && /^user-(signup|login)$/.test(topic));
    expect((await until(() => (sent().length >= 2 ? sent() : undefined))).length).toBeGreaterThanOrEqual(2);
    await sends.close();
    app = undefined;

    const refused = await program.run(["key", "list"], { env: { KEY_ENCRYPTION_KEY: older } });
    expect([refused.status, refused.stderr]).toEqual([78, expect.stringContaining("KEY_ENCRYPTION_KEY")]);
  });

  it("says how much no key opens, and seals the rest", async () => {
    const env = await testEnvironment({ ...noBroker, KEY_ENCRYPTION_KEY: older });
    app = await startApp(env);
    await signUp(app.url);
    await signUp(app.url);
    await app.close();
    app = undefined;
    const file = new DatabaseSync(String(env["DATABASE_URL"]).replace("sqlite:", ""));
    const { event_id: id } = file.prepare("SELECT event_id FROM outbox LIMIT 1").get() as { event_id: string };
    const foreign = new Sealer(keysFor("sealing", [randomBytes(32)])).seal("{}", id);
    file.prepare("UPDATE outbox SET payload = ? WHERE event_id = ?").run(foreign, id);
    file.close();
    const program = await Program.empty({ ...env, KEY_ENCRYPTION_KEY: `${newer},${older}` });
    const partly = await program.run(["key", "reseal"]);
    const said =
      "no key in it opens 1 others: add the one that sealed them and run this again. Of the rest, 3 signing keys, 3 events";
    expect([partly.status, partly.stderr]).toEqual([78, expect.stringContaining(said)]);
  });
});
