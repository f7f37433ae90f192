import type { Producer } from "kafkajs";
import { withDeadline } from "./deadline.ts";
import type { OutboundEvent } from "./encode.ts";
import { type KafkaOptions, openKafka, REQUEST_TIMEOUT_MS, trackSockets } from "./kafka-client.ts";

/**
 * One idempotent producer and its connections. A session does not outlive a failed send: kafkajs gives the sequence numbers of a failed
 * send to the next one. If the broker had stored the failed one after all, it would take the next for its repeat and acknowledge it
 * without storing it.
 */
export class ProducerSession {
  readonly #connection: ReturnType<typeof trackSockets>;
  readonly #opened: Promise<Producer>;

  /** Begins to connect. The first send waits for it. */
  constructor(options: KafkaOptions) {
    this.#connection = trackSockets(options.ssl);
    this.#opened = openProducer(options, this.#connection.socketFactory);
    this.#opened.catch(() => {});
  }

  /** Resolves when all in-sync replicas have stored the batch. @throws what kafkajs throws */
  async send(batch: readonly OutboundEvent[]): Promise<void> {
    const producer = await this.#opened;
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
    await result;
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

async function openProducer(options: KafkaOptions, socketFactory: Parameters<typeof openKafka>[1]): Promise<Producer> {
  const { kafka, Partitioners } = await openKafka(options, socketFactory);
  const producer = kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    createPartitioner: Partitioners.DefaultPartitioner,
    retry: { retries: 1 },
  });
  await producer.connect();
  return producer;
}
