import { pause, withDeadline } from "../deadline.ts";
import { EVENT_TOPICS } from "./encode.ts";
import { type KafkaOptions, openKafka, trackSockets } from "./kafka-client.ts";
import { isNotAllowed } from "./kafka-errors.ts";

/** Deadline of one attempt (milliseconds). */
const attemptMs = 15_000;

/**
 * Creates the topics of events that do not exist, and tries again until the broker answers or refuses.
 * @param attempted called after each attempt, whatever its result
 */
export async function createTopics(options: KafkaOptions, closing: AbortSignal, attempted: () => void): Promise<void> {
  const { log } = options;
  for (let wait = 500; !closing.aborted; wait = Math.min(wait * 2, 10_000)) {
    try {
      await createMissing(options, closing);
      return;
    } catch (error) {
      if (closing.aborted) return;
      if (isNotAllowed(error)) {
        const fields = { err: error, topics: EVENT_TOPICS };
        log.warn(fields, "the Kafka broker does not allow this service to create topics: create them by hand");
        return;
      }
      log.debug({ err: error }, "the Kafka topics could not be checked yet");
    } finally {
      attempted();
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
      await admin.disconnect();
      return missing;
    });
    if (created.length > 0) log.info({ topics: created, partitions: numPartitions }, "Kafka topics created");
  } finally {
    connection.cut();
  }
}
