import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import kafkajs from "kafkajs";
import { Clock } from "../../src/clock.ts";
import { keysFor } from "../../src/crypto/keys-for.ts";
import { Sealer } from "../../src/crypto/sealing.ts";
import { openStore } from "../../src/database/open-store.ts";
import type { AuthEvent } from "../../src/events.ts";
import { userSignup } from "../../src/events.ts";
import type { OutboundEvent } from "../../src/kafka/encode.ts";
import { EVENT_TOPICS, encodeEvent } from "../../src/kafka/encode.ts";
import type { EventPublisher } from "../../src/kafka/event-publisher.ts";
import type { KafkaOptions } from "../../src/kafka/kafka-client.ts";
import { kafkaPublisher } from "../../src/kafka/publisher.ts";
import type { Relay } from "../../src/kafka/relay.ts";
import { startRelay } from "../../src/kafka/relay.ts";
import type { OutboxStore } from "../../src/store/outbox.ts";
import type { Store } from "../../src/store/store.ts";
import type { TestKafka } from "../support/kafka.ts";
import { isKafkaOurs, readTopics, startKafka } from "../support/kafka.ts";
import type { MemoryOutbox } from "../support/memory-outbox.ts";
import { memoryOutbox } from "../support/memory-outbox.ts";
import { captureLog, countingMetrics, eventOf, until } from "./events.ts";

const ISSUER = "https://auth.example.com";

/** Needs a broker that the tests may break. */
const breaking = (await isKafkaOurs()) ? test : test.skip;

let kafka: TestKafka;
let memory: MemoryOutbox;
let relays: Relay[];
let publishers: EventPublisher[];
let log: ReturnType<typeof captureLog>;
let metrics: ReturnType<typeof countingMetrics>;

beforeAll(async () => {
  kafka = await startKafka();
});
afterAll(() => kafka?.stop());
beforeEach(() => {
  memory = memoryOutbox();
  relays = [];
  publishers = [];
  log = captureLog();
  metrics = countingMetrics();
});
afterEach(async () => {
  await Promise.all(relays.map((relay) => relay.close()));
  await Promise.all(publishers.map((publisher) => publisher.close()));
});

function publisher(options: Partial<KafkaOptions> = {}): EventPublisher {
  const opened = kafkaPublisher({ brokers: kafka.brokers.split(","), log, ...options });
  publishers.push(opened);
  return opened;
}

function relay(to: EventPublisher, store = memory.replica()): Relay {
  const owner = randomUUID();
  const started = startRelay({
    store,
    publisher: to,
    clock: new Clock(),
    log,
    metrics,
    owner,
    sink: "kafka",
    issuer: ISSUER,
  });
  relays.push(started);
  return started;
}

const users = (count: number) => Array.from({ length: count }, () => randomUUID());
const isDrained = () => memory.rows.every(({ status }) => status !== "pending");
const fill = (uuids: readonly string[], each: number, from = 0, through?: OutboxStore) => {
  for (let i = from; i < from + each; i += 1) for (const uuid of uuids) memory.append(eventOf(uuid, i), through);
};

/** Every event that was sent is in the topics, in order for each user and topic; @returns how many repeats there are */
async function expectDelivered(): Promise<number> {
  const order = new Map(memory.rows.map(({ eventId }, index) => [eventId, index]));
  const records = (await readTopics(kafka.brokers, EVENT_TOPICS)).filter(({ headers }) =>
    order.has(headers["ce_id"] ?? ""),
  );
  const first = new Map<string, Buffer>();
  const last = new Map<string, number>();
  for (const { key, topic, value, headers } of records) {
    const id = headers["ce_id"] ?? "";
    const before = first.get(id);
    if (before !== undefined) {
      expect(value.equals(before)).toBe(true);
      continue;
    }
    first.set(id, value);
    const index = order.get(id) ?? -1;
    expect(index).toBeGreaterThan(last.get(key + topic) ?? -1);
    last.set(key + topic, index);
  }
  const wanted = memory.rows.filter(({ status }) => status === "sent").map(({ eventId }) => eventId);
  expect(wanted.filter((id) => !first.has(id))).toEqual([]);
  return records.length - first.size;
}

