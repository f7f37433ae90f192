import net from "node:net";
import tls from "node:tls";
import type { KafkaConfig, Producer, SASLOptions } from "kafkajs";
import { pause, withDeadline } from "./deadline.ts";
import type { OutboundEvent } from "./encode.ts";
import { EVENT_TOPICS } from "./encode.ts";
import type { EventPublisher, Logger, PublishFailure } from "./event-publisher.ts";
import { PublishError } from "./event-publisher.ts";

export interface KafkaOptions {
  readonly brokers: readonly string[];
  readonly ssl?: boolean | tls.ConnectionOptions | undefined;
  readonly sasl?: KafkaSasl | null | undefined;
  readonly clientId?: string | undefined;
  readonly topicPartitions?: number | undefined;
  /** Undefined or -1: the broker's default. */
  readonly topicReplication?: number | undefined;
  readonly log: Logger;
}

export interface KafkaSasl {
  /** `plain`, `scram-sha-256` or `scram-sha-512`. */
  readonly mechanism: string;
  readonly username: string;
  readonly password: string;
}

const SEND_DEADLINE_MS = 5_000;
const REQUEST_TIMEOUT_MS = 3_000;

// https://kafka.apache.org/protocol.html#protocol_error_codes
const UNDELIVERABLE_CODES = new Set([
  10 /* MESSAGE_TOO_LARGE */, 18 /* RECORD_LIST_TOO_LARGE */, 87 /* INVALID_RECORD */,
]);
const REFUSED_CODES = new Set([
  3 /* UNKNOWN_TOPIC_OR_PARTITION */, 17 /* INVALID_TOPIC_EXCEPTION */, 29 /* TOPIC_AUTHORIZATION_FAILED */,
  32 /* INVALID_TIMESTAMP */, 44 /* POLICY_VIOLATION */, 89 /* THROTTLING_QUOTA_EXCEEDED */,
]);
const NOT_ALLOWED_CODES = new Set([29, 31 /* CLUSTER_AUTHORIZATION_FAILED */, 44]);

interface Job {
  readonly batch: readonly OutboundEvent[];
  readonly signal: AbortSignal | undefined;
  resolve(): void;
  reject(error: PublishError): void;
}

/** Publishes to Kafka. Comes up without a broker, too: sends fail until there is one. */
export function kafkaPublisher(options: KafkaOptions): EventPublisher {
  const { log } = options;
  const closing = new AbortController();
  const queue: Job[] = [];
  let draining: Promise<void> | null = null;
  let session: ProducerSession | null = null;

  const firstLook = Promise.withResolvers<void>();
  void makeTopics(options, closing.signal, firstLook.resolve);

  async function drain(): Promise<void> {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
      try {
        await deliver(job);
        job.resolve();
      } catch (error) {
        const failure = toPublishError(error);
        job.reject(failure);
        // What waits behind would only find out the same, one deadline after the other.
        if (failure.failure === "away" && !job.signal?.aborted) {
          for (const waiting of queue.splice(0)) waiting.reject(failure);
        }
      }
    }
    draining = null;
  }

  /**
   * One send at a time, and no producer outlives a failed one: kafkajs gives the sequence numbers of a failed send to the next,
   * and if the failed one was written after all, the broker takes the next for its repeat and acknowledges it unwritten.
   */
  async function deliver({ batch, signal }: Job): Promise<void> {
    if (signal?.aborted || closing.signal.aborted) throw new PublishError("away", "given up");
    try {
      await withDeadline(SEND_DEADLINE_MS, [signal, closing.signal], async (stop) => {
        await firstLook.promise;
        if (stop.aborted) return;
        session ??= openProducer(options);
        await session.send(batch);
      });
    } catch (error) {
      session?.discard();
      session = null;
      throw error;
    }
  }

  return {
    publish(batch, signal) {
      return new Promise<void>((resolve, reject) => {
        if (batch.length === 0) return resolve();
        const leave = () => {
          const at = queue.indexOf(job);
          if (at < 0) return;
          queue.splice(at, 1);
          job.reject(new PublishError("away", "given up"));
        };
        const job: Job = {
          batch,
          signal,
          resolve: () => {
            signal?.removeEventListener("abort", leave);
            resolve();
          },
          reject: (error) => {
            signal?.removeEventListener("abort", leave);
            reject(error);
          },
        };
        signal?.addEventListener("abort", leave, { once: true });
        queue.push(job);
        draining ??= drain();
      });
    },
    async close() {
      log.debug({}, "Kafka publisher closes");
      closing.abort();
      await draining;
      const last = session;
      session = null;
      await last?.close();
    },
  };
}

interface ProducerSession {
  send(batch: readonly OutboundEvent[]): Promise<void>;
  close(): Promise<void>;
  /** Cuts every connection, now and for good. */
  discard(): void;
}

