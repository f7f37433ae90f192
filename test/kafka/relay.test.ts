import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { Clock } from "../../src/clock.ts";
import { EVENT_TOPICS, type OutboundEvent } from "../../src/kafka/encode.ts";
import { type EventPublisher, NONE_HELD, PublishError } from "../../src/kafka/event-publisher.ts";
import type { Relay } from "../../src/kafka/relay.ts";
import { startRelay } from "../../src/kafka/relay.ts";
import type { RelayTiming } from "../../src/kafka/timing.ts";
import type { LeaseStore } from "../../src/store/leases.ts";
import { OUTBOX_LANES, type OutboxStore } from "../../src/store/outbox.ts";
import type { MemoryOutbox } from "../support/memory-outbox.ts";
import { memoryOutbox } from "../support/memory-outbox.ts";
import { captureLog, countingMetrics, eventOf, until } from "./events.ts";

/** Leases run out, and sends are given up, long after a test has ended. */
const FAST: RelayTiming = {
  leaseTtl: 120_000,
  renew: 300,
  poll: 100,
  send: 60_000,
  maxBackoff: 150,
  busyPoll: 100,
  pace: 5,
};
const SHORT: RelayTiming = { ...FAST, leaseTtl: 1_500, send: 500 };

/** Lanes times topics: each reads once when it starts. */
const QUEUES = OUTBOX_LANES * EVENT_TOPICS.length;

let memory: MemoryOutbox;
let published: OutboundEvent[];
let relays: Relay[];
/** What the broker does with a batch before it keeps it. */
let broker: (batch: readonly OutboundEvent[]) => Promise<void>;
let log: ReturnType<typeof captureLog>;
let metrics: ReturnType<typeof countingMetrics>;

beforeEach(() => {
  memory = memoryOutbox();
  published = [];
  relays = [];
  broker = () => delay(1);
  log = captureLog();
  metrics = countingMetrics();
});
afterEach(async () => {
  memory.isAway = false;
  await Promise.all(relays.map((relay) => relay.close()));
});

const publisher: EventPublisher = {
  async publish(batch) {
    await broker(batch);
    published.push(...batch);
    return NONE_HELD;
  },
  close: async () => {},
};

function relay(
  store: { outbox: OutboxStore; leases: LeaseStore },
  timing: Partial<RelayTiming> = FAST,
  through = publisher,
  sink: "kafka" | "file" = "kafka",
): Relay {
  const started = startRelay({
    store,
    publisher: through,
    clock: new Clock(),
    log,
    metrics,
    owner: randomUUID(),
    sink,
    issuer: "https://auth.example.com",
    timing,
  });
  relays.push(started);
  return started;
}

const users = (count: number) => Array.from({ length: count }, () => randomUUID());
const fill = (uuids: readonly string[], each: number) => {
  for (let i = 0; i < each; i += 1) for (const uuid of uuids) memory.append(eventOf(uuid, i));
};
const isDrained = () => memory.rows.every(({ status }) => status !== "pending");

/** Events of each user and topic came in the order they were committed, repeats aside. */
function expectOrder(): void {
  const order = new Map(memory.rows.map(({ eventId }, index) => [eventId, index]));
  const seen = new Set<string>();
  const last = new Map<string, number>();
  for (const { key, topic, event } of published) {
    if (seen.has(event.eventId)) continue;
    seen.add(event.eventId);
    const index = order.get(event.eventId) ?? -1;
    expect(index).toBeGreaterThan(last.get(key + topic) ?? -1);
    last.set(key + topic, index);
  }
}
const repeats = () => published.length - new Set(published.map(({ event }) => event.eventId)).size;

test("every user's events go out in the order of their commits, each once", async () => {
  fill(users(40), 25);
  relay(memory.replica());
  await until(isDrained);
  expect(published).toHaveLength(1_000);
  expect(repeats()).toBe(0);
  expectOrder();
  expect(metrics.counts).toEqual({ sent: 1_000, failed: 0, parked: 0 });
});

test("a local commit is sent at once, another replica's at the next poll", async () => {
  const here = memory.replica();
  const seldom = relay(here, { ...FAST, poll: 120_000 });
  await until(() => (memory.calls.get("pending") ?? 0) >= QUEUES);
  await delay(50);

  memory.append(eventOf(randomUUID(), 0), here.outbox);
  await until(() => published.length === 1);

  await seldom.close();
  memory.calls.clear();
  relay(memory.replica());
  await until(() => (memory.calls.get("pending") ?? 0) >= QUEUES);
  await delay(50);
  memory.append(eventOf(randomUUID(), 0));
  await until(() => published.length === 2);
});

