import { setTimeout as sleep } from "node:timers/promises";
import { type DescMessage, fromBinary, toJson } from "@bufbuild/protobuf";
import * as messages from "../../gen/auth/events/v1/events_pb.ts";
import { startApp, startReplicas, type TestApp } from "./app.ts";
import { readTopics, startKafka } from "./kafka.ts";
import { startMariaDb } from "./mariadb.ts";
import { eventsOf, type ToldEvent } from "./resets.ts";

/** An event as its consumers see it: ProtoJSON, whatever carried it. */
export interface SeenEvent extends ToldEvent {
  event: { eventId: string; eventType: string; timestamp: string; payload: Record<string, string> };
}

/** The service as its users meet it: one process on SQLite, or replicas on MariaDB and Kafka. */
export interface Deployment {
  readonly apps: readonly TestApp[];
  /** The public listeners; a flow may take them in turn. */
  readonly bases: readonly string[];
  /** The issuer, which is also the first base. */
  readonly url: string;
  /** Moves the service's clock, on every replica. */
  shift(milliseconds: number): void;
  /** Every event delivered so far. */
  events(): Promise<SeenEvent[]>;
  close(): Promise<void>;
}

/** Waits for an event to be delivered. */
export async function waitForEvent(deployment: Deployment, matches: (event: SeenEvent) => boolean): Promise<SeenEvent> {
  for (let tries = 0; tries < 300; tries++) {
    const found = (await deployment.events()).find(matches);
    if (found !== undefined) return found;
    await sleep(200);
  }
  throw new Error("the event was not delivered");
}

export async function onSqlite(env: Record<string, string> = {}, clients?: object[]): Promise<Deployment> {
  const app = await startApp(env, clients);
  return deployment(
    [app],
    async () => eventsOf(app) as SeenEvent[],
    async () => {},
  );
}

const eventMessages: Record<string, DescMessage> = {
  "user-signup": messages.UserSignupEventSchema,
  "user-login": messages.UserLoginEventSchema,
  "password-reset": messages.PasswordResetEventSchema,
  "user-email-verification": messages.UserEmailVerificationEventSchema,
  "user-password-changed": messages.UserPasswordChangedEventSchema,
  "user-deleted": messages.UserDeletedEventSchema,
  "user-security": messages.UserSecurityEventSchema,
};

export async function onMariaDbAndKafka(
  replicas: number,
  env: Record<string, string> = {},
  clients?: object[],
): Promise<Deployment> {
  const [database, kafka] = await Promise.all([startMariaDb(), startKafka()]);
  const url = await database.createDatabase();
  const apps = await startReplicas(replicas, { DATABASE_URL: url, KAFKA_BROKERS: kafka.brokers, ...env }, clients);
  return deployment(
    apps,
    async () => {
      const records = await readTopics(kafka.brokers, Object.keys(eventMessages));
      return records.map(({ topic, key, value }) => {
        const schema = eventMessages[topic];
        if (schema === undefined) throw new Error(`no message for topic ${topic}`);
        return { topic, key, event: toJson(schema, fromBinary(schema, value)) as unknown as SeenEvent["event"] };
      });
    },
    async () => {
      await kafka.stop();
      await database.stop();
    },
  );
}

function deployment(apps: TestApp[], events: () => Promise<SeenEvent[]>, stop: () => Promise<void>): Deployment {
  const bases = apps.map((app) => app.url);
  return {
    apps,
    bases,
    url: bases[0] ?? "",
    shift(milliseconds) {
      for (const app of apps) app.clock.shift = milliseconds;
    },
    events,
    async close() {
      for (const app of apps) await app.close();
      await stop();
    },
  };
}