function openProducer(options: KafkaOptions): ProducerSession {
  const connection = trackSockets(options.ssl);
  const opened = openKafka(options, connection.socketFactory).then(async ({ Kafka, Partitioners, config }) => {
    const producer = new Kafka(config).producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: Partitioners.DefaultPartitioner,
      retry: { retries: 1 },
    });
    await producer.connect();
    return producer;
  });
  opened.catch(() => {});

  return {
    async send(batch) {
      const producer = await opened;
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
    },
    async close() {
      await withDeadline(500, [], async () => (await opened).disconnect()).catch(() => {});
      connection.cut();
    },
    discard() {
      connection.cut();
      opened.then((producer: Producer) => producer.disconnect()).catch(() => {});
    },
  };
}

async function openKafka(options: KafkaOptions, socketFactory: NonNullable<KafkaConfig["socketFactory"]>) {
  const { default: kafkajs } = await import("kafkajs");
  const { brokers, ssl, sasl, clientId = "auth-service", log } = options;
  const config: KafkaConfig = {
    clientId,
    brokers: [...brokers],
    ...(ssl === undefined ? {} : { ssl }),
    ...(sasl == null ? {} : { sasl: { ...sasl } as SASLOptions }),
    connectionTimeout: 2_000,
    authenticationTimeout: 3_000,
    requestTimeout: REQUEST_TIMEOUT_MS,
    retry: { retries: 2, initialRetryTime: 100, maxRetryTime: 500 },
    socketFactory,
    // It calls states that pass by themselves errors; what matters comes out of publish() as an error.
    logCreator:
      () =>
      ({ namespace, label, log: { message, ...fields } }) =>
        log.debug({ kafkajs: { ...fields, namespace, level: label } }, message),
  };
  return { Kafka: kafkajs.Kafka, Partitioners: kafkajs.Partitioners, config };
}

/** kafkajs reconnects on its own after a disconnect when a request was under way: only cut sockets end that. */
function trackSockets(ssl: KafkaOptions["ssl"]) {
  const sockets = new Set<net.Socket>();
  let isCut = false;
  const socketFactory: NonNullable<KafkaConfig["socketFactory"]> = ({ host, port, onConnect }) => {
    if (isCut) throw new Error("connection was given up");
    const secure = typeof ssl === "object" ? ssl : {};
    const socket = ssl
      ? tls.connect({ host, port, ...(net.isIP(host) ? {} : { servername: host }), ...secure }, onConnect)
      : net.connect({ host, port }, onConnect);
    socket.setKeepAlive(true, 60_000);
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    return socket;
  };
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy(new Error("connection was given up"));
  };
  return { socketFactory, cut };
}

/** Makes the topics that are missing, trying until the broker answers. */
async function makeTopics(options: KafkaOptions, closing: AbortSignal, lookedOnce: () => void): Promise<void> {
  const { log, topicPartitions = 3, topicReplication = -1 } = options;
  for (let wait = 500; !closing.aborted; wait = Math.min(wait * 2, 10_000)) {
    const connection = trackSockets(options.ssl);
    try {
      const made = await withDeadline(15_000, [closing], async () => {
        const { Kafka, config } = await openKafka(options, connection.socketFactory);
        const admin = new Kafka(config).admin();
        await admin.connect();
        const present = new Set(await admin.listTopics());
        const missing = EVENT_TOPICS.filter((topic) => !present.has(topic));
        if (missing.length > 0) {
          await admin.createTopics({
            topics: missing.map((topic) => ({
              topic,
              numPartitions: topicPartitions,
              replicationFactor: topicReplication,
            })),
          });
        }
        await admin.disconnect();
        return missing;
      });
      if (made.length > 0) log.info({ topics: made, partitions: topicPartitions }, "Kafka topics made");
      return;
    } catch (error) {
      if (closing.aborted) return;
      if (protocolCodes(error).some((code) => NOT_ALLOWED_CODES.has(code))) {
        log.warn(
          { err: error, topics: EVENT_TOPICS },
          "the Kafka broker does not allow making topics: make them by hand",
        );
        return;
      }
      log.debug({ err: error }, "Kafka topics not looked at yet");
    } finally {
      connection.cut();
      lookedOnce();
    }
    await pause(wait, closing);
  }
}

function toPublishError(error: unknown): PublishError {
  if (error instanceof PublishError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const codes = protocolCodes(error);
  const failure: PublishFailure = codes.some((code) => UNDELIVERABLE_CODES.has(code))
    ? "undeliverable"
    : codes.some((code) => REFUSED_CODES.has(code)) || isRefusal(error)
      ? "refused"
      : "away";
  return new PublishError(failure, message, { cause: error });
}

/** Not of the connection, nor of the broker's state: about what was sent. */
function isRefusal(error: unknown): boolean {
  for (const link of causes(error)) {
    if (link.name === "KafkaJSMetadataNotLoaded") return true;
    if (link instanceof TypeError || link instanceof RangeError) return true;
  }
  return false;
}

function protocolCodes(error: unknown): number[] {
  const codes: number[] = [];
  for (const link of causes(error)) {
    if ("code" in link && typeof link.code === "number") codes.push(link.code);
    if ("errors" in link && Array.isArray(link.errors)) codes.push(...link.errors.flatMap(protocolCodes));
  }
  return codes;
}

function causes(error: unknown): Error[] {
  const links: Error[] = [];
  for (let at = error; at instanceof Error && !links.includes(at); at = at.cause) links.push(at);
  return links;
}
