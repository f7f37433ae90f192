import type { Message, PartitionMetadata, Producer } from "kafkajs";
import { withDeadline } from "../deadline.ts";
import type { OutboundEvent } from "./encode.ts";
import { type KafkaOptions, openKafka, REQUEST_TIMEOUT_MS, trackSockets } from "./kafka-client.ts";
import { NoLeader, NotAcknowledged } from "./kafka-errors.ts";
import { isWithoutLeader } from "./metadata.ts";

/**
 * One idempotent producer and its connections. A session does not outlive a failed send: kafkajs gives the sequence numbers of a failed
 * send to the next one. If the broker had stored the failed one after all, it would take the next for its repeat and acknowledge it
 * without storing it.
 *
 * A send believes only what it counted. When a partition's leader moves during a send, kafkajs 2.2.4 tries again without the brokers
 * that have answered: what moved to one of them is never sent, and the send resolves with fewer partitions than it was asked for.
 * A send to a partition without a leader fails before anything of it is sent.
 */
export class ProducerSession {
  readonly #connection: ReturnType<typeof trackSockets>;
  readonly #opened: Promise<Producer>;
  /** `topic/partition` of everything in the send that is under way, as the partitioner chose it in any of its tries. */
  #asked = new Set<string>();

  /**
   * Begins to connect. The first send waits for it.
   * @param partitioned told of the partitions of a topic, and of how they are chosen, whenever one is
   */
  constructor(options: KafkaOptions, partitioned: (topic: string, choose: ChoosePartition) => void) {
    this.#connection = trackSockets(options.ssl);
    this.#opened = openProducer(options, this.#connection.socketFactory, (topic, key, choose) => {
      const partition = choose(key);
      this.#asked.add(`${topic}/${partition}`);
      partitioned(topic, choose);
      return partition;
    });
    this.#opened.catch(() => {});
  }

  /** @throws what kafkajs throws */
  async connected(): Promise<void> {
    await this.#opened;
  }

  /**
   * Resolves when all in-sync replicas have stored the batch.
   * @throws PublishError away: a partition was not acknowledged; or what kafkajs throws
   */
  async send(batch: readonly OutboundEvent[]): Promise<void> {
    const producer = await this.#opened;
    this.#asked = new Set();
    const result = producer.sendBatch({
      acks: -1,
      timeout: REQUEST_TIMEOUT_MS - 500,
      topicMessages: [...Map.groupBy(batch, ({ topic }) => topic)].map(([topic, events]) => ({
        topic,
        messages: events.map(({ key, value, headers }) => ({
          key,
          value: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
          headers: { ...headers },
        })),
      })),
    });
    result.catch(() => {});
    const acknowledged = new Set((await result).map(({ topicName, partition }) => `${topicName}/${partition}`));
    const missing = [...this.#asked].filter((partition) => !acknowledged.has(partition));
    if (missing.length > 0) throw new NotAcknowledged(missing);
  }

  /** Disconnects in order, for half a second at most. */
  async close(): Promise<void> {
    await withDeadline(500, [], async () => (await this.#opened).disconnect()).catch(() => {});
    this.#connection.cut();
  }

  /** Cuts every connection at once, also those that kafkajs would open later. */
  discard(): void {
    this.#connection.cut();
    this.#opened.then((producer) => producer.disconnect()).catch(() => {});
  }
}

/** The partition of a key, among those that a topic has. */
export type ChoosePartition = (key: Message["key"]) => number;

/** @param choose chooses the partition of each message */
async function openProducer(
  options: KafkaOptions,
  socketFactory: Parameters<typeof openKafka>[1],
  choose: (topic: string, key: Message["key"], choosePartition: ChoosePartition) => number,
): Promise<Producer> {
  const { kafka, Partitioners } = await openKafka(options, socketFactory);
  const producer = kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    createPartitioner: () => {
      const partitionOf = Partitioners.DefaultPartitioner();
      return ({ topic, partitionMetadata, message }) => {
        const choosePartition = (key: Message["key"]) =>
          partitionOf({
            topic,
            partitionMetadata: partitionMetadata as PartitionMetadata[],
            message: { ...message, key: key ?? null },
          });
        const partition = choose(topic, message.key, choosePartition);
        if (isWithoutLeader(partitionMetadata, partition)) throw new NoLeader(topic, partition);
        return partition;
      };
    },
    retry: { retries: 1 },
  });
  await producer.connect();
  return producer;
}
