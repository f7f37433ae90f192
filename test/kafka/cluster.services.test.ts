import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { EVENT_TOPICS, encodeEvent } from "../../src/kafka/encode.ts";
import { kafkaPublisher } from "../../src/kafka/publisher.ts";
import { readTopics } from "../support/kafka.ts";
import { type KafkaCluster, startKafkaCluster } from "../support/kafka-cluster.ts";
import { captureLog, eventOf } from "./events.ts";

let cluster: KafkaCluster;
beforeAll(async () => {
  cluster = await startKafkaCluster();
}, 240_000);
afterAll(() => cluster?.stop(), 60_000);

test("C-01 no event of an acknowledged batch is missing after the brokers were restarted one after the other", async () => {
  const publisher = kafkaPublisher({ brokers: cluster.brokers, log: captureLog(), topicReplication: 3 });
  const acknowledged: string[] = [];
  let isRestarting = true;
  // a batch goes to all partitions of all topics, so that some of its leaders move and some do not
  const send = async () => {
    for (let n = 0; isRestarting; n += 1) {
      const batch = Array.from({ length: 30 }, (_, i) =>
        encodeEvent(eventOf(randomUUID(), n + i), "https://auth.example"),
      );
      while (isRestarting) {
        try {
          await publisher.publish(batch);
          acknowledged.push(...batch.map(({ event }) => event.eventId));
          break;
        } catch {
          // as the relay does: the whole batch again
          await delay(50);
        }
      }
    }
  };
  const restart = async () => {
    for (const broker of [0, 1, 2]) await cluster.restart(broker);
    isRestarting = false;
  };
  try {
    await Promise.all([send(), restart()]);
    const records = await readTopics(cluster.brokers.join(","), EVENT_TOPICS);
    const stored = new Set(records.map(({ headers }) => headers["ce_id"]));
    expect(acknowledged.length).toBeGreaterThan(300);
    expect(acknowledged.filter((id) => !stored.has(id))).toEqual([]);
  } finally {
    await publisher.close();
  }
}, 300_000);
