import type { Admin } from "kafkajs";
import { pause, withDeadline } from "../deadline.ts";
import { EVENT_TOPICS } from "./encode.ts";
import type { Logger } from "./event-publisher.ts";
import { type KafkaOptions, openKafka, trackSockets } from "./kafka-client.ts";
import { isNotAllowed } from "./kafka-errors.ts";

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
      log.debug({ err: error }, "the Kafka topics could not be checked yet");
    }
    await pause(wait, closing);
  }
}

async function createMissing(options: KafkaOptions, closing: AbortSignal): Promise<void> {
  const { log, topicPartitions: numPartitions = 3, topicReplication: replicationFactor = -1 } = options;
  const connection = trackSockets(options.ssl);
  try {
    const created = await withDeadline(attemptMs, [closing], async () => {
      const { kafka } = await openKafka(options, connection.socketFactory);
      const admin = kafka.admin();
      await admin.connect();
      const present = new Set(await admin.listTopics());
      const missing = EVENT_TOPICS.filter((topic) => !present.has(topic));
      const topics = missing.map((topic) => ({ topic, numPartitions, replicationFactor }));
      if (topics.length > 0) await admin.createTopics({ topics });
      if (topics.length > 0) await requireTwoReplicas(admin, missing).catch((error: unknown) => warnOfLoss(log, error));
      await admin.disconnect();
      return missing;
    });
    if (created.length > 0) log.info({ topics: created, partitions: numPartitions }, "Kafka topics created");
  } finally {
    connection.cut();
  }
}

/** A new topic of three and more replicas acknowledges what two of them have stored, so that one lost broker loses nothing. */
async function requireTwoReplicas(admin: Admin, topics: readonly string[]): Promise<void> {
  const { default: kafkajs } = await import("kafkajs");
  const type = kafkajs.ConfigResourceTypes.TOPIC;
  const made = await admin.fetchTopicMetadata({ topics: [...topics] });
  const replicated = made.topics.filter(({ partitions }) => partitions.every(({ replicas }) => replicas.length >= 3));
  if (replicated.length === 0) return;
  const setting = "min.insync.replicas";
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: replicated.map(({ name }) => ({ type, name, configNames: [setting] })),
  });
  const alone = resources.filter(({ configEntries }) => configEntries[0]?.configValue === "1");
  if (alone.length === 0) return;
  await admin.alterConfigs({
    validateOnly: false,
    resources: alone.map(({ resourceName }) => ({
      type,
      name: resourceName,
      configEntries: [{ name: setting, value: "2" }],
    })),
  });
}

function warnOfLoss(log: Logger, error: unknown): void {
  log.warn({ err: error }, "min.insync.replicas of the new topics could not be set to 2: set it by hand");
}
