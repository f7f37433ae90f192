import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import kafkajs, { type Admin, type PartitionMetadata } from "kafkajs";
import { Clock } from "../../src/clock.ts";
import { EVENT_TOPICS, encodeEvent, type OutboundEvent } from "../../src/kafka/encode.ts";
import type { EventPublisher } from "../../src/kafka/event-publisher.ts";
import { kafkaPublisher } from "../../src/kafka/publisher.ts";
import { startRelay } from "../../src/kafka/relay.ts";
import { readTopics } from "../support/kafka.ts";
import { type KafkaCluster, startKafkaCluster } from "../support/kafka-cluster.ts";
import { memoryOutbox } from "../support/memory-outbox.ts";
import { freeze } from "../support/process.ts";
import { captureLog, countingMetrics, eventOf, until } from "./events.ts";

let cluster: KafkaCluster;
beforeAll(async () => {
  cluster = await startKafkaCluster();
});
afterAll(() => cluster?.stop());

test("C-01 no event of an acknowledged batch is missing after the brokers were restarted one after the other", async () => {
  const publisher = kafkaPublisher({ brokers: cluster.brokers, log: captureLog(), topicReplication: 3 });
  const acknowledged: string[] = [];
  let isRestarting = true;
  // a batch goes to all partitions of all topics, so that some of its leaders move and some do not
  const send = async () => {
    for (let n = 0; isRestarting; n += 1) {
      let batch = Array.from({ length: 30 }, (_, i) =>
        encodeEvent(eventOf(randomUUID(), n + i), "https://auth.example"),
      );
      while (isRestarting && batch.length > 0) {
        try {
          const held = await publisher.publish(batch);
          const isHeld = ({ event }: OutboundEvent) => held.has(event.eventId);
          acknowledged.push(...batch.filter((event) => !isHeld(event)).map(({ event }) => event.eventId));
          batch = batch.filter(isHeld);
        } catch {
          // as the relay does: the whole batch again
        }
        if (batch.length > 0) await delay(50);
      }
    }
  };
  const restart = async () => {
    for (const broker of [0, 1, 2]) await cluster.restart(broker);
    isRestarting = false;
  };
  try {
    await Promise.all([send(), restart()]);
    expect(await inSyncReplicas()).toEqual(EVENT_TOPICS.map(() => "2"));
    const records = await readTopics(cluster.brokers.join(","), EVENT_TOPICS);
    const stored = new Set(records.map(({ headers }) => headers["ce_id"]));
    expect(acknowledged.length).toBeGreaterThan(300);
    expect(acknowledged.filter((id) => !stored.has(id))).toEqual([]);
  } finally {
    await publisher.close();
  }
});

test("F-11 a broker that stands still, also the first of KAFKA_BROKERS, holds events back until the others lead", async () => {
  const publisher = kafkaPublisher({ brokers: cluster.brokers, log: captureLog() });
  try {
    for (const broker of [0, 1]) {
      await publishAll(publisher);
      const pid = cluster.pid(broker);
      await freeze(pid);
      try {
        await publishAll(publisher);
        // one that starts meanwhile
        const another = kafkaPublisher({ brokers: cluster.brokers, log: captureLog() });
        await publishAll(another).finally(() => another.close());
      } finally {
        process.kill(pid, "SIGCONT");
      }
      await inSync();
    }
  } finally {
    await publisher.close();
  }
}, 900_000);

test("C-10 a partition without a leader holds back its own events alone, repeats few, and gets them when it is back", async () => {
  const admin = await openAdmin();
  await createApart(admin);
  await admin.disconnect();

  const memory = memoryOutbox();
  const log = captureLog();
  const metrics = countingMetrics();
  const publisher = kafkaPublisher({ brokers: cluster.brokers, log });
  const here = memory.replica();
  const issuer = "https://auth.example";
  const relay = startRelay({
    store: here,
    publisher,
    clock: new Clock(),
    log,
    metrics,
    owner: randomUUID(),
    sink: "kafka",
    issuer,
  });
  try {
    const users: string[] = Array.from({ length: 60 }, () => randomUUID());
    const everyoneOnce = (index: number) => {
      for (const uuid of users) memory.append(eventOf(uuid, index), here.outbox);
    };
    const pending = () => memory.rows.filter(({ status }) => status === "pending");
    everyoneOnce(1);
    await until(() => pending().length === 0, 60_000);
    await cluster.kill(2);
    for (let n = 1; n <= 5; n++) {
      everyoneOnce(2 * n + 1);
      await delay(200);
    }
    // two of three partitions go on
    const short = new Set<string>(users.filter((uuid) => partitionOf(uuid) === 2));
    await until(() => pending().every(({ userId }) => short.has(userId)), 60_000);
    expect(pending()).toHaveLength(5 * short.size);

    await cluster.restart(2);
    await until(() => pending().length === 0, 60_000);
    const ids = (await readTopics(cluster.brokers.join(","), EVENT_TOPICS)).map(({ headers }) => headers["ce_id"]);
    const stored = new Set(ids);
    expect(memory.rows.filter(({ eventId }) => !stored.has(eventId))).toEqual([]);
    expect(ids.length - stored.size).toBeLessThanOrEqual(memory.rows.length / 4);
  } finally {
    await relay.close();
    await publisher.close();
  }
});