test("an idle relay asks the database little", async () => {
  relay(memory.replica(), {});
  await until(() => (memory.calls.get("pending") ?? 0) >= QUEUES);
  memory.calls.clear();
  await delay(4_000);
  const queries = [...memory.calls.values()].reduce((sum, count) => sum + count, 0);
  expect(memory.calls.get("pending")).toBeUndefined();
  expect(queries).toBeLessThan(50);
});

test("F-12 events that cannot be delivered are parked with their reason and later ones flow", async () => {
  const [uuid, other] = users(2) as [string, string];
  const tooLarge = eventOf(uuid, 1);
  broker = async (batch) => {
    if (batch.some(({ event }) => event === tooLarge)) throw new PublishError("undeliverable", "message too large");
  };
  memory.append(eventOf(uuid, 0));
  memory.append(tooLarge);
  const unwritable = { ...eventOf(uuid, 0), timestamp: Number.NaN };
  memory.append(unwritable);
  memory.append(eventOf(uuid, 2));
  fill([uuid, other], 4);
  relay(memory.replica());
  await until(isDrained);

  const parked = memory.rows.filter(({ status }) => status === "parked");
  expect(parked.map(({ eventId, reason }) => [eventId, reason])).toEqual([
    [tooLarge.eventId, "message too large"],
    [unwritable.eventId, expect.stringContaining("cannot be encoded")],
  ]);
  expect(metrics.counts).toMatchObject({ sent: 10, parked: 2 });
  expect(repeats()).toBe(0);
  expectOrder();
  expect(log.lines.filter(({ level }) => level === "error")).toHaveLength(2);
});

test("F-12 events of a missing topic wait for it while other topics flow", async () => {
  let isMissing = true;
  broker = async (batch) => {
    if (isMissing && batch.some(({ topic }) => topic === "user-login")) {
      throw new PublishError("refused", "no such topic");
    }
  };
  const everyone = users(20);
  fill(everyone, 6);
  relay(memory.replica());
  await until(() => published.length === 60);
  await delay(300);
  fill(everyone, 1);
  await until(() => published.length === 80);
  expect(published.some(({ topic }) => topic === "user-login")).toBe(false);
  expect(log.lines.filter(({ message }) => message.includes("refused and wait"))).toHaveLength(1);

  isMissing = false;
  await until(isDrained);
  expect(published).toHaveLength(140);
  expect(repeats()).toBe(0);
  expectOrder();
});

test("C-09 2,300 events of a refused topic hold back nothing of another in their lane, and go out when it takes them", async () => {
  let isRefusing = true;
  broker = async (batch) => {
    if (isRefusing && batch.some(({ topic }) => topic === "user-login")) {
      throw new PublishError("refused", "not authorized");
    }
  };
  const uuid = randomUUID();
  for (let n = 0; n < 2_300; n += 1) memory.append(eventOf(uuid, 1));
  const here = memory.replica();
  relay(here);
  memory.append(eventOf(uuid, 2), here.outbox);
  await until(() => published.length === 1);
  expect(published[0]?.topic).toBe("password-reset");

  isRefusing = false;
  await until(isDrained);
  expect(repeats()).toBe(0);
  expectOrder();
});

test("C-10 events of a partition that is short wait, however many, while others of their topic and lane go out", async () => {
  const lane = 3;
  const [short, well] = users(2).map((uuid) => `${uuid.slice(0, -1)}${lane}`) as [string, string];
  let isShort = true;
  const through: EventPublisher = {
    async publish(batch) {
      const held = batch.filter(({ key }) => isShort && key === short);
      published.push(...batch.filter((event) => !held.includes(event)));
      return new Map(held.map(({ event }) => [event.eventId, new PublishError("away", "not enough replicas")]));
    },
    close: async () => {},
  };
  for (let n = 0; n < 1_000; n += 1) memory.append(eventOf(short, 1));
  memory.append(eventOf(well, 1));
  const here = memory.replica();
  relay(here, FAST, through);
  await until(() => published.length === 1);
  memory.append(eventOf(well, 3), here.outbox);
  await until(() => published.length === 2);

  isShort = false;
  await until(isDrained);
  expect(published).toHaveLength(1_002);
  expectOrder();
});

test("C-10 a user's events keep their order where a batch is sent one by one and their partition recovers meanwhile", async () => {
  const lane = 3;
  const [held, other] = users(2).map((uuid) => `${uuid.slice(0, -1)}${lane}`) as [string, string];
  const tooLarge = eventOf(other, 1);
  let refusals = 1;
  const through: EventPublisher = {
    async publish(batch) {
      if (batch.some(({ event }) => event === tooLarge)) throw new PublishError("undeliverable", "message too large");
      const isHeld = batch.some(({ key }) => key === held) && refusals-- > 0;
      if (isHeld) return new Map(batch.map(({ event }) => [event.eventId, new PublishError("away", "no leader")]));
      published.push(...batch);
      return NONE_HELD;
    },
    close: async () => {},
  };
  for (const event of [eventOf(held, 1), tooLarge, eventOf(held, 3), eventOf(other, 3)]) memory.append(event);
  relay(memory.replica(), FAST, through);
  await until(isDrained);
  expect(published).toHaveLength(3);
  expectOrder();
});

