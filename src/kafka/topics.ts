import type { Admin } from "kafkajs";
import { pause, withDeadline } from "../deadline.ts";
import { EVENT_TOPICS } from "./encode.ts";
import type { Logger } from "./event-publisher.ts";
import { type KafkaOptions, openKafka, trackSockets } from "./kafka-client.ts";
import { isNotAllowed, topicRefusal } from "./kafka-errors.ts";
import { haveLeaders } from "./metadata.ts";

/** Deadline of one attempt (milliseconds). */
const attemptMs = 15_000;

/**
 * Creates the topics of events that do not exist, and tries again until the broker answers or refuses.
 * @param attempted called after each attempt, with its error or null
 */
export async function createTopics(
  options: KafkaOptions,
  closing: AbortSignal,
  attempted: (error: unknown) => void,
): Promise<void> {
  const { log } = options;
  let said: string | null = null;
  for (let wait = 500; !closing.aborted; wait = Math.min(wait * 2, 10_000)) {
    try {
      await createMissing(options, closing);
      return attempted(null);
    } catch (error) {
      attempted(error);
      if (closing.aborted) return;
      if (isNotAllowed(error)) {
        const fields = { err: error, topics: EVENT_TOPICS };
        log.warn(fields, "the Kafka broker does not allow this service to create topics: create them by hand");
        return;
      }
      const refusal = topicRefusal(error);
      if (refusal === null || refusal === said) log.debug({ err: error }, "the Kafka topics could not be checked yet");
      else log.warn({ reason: refusal }, "the Kafka broker does not create topics that are missing; it is asked again");
      said = refusal ?? said;
    }
    await pause(wait, closing);
  }
}

async function createMissing(options: KafkaOptions, closing: AbortSignal): Promise<void> {
  const { log, topicPartitions: numPartitions = 3, topicReplication: replicationFactor = -1 } = options;
  const connection = trackSockets(options.ssl);
  try {
    const created = await withDeadline(attemptMs, [closing], async (signal) => {
      const { kafka } = await openKafka(options, connection.socketFactory);
      const admin = kafka.admin();
      await admin.connect();
      const present = new Set(await admin.listTopics());
      const missing = EVENT_TOPICS.filter((topic) => !present.has(topic));
      if (missing.length > 0) {
        const configEntries = await configOf(admin, replicationFactor, log);
        await admin.createTopics({
          topics: missing.map((topic) => ({ topic, numPartitions, replicationFactor, configEntries })),
        });
        await haveLeaders(admin, missing, signal);
      }
      await admin.disconnect();
      return missing;
    });
    if (created.length > 0) log.info({ topics: created, partitions: numPartitions }, "Kafka topics created");
  } finally {
    connection.cut();
  }
}

/**
 * A topic of three and more replicas acknowledges what two of them have stored, so that one lost broker loses nothing. The request that
 * creates the topic carries the setting: a replica that finds the topic later does not change it. A broker-wide value above 1 stays in force.
 * @param replication -1: the broker's default
 */
async function configOf(admin: Admin, replication: number, log: Logger): Promise<{ name: string; value: string }[]> {
  const setting = "min.insync.replicas";
  const byDefault = "default.replication.factor";
  try {
    const { default: kafkajs } = await import("kafkajs");
    const [broker] = (await admin.describeCluster()).brokers;
    const resource = { type: kafkajs.ConfigResourceTypes.BROKER, name: String(broker?.nodeId) };
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ ...resource, configNames: [setting, byDefault] }],
    });
    const values = new Map(resources[0]?.configEntries.map(({ configName, configValue }) => [configName, configValue]));
    const replicas = replication === -1 ? Number(values.get(byDefault)) : replication;
    return replicas >= 3 && values.get(setting) === "1" ? [{ name: setting, value: "2" }] : [];
  } catch (error) {
    if (!isNotAllowed(error)) throw error;
    log.warn({ err: error }, `the Kafka broker does not tell its ${setting}: set it to 2 for topics of three replicas`);
    return [];
  }
}