test("C-10 a connection that is opened while partitions have no leader, also those of foreign topics, sends to all others", async () => {
  const admin = await openAdmin();
  const foreign = { topic: "of-another-service", replicaAssignment: [{ partition: 0, replicas: [2] }] };
  await createApart(admin);
  await admin.createTopics({ waitForLeaders: false, topics: [foreign] });
  await cluster.kill(1);
  const leader = async () => {
    try {
      const found = await admin.fetchTopicMetadata({ topics: [foreign.topic] });
      return found.topics[0]?.partitions[0]?.leader;
    } catch (error) {
      return /no leader/.test(String(error)) ? -1 : undefined;
    }
  };
  await until(async () => (await leader()) === -1, 60_000);
  await admin.disconnect();

  const publisher = kafkaPublisher({ brokers: cluster.brokers, log: captureLog() });
  try {
    const users = Array.from({ length: 30 }, () => randomUUID());
    let batch = users.map((uuid) => encodeEvent(eventOf(uuid, 1), "https://auth.example"));
    const isOfDead = ({ key }: OutboundEvent) => partitionOf(String(key)) === 1;
    await until(async () => {
      // while a busy broker answers late, as the relay does
      const held = await publisher.publish(batch).catch(() => null);
      if (held !== null) batch = batch.filter(({ event }) => held.has(event.eventId));
      return batch.every(isOfDead);
    }, 30_000);
    expect(batch.length).toBeGreaterThan(0);
  } finally {
    await publisher.close();
    await cluster.restart(1);
  }
});

/** Publishes to every partition until nothing is held back. */
async function publishAll(publisher: EventPublisher): Promise<void> {
  const events = Array.from({ length: 30 }, (_, n) => encodeEvent(eventOf(randomUUID(), n), "https://auth.example"));
  let batch = events;
  // the others give a broker up after 9 s; kafkajs would stay with it for minutes
  await until(async () => {
    const held = await publisher.publish(batch).catch(() => null);
    if (held !== null) batch = batch.filter(({ event }) => held.has(event.eventId));
    return batch.length === 0;
  }, 120_000);
}

/** Waits until every replica is in sync. */
async function inSync(): Promise<void> {
  await until(async () => {
    const admin = await openAdmin();
    const { topics } = await admin.fetchTopicMetadata({ topics: [...EVENT_TOPICS] });
    await admin.disconnect();
    return topics.every(({ partitions }) => partitions.every(({ isr, replicas }) => isr.length === replicas.length));
  }, 60_000);
}

/** Makes the topics anew, with one replica of each partition: the first on broker 1, the others on 2 and 3. */
async function createApart(admin: Admin): Promise<void> {
  const present = async () => (await admin.listTopics()).filter((topic) => EVENT_TOPICS.includes(topic));
  await admin.deleteTopics({ topics: await present() });
  await until(async () => (await present()).length === 0, 60_000);
  const replicaAssignment = [1, 2, 3].map((broker, partition) => ({ partition, replicas: [broker] }));
  const topics = EVENT_TOPICS.map((topic) => ({ topic, replicaAssignment }));
  await admin.createTopics({ waitForLeaders: false, topics });
}

async function openAdmin(): Promise<Admin> {
  const admin = new kafkajs.Kafka({ brokers: [...cluster.brokers], logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  return admin;
}

/** `min.insync.replicas` of each topic. */
async function inSyncReplicas(): Promise<(string | undefined)[]> {
  const admin = await openAdmin();
  const type = kafkajs.ConfigResourceTypes.TOPIC;
  const resources = EVENT_TOPICS.map((name) => ({ type, name, configNames: ["min.insync.replicas"] }));
  const described = await admin.describeConfigs({ includeSynonyms: false, resources });
  await admin.disconnect();
  return described.resources.map(({ configEntries }) => configEntries[0]?.configValue);
}

function partitionOf(uuid: string): number {
  const partitionMetadata = [0, 1, 2].map((partitionId) => ({ partitionId, leader: 1 })) as PartitionMetadata[];
  return kafkajs.Partitioners.DefaultPartitioner()({
    topic: "t",
    partitionMetadata,
    message: { key: uuid, value: "" },
  });
}
