// Mails what the auth service tells of: a welcome, a password reset link and, when asked for, a notice of each login.
import { open } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import type { JsonValue, MessageShape } from "@bufbuild/protobuf";
import { fromBinary, fromJson } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import nodemailer from "nodemailer";
import {
  PasswordResetEventSchema,
  UserLoginEventSchema,
  UserSignupEventSchema,
} from "../../gen/auth/events/v1/events_pb.ts";

const env = process.env;
const stopping = new AbortController();
const mailer = nodemailer.createTransport(env["SMTP_URL"] ?? "smtp://127.0.0.1:1025");
const from = env["MAIL_FROM"] ?? "no-reply@example.com";

const SCHEMAS = {
  "user-signup": UserSignupEventSchema,
  "user-login": UserLoginEventSchema,
  "password-reset": PasswordResetEventSchema,
};
type Topic = keyof typeof SCHEMAS;
type Event = MessageShape<(typeof SCHEMAS)[Topic]>;

interface Mail {
  readonly subject: string;
  readonly text: string;
}

function mailOf(event: Event): Mail | null {
  switch (event.$typeName) {
    case "auth.events.v1.UserSignupEvent":
      return { subject: "Welcome", text: `Hello ${event.payload?.nickname},\n\nyour account is ready.\n` };
    case "auth.events.v1.PasswordResetEvent": {
      const end = event.payload?.expiresAt && timestampDate(event.payload.expiresAt);
      if (end === undefined || end.getTime() < Date.now()) return null;
      const text = `Set a new password here:\n\n${event.payload?.resetUrl}\n\nThe link works once, until ${end.toUTCString()}.\n`;
      return { subject: "Reset your password", text };
    }
    case "auth.events.v1.UserLoginEvent": {
      if (env["LOGIN_NOTICE"] !== "true") return null;
      const { ipAddress, userAgent } = event.payload ?? {};
      return { subject: "New login", text: `Somebody signed in from ${ipAddress} with ${userAgent}.\n` };
    }
  }
}

// Delivery is at least once: an event whose id is known was mailed before.
const state = new DatabaseSync(env["STATE_FILE"] ?? "./notifications.sqlite");
state.exec("CREATE TABLE IF NOT EXISTS handled (event_id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT");
const isHandled = state.prepare("SELECT 1 FROM handled WHERE event_id = ?");
const setHandled = state.prepare("INSERT OR IGNORE INTO handled VALUES (?, ?)");

/** Throws when the mail could not be handed over and is worth another try. */
async function handle(event: Event): Promise<void> {
  if (isHandled.get(event.eventId) !== undefined) return;
  const mail = mailOf(event);
  const to = event.payload?.email;
  if (mail !== null && to !== undefined) {
    try {
      // A crash between the mail and the note sends it again: the same message id lets mail systems see that.
      await mailer.sendMail({
        from,
        to: { name: "", address: to },
        messageId: `<${event.eventId}@notifications>`,
        ...mail,
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
    brokers: brokers.split(","),
    logLevel: kafkajs.logLevel.WARN,
    retry: { restartOnFailure: async () => true },
  });
  const consumer = kafka.consumer({ groupId: env["KAFKA_GROUP"] ?? "notification-service" });
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
      await handle(event);
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
    let event: Event | null = null;
    try {
      const { topic, event: json } = JSON.parse(line) as { topic: Topic; event: JsonValue };
      event = fromJson(SCHEMAS[topic], json, { ignoreUnknownFields: true });
    } catch (error) {
      console.error(`a line at ${start + at} is no event: ${(error as Error).message}`);
    }
    try {
      if (event !== null) await handle(event);
    } catch (error) {
      console.error(`${event?.eventId}: not mailed yet: ${(error as Error).message}`);
      break;
    }
    at = end + 1;
  }
  return start + at;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopping.abort());
const brokers = env["KAFKA_BROKERS"];
await (brokers ? readKafka(brokers) : readFile(env["EVENTS_FILE"] ?? "./data/events.ndjson"));