test("F-10 while the broker is away events wait, few sends are tried, and nothing is lost", async () => {
  let tries = 0;
  let isAway = true;
  broker = async () => {
    if (!isAway) return;
    tries += 1;
    throw new PublishError("away", "connect ECONNREFUSED");
  };
  const here = memory.replica();
  relay(here);
  const everyone = users(30);
  const from = performance.now();
  for (let i = 0; i < 10; i += 1) {
    for (const uuid of everyone) memory.append(eventOf(uuid, i), here.outbox);
    await delay(50);
  }
  expect(memory.rows.every(({ status }) => status === "pending")).toBe(true);
  // not one for each event
  expect(tries).toBeLessThan(0.4 * (performance.now() - from));
  await until(() => Math.max(...memory.rows.map(({ attempts }) => attempts)) > 1);

  isAway = false;
  await until(isDrained);
  expect(published).toHaveLength(300);
  expectOrder();
  const said = log.lines.filter(({ level }) => level === "warn" || level === "info").map(({ message }) => message);
  expect(said).toEqual(["events cannot be delivered and wait in the outbox", "events are delivered again"]);
});

test("F-10 while the broker cannot be reached nothing is read from the outbox, however much waits", async () => {
  let isAway = true;
  let asked = 0;
  const refuse = async () => {
    await delay(1);
    if (isAway) throw new PublishError("away", "connect ECONNREFUSED");
  };
  broker = refuse;
  const connect = async () => {
    asked += 1;
    await refuse();
  };
  const here = memory.replica();
  relay(here, FAST, { ...publisher, connect });
  fill(users(100), 3);
  await until(() => asked >= 2);
  const before = { reads: memory.calls.get("pending") ?? 0, asked, failed: metrics.counts.failed };
  await until(() => asked >= before.asked + 5);
  expect(memory.calls.get("pending")).toBe(before.reads);
  // the metric tells of the outage all the time
  expect(metrics.counts.failed - before.failed).toBeGreaterThanOrEqual(4);

  isAway = false;
  await until(isDrained);
  expect(published).toHaveLength(300);
  expectOrder();
});

test("F-11 a send that never answers is given up at its deadline and repeated", async () => {
  let isFrozen = true;
  broker = () => (isFrozen ? new Promise(() => {}) : Promise.resolve());
  fill(users(5), 3);
  relay(memory.replica(), SHORT);
  await delay(700);
  isFrozen = false;
  await until(isDrained);
  expect(published).toHaveLength(15);
  expectOrder();
});

test("the relay goes on after a database outage, and does not send again what it sent during it", async () => {
  const here = memory.replica();
  const sent = Promise.withResolvers<() => void>();
  broker = () => new Promise((resolve) => sent.resolve(resolve));
  const uuid = randomUUID();
  memory.append(eventOf(uuid, 0));
  relay(here, SHORT);
  const acknowledge = await sent.promise;
  memory.isAway = true;
  acknowledge();
  broker = () => delay(1);
  await delay(2_500);
  memory.isAway = false;
  memory.append(eventOf(uuid, 1));
  await until(isDrained);
  expect(published.map(({ event }) => event.eventType)).toEqual(["USER_SIGNUP", "USER_LOGIN"]);
});

test("F-13 two relays share the lanes and send nothing twice", async () => {
  const [first, second] = [memory.replica(), memory.replica()];
  const by = [0, 0];
  const counting = (index: number): EventPublisher => ({
    publish: async (batch) => {
      by[index] = (by[index] ?? 0) + batch.length;
      return publisher.publish(batch);
    },
    close: async () => {},
  });
  relay(first, FAST, counting(0));
  relay(second, FAST, counting(1));
  const owners = async () => {
    const held = await first.leases.holders("outbox-lane-");
    return Object.values(Object.groupBy(held, ({ owner }) => owner)).map((lanes) => lanes?.length);
  };
  await until(async () => JSON.stringify(await owners()) === "[8,8]");

  const everyone = users(50);
  for (let i = 0; i < 20; i += 1) {
    for (const uuid of everyone) memory.append(eventOf(uuid, i), i % 2 === 0 ? first.outbox : second.outbox);
    await delay(20);
  }
  await until(isDrained);
  expect(published).toHaveLength(1_000);
  expect(repeats()).toBe(0);
  expect(Math.min(...by)).toBeGreaterThan(200);
  expectOrder();
});

