import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs from "kafkajs";
import { Clock } from "../src/clock.ts";
import { keysFor } from "../src/crypto/keys-for.ts";
import { Sealer } from "../src/crypto/sealing.ts";
import { openStore } from "../src/database/open-store.ts";
import { userSignup } from "../src/events.ts";
import { kafkaPublisher } from "../src/kafka/publisher.ts";
import { startRelay } from "../src/kafka/relay.ts";
import { startKafka } from "../test/support/kafka.ts";
import { startMariaDb } from "../test/support/mariadb.ts";
import type { Figure } from "./figures.ts";

const perSecond = 200;
const seconds = 30;
/** Not measured: connections are made, code is compiled. */
const warmUpSeconds = 5;

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Sign-ups on MariaDB, from the commit to a consumer that reads the topic. */
export async function events(): Promise<readonly Figure[]> {
  const [database, kafka] = await Promise.all([startMariaDb(), startKafka()]);
  const clock = new Clock();
  const sealer = new Sealer(keysFor("sealing", [randomBytes(32)]));
  const store = await openStore({ url: await database.createDatabase(), sealer, clock, log: silent });
  const brokers = kafka.brokers.split(",");
  const publisher = kafkaPublisher({ brokers, log: silent });
  const metrics = { sent() {}, failed() {}, parked() {} };
  const owner = randomUUID();
  const relay = startRelay({
    store,
    publisher,
    clock,
    log: silent,
    metrics,
    owner,
    sink: "kafka",
    issuer: "https://auth.example",
  });
  const committed = new Map<string, number>();
  const arrived = new Map<string, number>();
  const consumer = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).consumer({ groupId: "bench" });
  let repeats = 0;
  try {
    await signUp();
    await waitUntil(async () => (await store.outbox.stats()).pending === 0);
    await consumer.connect();
    await consumer.subscribe({ topics: ["user-signup"], fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message }) => {
        const uuid = String(message.key);
        if (arrived.has(uuid)) repeats++;
        else arrived.set(uuid, performance.now());
      },
    });
    await waitUntil(() => arrived.size === 1);
    committed.clear();
    const from = performance.now();
    const work: Promise<void>[] = [];
    for (let n = 0; n < (warmUpSeconds + seconds) * perSecond; n++) {
      const due = from + (n * 1000) / perSecond;
      if (due > performance.now()) await sleep(due - performance.now());
      work.push(signUp(n < warmUpSeconds * perSecond));
    }
    await Promise.all(work);
    await waitUntil(() => [...committed.keys()].every((uuid) => arrived.has(uuid)));
    const delays = [...committed].map(([uuid, at]) => Math.max(0, (arrived.get(uuid) ?? 0) - at)).sort((a, b) => a - b);
    const at = (share: number) => Math.round(delays[Math.floor(delays.length * share)] ?? 0);
    return [
      { name: `events a second, ${seconds} seconds`, value: perSecond, unit: "", bar: null },
      { name: "commit to consumer, p50", value: at(0.5), unit: "ms", bar: null },
      { name: "commit to consumer, p99", value: at(0.99), unit: "ms", bar: 250 },
      { name: "events that came twice", value: repeats, unit: "", bar: 0 },
    ];
  } finally {
    await consumer.disconnect();
    await relay.close();
    await publisher.close();
    await store.close();
    await kafka.stop();
    await database.stop();
  }

  async function signUp(isWarmUp = false): Promise<void> {
    const uuid = randomUUID();
    const now = Date.now();
    const user = {
      ...{ uuid, email: `${uuid}@example.com`, nickname: "n", roles: [], emailVerified: false, claims: {}, epoch: 0 },
      ...{ language: null, disabledAt: null, createdAt: now, updatedAt: now },
    };
    await store.users.create(user, "hash", userSignup(user));
    if (!isWarmUp) committed.set(uuid, performance.now());
  }
}

async function waitUntil(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const giveUp = performance.now() + 60_000; !(await condition()); await sleep(20)) {
    if (performance.now() > giveUp) throw new Error(`not within a minute: ${condition}`);
  }
}