test("topics are created at the start with the configured partitions, and events of all three arrive as they were encoded", async () => {
  const to = publisher({ topicPartitions: 4 });
  relay(to);
  const [uuid] = users(1) as [string];
  fill([uuid], 3);
  await until(isDrained);
  expect(await expectDelivered()).toBe(0);
  const records = await readTopics(kafka.brokers, EVENT_TOPICS);
  for (const { event } of memory.rows) {
    const expected = encodeEvent(event as AuthEvent, ISSUER);
    const record = records.find(({ headers }) => headers["ce_id"] === expected.headers["ce_id"]);
    expect(record).toMatchObject({ topic: expected.topic, key: uuid, headers: expected.headers });
    expect(record?.value.equals(expected.value)).toBe(true);
  }
  const admin = new kafkajs.Kafka({ brokers: kafka.brokers.split(","), logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  const { topics } = await admin.fetchTopicMetadata({ topics: [...EVENT_TOPICS] });
  await admin.disconnect();
  if (kafka.pid !== null) expect(topics.map(({ partitions }) => partitions.length)).toEqual(EVENT_TOPICS.map(() => 4));
});

breaking("topics that the broker refuses to create are named with its reason, once", async () => {
  const admin = new kafkajs.Kafka({ brokers: kafka.brokers.split(","), logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  await admin.deleteTopics({ topics: ["user-deleted"] });
  await until(async () => !(await admin.listTopics()).includes("user-deleted"));
  publisher({ topicReplication: 3 });
  const refusals = () => log.lines.filter(({ level, message }) => level === "warn" && /does not create/.test(message));
  await until(() => refusals().length > 0);
  await until(() => log.lines.filter(({ message }) => /could not be checked/.test(message)).length > 0);
  expect(refusals()).toMatchObject([{ fields: { reason: expect.stringMatching(/^user-deleted: .*replication/i) } }]);
  // the broker's default now
  publisher();
  await until(async () => (await admin.listTopics()).includes("user-deleted"));
  await admin.disconnect();
});

test("F-13 two relays send a thousand events, each once and in order", async () => {
  const [first, second] = [memory.replica(), memory.replica()];
  relay(publisher(), first);
  relay(publisher(), second);
  const everyone = users(50);
  const before = performance.now();
  for (let i = 0; i < 20; i += 1) {
    fill(everyone, 1, i, i % 2 === 0 ? first.outbox : second.outbox);
    await delay(50);
  }
  await until(isDrained, 60_000);
  expect(performance.now() - before).toBeLessThan(60_000);
  expect(await expectDelivered()).toBe(0);
  expect(metrics.counts).toEqual({ sent: 1_000, failed: 0, parked: 0 });
});

test("F-12 a message too large for the broker is parked, events before and after it arrive", async () => {
  relay(publisher());
  const [uuid, other] = users(2) as [string, string];
  fill([uuid, other], 3);
  const event = eventOf(uuid, 1);
  const huge = { ...event, payload: { ...event.payload, userAgent: "x".repeat(2_000_000) } } as AuthEvent;
  memory.append(huge);
  fill([uuid, other], 3, 3);
  await until(isDrained);
  const parked = memory.rows.filter(({ status }) => status === "parked");
  expect(parked.map(({ eventId }) => eventId)).toEqual([huge.eventId]);
  expect(parked[0]?.reason).toMatch(/larger than the max message size/);
  expect(await expectDelivered()).toBe(0);
});

test("F-12 a send never creates a topic: it is refused", async () => {
  const outbound = { ...encodeEvent(eventOf(randomUUID(), 0), ISSUER), topic: `none-${randomUUID()}` };
  await expect(publisher().publish([outbound])).rejects.toMatchObject({ failure: "refused" });
});

test("an abandoned batch does not hold up the ones behind it", async () => {
  const to = publisher();
  const batch = [encodeEvent(eventOf(randomUUID(), 0), ISSUER)];
  const sends = [to.publish(batch), to.publish(batch, AbortSignal.abort()), to.publish(batch)];
  expect((await Promise.allSettled(sends)).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
});

for (const mechanism of ["plain", "scram-sha-256", "scram-sha-512"] as const) {
  breaking(`a broker that asks for SASL ${mechanism} takes events of a client with the right credentials`, async () => {
    const brokers = [kafka.saslBrokers ?? ""];
    const batch = [encodeEvent(eventOf(randomUUID(), 0), ISSUER)];
    await publisher({ brokers, sasl: { mechanism, username: "auth", password: "auth-secret" } }).publish(batch);
    const wrong = publisher({ brokers, sasl: { mechanism, username: "auth", password: "wrong-secret" } });
    await expect(wrong.publish(batch)).rejects.toMatchObject({ failure: "away" });
    await expect(wrong.publish(batch)).rejects.toMatchObject({ failure: "away" });
    const said = log.lines.filter(({ level }) => level === "error").map(({ message }) => message);
    expect(said).toEqual([expect.stringContaining("refuses the credentials")]);
    expect(JSON.stringify(log.lines)).not.toContain("wrong-secret");
  });
}

test("F-14 closing while the broker is down waits for no send and leaves the events", async () => {
  const to = publisher({ brokers: [`127.0.0.1:${await unusedPort()}`] });
  const started = relay(to);
  fill(users(20), 2);
  await delay(1_000);
  const before = performance.now();
  await started.close();
  await to.close();
  // a send is given up after 5 s
  expect(performance.now() - before).toBeLessThan(4_500);
  expect(memory.rows.every(({ status }) => status === "pending")).toBe(true);
});

describe("a broker that the tests break", () => {
  breaking("F-11 frozen and thawed loses nothing and keeps the order", async () => {
    const here = memory.replica();
    relay(publisher(), here);
    const everyone = users(30);
    fill(everyone, 5, 0, here.outbox);
    await until(() => metrics.counts.sent > 0);
    fill(everyone, 5, 5, here.outbox);
    await kafka.pause();
    try {
      for (let i = 10; i < 14; i += 1) {
        fill(everyone, 5, i * 5, here.outbox);
        await delay(2_000);
      }
    } finally {
      await kafka.resume();
    }
    await until(isDrained, 60_000);
    await expectDelivered();
  });

  breaking("F-11 a batch after one that was given up is kept, whether or not that one was", async () => {
    const to = publisher();
    const uuid = randomUUID();
    const [warm, lost, kept] = [0, 0, 0].map(() => encodeEvent(eventOf(uuid, 0), ISSUER)) as [
      OutboundEvent,
      OutboundEvent,
      OutboundEvent,
    ];
    await to.publish([warm]);
    await kafka.pause();
    try {
      await expect(to.publish([lost], AbortSignal.timeout(500))).rejects.toMatchObject({ failure: "away" });
    } finally {
      await kafka.resume();
    }
    await delay(500);
    await to.publish([kept]);
    const ids = (await readTopics(kafka.brokers, ["user-signup"]))
      .filter(({ key }) => key === uuid)
      .map(({ headers }) => headers["ce_id"]);
    expect(ids).toContain(kept.event.eventId);
  });

  breaking("F-14 closing while the broker is frozen waits for no send", async () => {
    const to = publisher();
    const started = relay(to);
    fill(users(5), 1);
    await until(isDrained);
    await kafka.pause();
    try {
      fill(users(5), 1);
      await delay(1_500);
      const before = performance.now();
      await started.close();
      await to.close();
      expect(performance.now() - before).toBeLessThan(4_500);
    } finally {
      await kafka.resume();
    }
    expect(memory.rows.filter(({ status }) => status === "pending")).toHaveLength(5);
  });

  breaking("F-10 killed and restarted under load loses nothing, and a service started meanwhile starts", async () => {
    const here = memory.replica();
    relay(publisher(), here);
    const everyone = users(30);
    fill(everyone, 10, 0, here.outbox);
    await until(() => metrics.counts.sent > 0);
    await kafka.kill();
    fill(everyone, 10, 10, here.outbox);
    const late = memory.replica();
    relay(publisher(), late);
    await delay(2_000);
    fill(everyone, 10, 20, late.outbox);
    expect(memory.rows.filter(({ status }) => status === "pending").length).toBeGreaterThan(300);
    await kafka.restart();
    const before = performance.now();
    await until(isDrained, 60_000);
    expect(performance.now() - before).toBeLessThan(30_000);
    await expectDelivered();
  });

  breaking("F-10 a broker that comes after the service gets its topics then", async () => {
    const admin = new kafkajs.Kafka({ brokers: [kafka.brokers], logLevel: kafkajs.logLevel.NOTHING }).admin();
    await admin.connect();
    await admin.deleteTopics({ topics: [...EVENT_TOPICS] });
    await admin.disconnect();
    await kafka.kill();
    relay(publisher());
    fill(users(5), 3);
    await delay(1_000);
    await kafka.restart();
    await until(isDrained, 60_000);
    expect(await expectDelivered()).toBe(0);
  });
});

describe("on the real store", () => {
  let folder: string;
  let store: Store;
  let url: string;

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "outbox-"));
    url = `sqlite:${path.join(folder, "auth.sqlite")}`;
    store = await openStore({
      url,
      sealer: new Sealer(keysFor("sealing", [Buffer.alloc(32, 7)])),
      clock: new Clock(),
      log,
    });
  });
  afterEach(async () => {
    await Promise.all(relays.map((started) => started.close()));
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function recordsOf(uuids: ReadonlySet<string>) {
    return (await readTopics(kafka.brokers, ["user-signup"])).filter(({ key }) => uuids.has(key));
  }

  test("a thousand sign-ups reach the broker, each once", async () => {
    relay(publisher(), store);
    const uuids = users(1_000);
    for (const uuid of uuids) {
      const user = {
        uuid,
        email: `${uuid}@example.com`,
        nickname: "n",
        roles: [],
        emailVerified: false,
        claims: {},
        epoch: 0,
        language: null,
        disabledAt: null,
        createdAt: Date.now(),
        updatedAt: Date.now(),
      };
      await store.users.create(user, "hash", userSignup(user));
    }
    await until(async () => (await store.outbox.stats()).pending === 0);
    const records = await recordsOf(new Set(uuids));
    expect(records).toHaveLength(1_000);
    expect(new Set(records.map(({ key }) => key)).size).toBe(1_000);
  });

  test("F-04 kill -9 under load, again and again, loses no committed event and repeats few", async () => {
    for (let kills = 0; kills < 3; kills += 1) {
      const service = spawn(
        process.execPath,
        [
          "--disable-warning=TimeoutNegativeWarning",
          "--input-type=module",
          "-e",
          `const [{ openStore }, { keysFor }, { Sealer }, { Clock }, { userSignup }, { kafkaPublisher }, { startRelay }] = await Promise.all(
             ["database/open-store", "crypto/keys-for", "crypto/sealing", "clock", "events", "kafka/publisher", "kafka/relay"]
               .map((name) => import("./src/" + name + ".ts")));
           const none = () => {};
           const log = { debug: none, info: none, warn: none, error: none };
           const [url, brokers] = process.argv.slice(1);
           const clock = new Clock();
           const store = await openStore({ url, sealer: new Sealer(keysFor("sealing", [Buffer.alloc(32, 7)])), clock, log });
           const publisher = kafkaPublisher({ brokers: brokers.split(","), log });
           startRelay({ store, publisher, clock, log, metrics: { sent: none, failed: none, parked: none },
             owner: crypto.randomUUID(), sink: "kafka", issuer: "i", timing: { leaseTtl: 2000, renew: 500, send: 1000 } });
           for (;;) {
             const uuid = crypto.randomUUID();
             const user = { claims: {}, language: null, uuid, email: uuid, nickname: "n", roles: [], disabledAt: null, createdAt: Date.now() };
             await store.users.create(user, "hash", userSignup(user));
             process.stdout.write(uuid + "\\n");
             await new Promise((resolve) => setTimeout(resolve, 5));
           }`,
          url,
          kafka.brokers,
        ],
        { cwd: path.resolve(import.meta.dirname, "../.."), stdio: ["ignore", "pipe", "inherit"] },
      );
      let written = 0;
      service.stdout.on("data", (chunk: Buffer) => {
        written += chunk.length;
      });
      // a line is a UUID; then time for leases of those that were killed to run out, and for sends
      await until(() => written >= 150 * 37, 60_000);
      await delay(3_000 + Math.random() * 500);
      const exit = new Promise((resolve) => service.once("exit", resolve));
      service.kill("SIGKILL");
      await exit;
    }
    relay(publisher(), store);
    await until(async () => (await store.outbox.stats()).pending === 0, 60_000);

    const committed = new Set((await store.users.list(null, 100_000)).map(({ uuid }) => uuid));
    expect(committed.size).toBeGreaterThan(300);
    const records = await recordsOf(committed);
    const arrived = new Set(records.map(({ key }) => key));
    expect([...committed].filter((uuid) => !arrived.has(uuid))).toEqual([]);
    expect(new Set(records.map(({ headers }) => headers["ce_id"])).size).toBe(committed.size);
    // what was in flight at each kill, and was not marked yet
    expect(records.length - arrived.size).toBeLessThanOrEqual(committed.size / 4);
    if (process.env["SHOW_COUNTS"])
      console.log(`${committed.size} committed, ${records.length - arrived.size} repeats`);
  });
});

async function unusedPort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
