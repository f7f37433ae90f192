import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { appendFile, mkdtemp, readFile, rm } from "node:fs/promises";
import type net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { SMTPServer } from "smtp-server";
import { userSignup } from "../../src/events.ts";
import { encodeEvent } from "../../src/kafka/encode.ts";
import type { EventPublisher } from "../../src/kafka/event-publisher.ts";
import { fileSink } from "../../src/kafka/file-sink.ts";
import { kafkaPublisher } from "../../src/kafka/publisher.ts";
import { captureLog, eventOf, RESET, until } from "../kafka/events.ts";
import type { TestKafka } from "../support/kafka.ts";
import { startKafka } from "../support/kafka.ts";

const root = path.resolve(import.meta.dirname, "../..");

let kafka: TestKafka;
let publisher: EventPublisher;
let catcher: SMTPServer;
let mails: { to: string; content: string }[];
let folder: string;
let running: ChildProcess[];

beforeAll(async () => {
  kafka = await startKafka();
  publisher = kafkaPublisher({ brokers: kafka.brokers.split(","), log: captureLog() });
});
afterAll(async () => {
  await publisher?.close();
  await kafka?.stop();
});
beforeEach(async () => {
  mails = [];
  running = [];
  folder = await mkdtemp(path.join(tmpdir(), "notifications-"));
  catcher = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onRcptTo({ address }, _session, callback) {
      callback(address.startsWith("nobody-") ? Object.assign(new Error("no such user"), { responseCode: 550 }) : null);
    },
    onData(stream, { envelope }, callback) {
      let content = "";
      stream.on("data", (chunk) => {
        content += chunk;
      });
      stream.on("end", () => {
        for (const { address } of envelope.rcptTo)
          mails.push({ to: address, content: content.replaceAll("=\r\n", "") });
        callback();
      });
    },
  });
  await new Promise<void>((resolve) => catcher.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  await Promise.all(running.map(stop));
  await new Promise<void>((resolve) => catcher.close(resolve));
  await rm(folder, { recursive: true, force: true });
});

function start(environment: Record<string, string>): ChildProcess {
  const { port } = catcher.server.address() as net.AddressInfo;
  const log = openSync(logFile(), "a");
  const child = spawn(
    process.execPath,
    [
      "--disable-warning=TimeoutNegativeWarning",
      "--disable-warning=ExperimentalWarning",
      "examples/notification-service/main.ts",
    ],
    {
      cwd: root,
      stdio: ["ignore", log, log],
      env: {
        PATH: process.env["PATH"],
        SMTP_URL: `smtp://127.0.0.1:${port}`,
        MAIL_FROM: "hello@example.com",
        STATE_FILE: path.join(folder, "state.sqlite"),
        KAFKAJS_NO_PARTITIONER_WARNING: "1",
        KAFKAJS_LOG_LEVEL: "DEBUG",
        ...environment,
      },
    },
  );
  closeSync(log);
  running.push(child);
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 8_000);
  await exit;
  clearTimeout(timer);
}

const logFile = () => path.join(folder, "service.log");

/** Waits for mails; where they do not come, the error has what the service said last. */
async function mailed(condition: () => boolean): Promise<void> {
  try {
    await until(condition);
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${(await readFile(logFile(), "utf8")).slice(-10_000)}`);
  }
}

const signupOf = (email: string) =>
  encodeEvent(userSignup({ uuid: randomUUID(), email, nickname: "Ada", createdAt: Date.now(), claims: {} }), "i");
const mailsTo = (address: string) => mails.filter(({ to }) => to === address);

test("F-15 a sign-up that is delivered three times and replayed from the start is welcomed once", async () => {
  const ada = `ada-${randomUUID()}@example.com`;
  const last = `last-${randomUUID()}@example.com`;
  const signup = signupOf(ada);
  await publisher.publish([signup, signup, signup]);
  const group = randomUUID();
  const first = start({ KAFKA_BROKERS: kafka.brokers, KAFKA_GROUP: group });
  await mailed(() => mailsTo(ada).length > 0);
  expect(mailsTo(ada)[0]?.content).toContain("Subject: Welcome");
  expect(mailsTo(ada)[0]?.content).toContain("Hello Ada");
  expect(mailsTo(ada)[0]?.content).toContain("From: hello@example.com");
  await stop(first);

  // Another group starts at offset 0, with what this one remembers.
  start({ KAFKA_BROKERS: kafka.brokers, KAFKA_GROUP: randomUUID() });
  await publisher.publish([signup, { ...signupOf(last), key: signup.key }]);
  await mailed(() => mailsTo(last).length > 0);
  expect(mailsTo(ada)).toHaveLength(1);
});

test("a password reset is mailed with its link, an expired one and a login are not", async () => {
  const uuid = randomUUID();
  const to = (name: string) => `${name}-${uuid}@example.com`;
  const reset = (name: string, expiresAt: number) => ({
    ...RESET,
    eventId: `evt-${randomUUID()}`,
    payload: { ...RESET.payload, uuid, email: to(name), expiresAt },
  });
  const events = [reset("late", Date.now() - 1), reset("reset", Date.now() + 60_000)];
  await publisher.publish(events.map((event) => encodeEvent(event, "i")));
  const login = eventOf(uuid, 1);
  await publisher.publish([encodeEvent(login, "i")]);
  start({ KAFKA_BROKERS: kafka.brokers, KAFKA_GROUP: randomUUID() });
  await mailed(() => mailsTo(to("reset")).length > 0);
  expect(mailsTo(to("reset"))[0]?.content).toMatch(/\/reset\?token=(3D)?reset-token-secret/);
  await delay(500);
  expect(mailsTo(to("late"))).toEqual([]);
  expect(mailsTo(login.payload.email)).toEqual([]);
});

test("without Kafka the event file is followed, past a refused address and a line that is no event", async () => {
  const file = path.join(folder, "events.ndjson");
  const sink = fileSink({ file, log: captureLog() });
  start({ EVENTS_FILE: file });
  const [ada, bob] = [signupOf("ada@example.com"), signupOf("bob@example.com")];
  await sink.publish([ada, signupOf("nobody-here@example.com"), ada]);
  await appendFile(file, "not an event\n");
  await mailed(() => mails.length > 0);
  await sink.publish([ada, bob]);
  await mailed(() => mailsTo("bob@example.com").length > 0);
  expect(mails.map(({ to }) => to)).toEqual(["ada@example.com", "bob@example.com"]);
  await sink.close();
});