test("F-13 a relay that comes later gets its share, one that leaves gives its lanes back at once", async () => {
  const store = memory.replica();
  const lanesOf = async () => {
    const held = await store.leases.holders("outbox-lane-");
    return [...Map.groupBy(held, ({ owner }) => owner).values()].map((lanes) => lanes.length).sort();
  };
  const first = relay(store);
  await until(async () => (await lanesOf())[0] === 16);
  relay(memory.replica());
  await until(async () => JSON.stringify(await lanesOf()) === "[8,8]");
  relay(memory.replica());
  await until(async () => JSON.stringify(await lanesOf()) === "[4,6,6]");
  await first.close();
  await until(async () => JSON.stringify(await lanesOf()) === "[8,8]");
});

test("a relay to a file leaves everything to those to Kafka while there is one, and says so", async () => {
  const [file, broker] = [memory.replica(), memory.replica()];
  const written: OutboundEvent[] = [];
  const toFile: EventPublisher = {
    publish: async (batch) => {
      written.push(...batch);
      return NONE_HELD;
    },
    close: async () => {},
  };
  const lanes = async () => {
    const held = await file.leases.holders("outbox-lane-");
    return [...Map.groupBy(held, ({ owner }) => owner).values()].map((of) => of.length);
  };
  const first = relay(file, FAST, toFile, "file");
  await until(() => first.lanes === 16);
  const everyone = users(20);
  for (const uuid of everyone) memory.append(eventOf(uuid, 0), file.outbox);
  await until(() => written.length === 20);
  const second = relay(broker, FAST, publisher, "kafka");
  await until(async () => first.lanes === 0 && second.lanes === 16 && (await lanes()).length === 1);
  for (const uuid of everyone) memory.append(eventOf(uuid, 1), file.outbox);
  await until(() => published.length === 20);
  expect(written).toHaveLength(20);
  expect(log.lines.filter(({ message }) => message.includes("set KAFKA_BROKERS here too"))).toHaveLength(1);
  await second.close();
  await until(() => first.lanes === 16);
});

test("F-56 relays to files and to Kafka share the lanes with one of the previous release, which tells neither", async () => {
  for (const sink of ["file", "kafka"] as const) {
    const store = memory.replica();
    const owner = randomUUID();
    const announcement = await store.leases.acquire(`relay-${owner}`, owner, FAST.leaseTtl);
    const own = relay(store, FAST, publisher, sink);
    // the earlier one holds none here
    await until(() => own.lanes === (sink === "file" ? 8 : 16));
    await own.close();
    if (announcement !== null) await store.leases.release(announcement);
  }
});

test("F-04 a relay that died between the broker's answer and the mark costs repeats only, and its lanes go to another", async () => {
  const dying = memory.replica();
  const dead = new Promise<never>(() => {});
  let isDead = false;
  const stopped =
    <A extends unknown[], R>(verb: (...args: A) => Promise<R>) =>
    (...args: A) =>
      isDead ? dead : verb(...args);
  const outbox = { ...dying.outbox, markSent: stopped(dying.outbox.markSent), pending: stopped(dying.outbox.pending) };
  const leases = { ...dying.leases, renewAll: stopped(dying.leases.renewAll), acquire: stopped(dying.leases.acquire) };
  relay({ outbox, leases }, SHORT);
  const everyone = users(10);
  fill(everyone, 5);
  await until(isDrained);
  broker = async () => {
    isDead = true;
  };
  fill(everyone, 5);
  await until(() => isDead);
  await delay(200);
  broker = () => delay(1);
  const sentByTheDead = published.length - 50;
  expect(sentByTheDead).toBeGreaterThan(0);

  relay(memory.replica(), SHORT);
  await until(isDrained);
  expect(new Set(published.map(({ event }) => event.eventId)).size).toBe(100);
  expect(repeats()).toBe(sentByTheDead);
  expectOrder();
});

test("F-14 closing does not wait for a broker that is away, and leaves its events for the next", async () => {
  broker = () => new Promise(() => {});
  const store = memory.replica();
  const closing = relay(store, { send: 60_000, leaseTtl: 120_000 });
  fill(users(20), 2);
  await until(() => (memory.calls.get("pending") ?? 0) >= QUEUES);
  await delay(50);
  const before = performance.now();
  await closing.close();
  expect(performance.now() - before).toBeLessThan(8_000);
  expect(memory.rows.every(({ status }) => status === "pending")).toBe(true);
  expect(await store.leases.holders("")).toEqual([]);
});

test("F-14 closing does not wait for a database that is away either", async () => {
  const store = memory.replica();
  const hangs = () => new Promise<never>(() => {});
  const closing = relay({ ...store, leases: { ...store.leases, release: hangs } }, {});
  await until(() => (memory.calls.get("pending") ?? 0) >= QUEUES);
  const before = performance.now();
  await closing.close();
  expect(performance.now() - before).toBeLessThan(8_000);
});
