// Mails what the auth service tells of, as the service itself does where SMTP_URL is set, a welcome and, when asked for, a notice of each login.
import { open } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import type { JsonValue, MessageShape } from "@bufbuild/protobuf";
import { fromBinary, fromJson, toJson } from "@bufbuild/protobuf";
import nodemailer from "nodemailer";
import * as messages from "../../gen/auth/events/v1/events_pb.ts";
import { eventOfJson } from "../../src/mail/event-of-json.ts";
import { mailOf } from "../../src/mail/mail.ts";

const env = process.env;
const stopping = new AbortController();
// a server that says nothing is given up (milliseconds), so that the event comes again
const patience = { connectionTimeout: 10_000, greetingTimeout: 10_000, socketTimeout: 30_000 };
const mailer = nodemailer.createTransport({ url: env["SMTP_URL"] ?? "smtp://127.0.0.1:1025", ...patience });
const from = env["MAIL_FROM"] ?? "no-reply@example.com";

/** The service as its users know it: mails lead there. */
const issuer = env["ISSUER"] ?? "http://localhost:8081";

const SCHEMAS = {
  "user-signup": messages.UserSignupEventSchema,
  "user-login": messages.UserLoginEventSchema,
  "password-reset": messages.PasswordResetEventSchema,
  "user-email-verification": messages.UserEmailVerificationEventSchema,
  "user-password-changed": messages.UserPasswordChangedEventSchema,
  "user-deleted": messages.UserDeletedEventSchema,
  "user-security": messages.UserSecurityEventSchema,
};
type Topic = keyof typeof SCHEMAS;
type Event = MessageShape<(typeof SCHEMAS)[Topic]>;

/** The mails of the auth service itself, and what else this one mails. Null: no mail. */
function written(topic: Topic, event: Event): { subject: string; text: string; html?: string } | null {
  switch (event.$typeName) {
    case "auth.events.v1.UserSignupEvent":
      return { subject: "Welcome", text: `Hello ${event.payload?.nickname},\n\nyour account is ready.\n` };
    case "auth.events.v1.UserLoginEvent": {
      if (env["LOGIN_NOTICE"] !== "true") return null;
      const { ipAddress, userAgent } = event.payload ?? {};
      return { subject: "New login", text: `Somebody signed in from ${ipAddress} with ${userAgent}.\n` };
    }
    default:
      return mailOf(eventOfJson(toJson(SCHEMAS[topic], event)), issuer, Date.now());
  }
}

// Delivery is at least once: an event whose id is known was mailed before.
const state = new DatabaseSync(env["STATE_FILE"] ?? "./notifications.sqlite");
state.exec("CREATE TABLE IF NOT EXISTS handled (event_id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT");
const isHandled = state.prepare("SELECT 1 FROM handled WHERE event_id = ?");
const setHandled = state.prepare("INSERT OR IGNORE INTO handled VALUES (?, ?)");

/** Throws when the mail could not be handed over and is worth another try. */
async function handle(topic: Topic, event: Event): Promise<void> {
  if (isHandled.get(event.eventId) !== undefined) return;
  const mail = written(topic, event);
  const to = event.payload?.email;
  if (mail !== null && to !== undefined) {
    try {
      // A crash between the mail and the note sends it again: the same message id lets mail systems see that.
      await mailer.sendMail({
        from,
        to: { name: "", address: to },
        messageId: `<${event.eventId}@notifications>`,
        subject: mail.subject,
        text: mail.text,
        ...(mail.html === undefined ? {} : { html: mail.html }),
      });
      console.log(`${event.eventId}: mailed "${mail.subject}"`);
    } catch (error) {
      const { responseCode = 0, message } = error as Error & { responseCode?: number };
      if (responseCode < 500) throw error;
      console.error(`${event.eventId}: refused for good: ${message}`);
    }
  }
  setHandled.run(event.eventId, Date.now());
}

async function readKafka(brokers: string): Promise<void> {
  const { default: kafkajs } = await import("kafkajs");
  const kafka = new kafkajs.Kafka({
    clientId: "notification-service",
    // kafkajs begins at the first, and stays with it while it takes connections and answers nothing: each start chooses one at random
    brokers: brokers.split(",").sort(() => Math.random() - 0.5),
    logLevel: kafkajs.logLevel.WARN,
    retry: { restartOnFailure: async () => true },
  });
  const consumer = kafka.consumer({
    groupId: env["KAFKA_GROUP"] ?? "notification-service",
    // A join whose answer is lost comes again 5 s after this, and topics and partitions that are new are found (milliseconds).
    rebalanceTimeout: 20_000,
    metadataMaxAge: 30_000,
  });
  await consumer.connect();
  await consumer.subscribe({ topics: Object.keys(SCHEMAS), fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ topic, partition, message }) => {
      let event: Event;
      try {
        event = fromBinary(SCHEMAS[topic as Topic], message.value ?? Buffer.alloc(0));
      } catch (error) {
        console.error(`${topic}/${partition}/${message.offset} is no event: ${(error as Error).message}`);
        return;
      }
      await handle(topic as Topic, event);
    },
  });
  stopping.signal.addEventListener("abort", () => void consumer.disconnect().then(() => state.close()));
}

/** Follows the event file of an auth service that runs without Kafka, from its start: what is known is dropped. */
async function readFile(file: string): Promise<void> {
  let position = 0;
  while (!stopping.signal.aborted) {
    const handle = await open(file).catch(() => null);
    if (handle !== null) {
      const { size } = await handle.stat();
      if (size < position) position = 0;
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - position), 0, size - position, position);
      await handle.close();
      position = await handleLines(buffer.subarray(0, bytesRead), position);
    }
    await delay(500, undefined, { signal: stopping.signal }).catch(() => {});
  }
  state.close();
}

/** @returns where the next line starts; a line without its end is still being written */
async function handleLines(text: Buffer, start: number): Promise<number> {
  let at = 0;
  for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10, at)) {
    const line = text.toString("utf8", at, end);
    let event: [Topic, Event] | null = null;
    try {
      const { topic, event: json } = JSON.parse(line) as { topic: Topic; event: JsonValue };
      event = [topic, fromJson(SCHEMAS[topic], json, { ignoreUnknownFields: true })];
    } catch (error) {
      console.error(`a line at ${start + at} is no event: ${(error as Error).message}`);
    }
    try {
      if (event !== null) await handle(...event);
    } catch (error) {
      console.error(`${event?.[1].eventId}: not mailed yet: ${(error as Error).message}`);
      break;
    }
    at = end + 1;
  }
  return start + at;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopping.abort());
const brokers = env["KAFKA_BROKERS"];
await (brokers ? readKafka(brokers) : readFile(env["EVENTS_FILE"] ?? "./data/events.ndjson"));
