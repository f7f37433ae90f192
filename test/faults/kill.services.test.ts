import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { UserSignupEventSchema } from "../../gen/auth/events/v1/events_pb.ts";
import { testEnvironment } from "../support/app.ts";
import { getTokens, postJson, refresh, signUp, type Tokens, uniqueEmail } from "../support/flow.ts";
import { readTopics, startKafka, type TestKafka } from "../support/kafka.ts";
import { execute, type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { spawnService } from "../support/process.ts";

const clients = [
  {
    client_id: "rotating",
    redirect_uris: ["http://localhost:4100/callback"],
    first_party: true,
    scope: "openid profile",
  },
];

/** Private servers: the broker is frozen, the service is killed. */
describe("killed with -9", () => {
  let database: MariaDb;
  let kafka: TestKafka;
  let env: Record<string, string>;
  let url: string;
  beforeAll(async () => {
    delete process.env["TEST_KAFKA_BROKERS"];
    [database, kafka] = await Promise.all([startMariaDb(), startKafka()]);
    env = await testEnvironment(
      { DATABASE_URL: await database.createDatabase(), KAFKA_BROKERS: kafka.brokers },
      clients,
    );
    url = env["ISSUER"] ?? "";
  });
  afterAll(async () => {
    await kafka?.stop();
    await database?.stop();
  });

  async function signUpEvents(): Promise<{ id: string; uuid: string; email: string }[]> {
    const records = await readTopics(kafka.brokers, ["user-signup"]);
    return records.map(({ value }) => {
      const { eventId, payload } = fromBinary(UserSignupEventSchema, value);
      return { id: eventId, uuid: payload?.uuid ?? "", email: payload?.email ?? "" };
    });
  }

  async function drained(): Promise<void> {
    for (let tries = 0; tries < 450; tries++) {
      const [rows] = await execute(env["DATABASE_URL"] ?? "", "SELECT COUNT(*) AS n FROM outbox WHERE sent_at IS NULL");
      if (Number((rows as { n: number }[])[0]?.n) === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    throw new Error("the outbox did not drain");
  }

  it("F-01 delivers an event once the service is back, when it died between commit and publish", async () => {
    const first = await spawnService(env);
    await signUp(url);
    await kafka.pause();
    const account = await signUp(url);
    await first.kill("SIGKILL");
    await kafka.resume();
    const second = await spawnService(env);
    await drained();
    const mine = (await signUpEvents()).filter(({ uuid }) => uuid === account.uuid);
    expect(new Set(mine.map(({ id }) => id)).size).toBe(1);
    expect(await second.kill("SIGTERM")).toBe(0);
  });

  it("F-01 F-03 loses no acknowledged sign-up, invents none, and loses no session, over eight kills", async () => {
    const acknowledged: string[] = [];
    const tried: string[] = [];
    let service = await spawnService(env);
    let tokens: Tokens = await getTokens(url, await signUp(url), {
      clientId: "rotating",
      redirectUri: "http://localhost:4100/callback",
      scope: "openid profile",
    });
    for (let kill = 0; kill < 8; kill++) {
      const calls = Array.from({ length: 6 }, async () => {
        const email = uniqueEmail();
        tried.push(email);
        const body = { email, password: "correct horse battery", nickname: "n" };
        const status = await postJson(`${url}/api/users/signup`, body).then(
          (r) => r.status,
          () => 0,
        );
        if (status === 201) acknowledged.push(email);
      });
      // the answer of this refresh may get lost: the client comes again with the token it has
      const refreshing = refresh(url, tokens.refresh_token, { client_id: "rotating" })
        .then(async (response) => {
          if (response.status === 200) tokens = (await response.json()) as Tokens;
        })
        .catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 150));
      await service.kill("SIGKILL");
      await Promise.all([...calls, refreshing]);
      service = await spawnService(env);
      const again = await refresh(url, tokens.refresh_token, { client_id: "rotating" });
      expect(again.status).toBe(200);
      tokens = (await again.json()) as Tokens;
    }
    await drained();
    const [users, profiles] = await execute(
      env["DATABASE_URL"] ?? "",
      "SELECT email FROM users",
      "SELECT COUNT(*) AS n FROM users u LEFT JOIN user_profiles p ON p.user_id = u.uuid WHERE p.user_id IS NULL",
    );
    const emails = (users as { email: string }[]).map(({ email }) => email);
    expect(acknowledged.filter((email) => !emails.includes(email))).toEqual([]);
    expect((profiles as { n: number }[])[0]?.n).toBe(0);
    const events = await signUpEvents();
    const ids = new Map(events.map(({ email, id }) => [email, id]));
    // one event for each account that is there, none for one that is not; a repeat has the same id
    expect([...ids.keys()].sort()).toEqual([...emails].sort());
    for (const { email, id } of events) expect(id).toBe(ids.get(email));
    expect(tried.length).toBe(48);
    await service.kill("SIGKILL");
  });
});
