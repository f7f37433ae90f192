import { withDeadline } from "../deadline.ts";
import type { EventPublisher } from "./event-publisher.ts";
import { NONE_HELD, PublishError } from "./event-publisher.ts";
import type { KafkaOptions } from "./kafka-client.ts";
import { isCredentialFailure, toPublishError } from "./kafka-errors.ts";
import { Partitions } from "./partitions.ts";
import { type ChoosePartition, ProducerSession } from "./producer-session.ts";
import { SendQueue } from "./send-queue.ts";
import { createTopics } from "./topics.ts";

/** Of one send, connecting included (milliseconds): shorter than the relay waits, so that partitions can be tried one by one. */
const sendDeadlineMs = 3_500;

/** Publishes to Kafka, one send at a time. Starts without a broker, too: sends fail until one answers. */
export function kafkaPublisher(options: KafkaOptions): EventPublisher {
  const closing = new AbortController();
  const topicsChecked = Promise.withResolvers<void>();
  const credentials = credentialLog(options);
  void createTopics(options, closing.signal, (error) => {
    credentials(error);
    topicsChecked.resolve();
  });
  let session: ProducerSession | null = null;
  const choices = new Map<string, ChoosePartition>();

  async function withSession(
    work: (session: ProducerSession) => Promise<void>,
    signal: AbortSignal | undefined,
    withinMs = sendDeadlineMs,
  ): Promise<void> {
    if (signal?.aborted || closing.signal.aborted) throw new PublishError("away", "given up");
    try {
      await withDeadline(withinMs, [signal, closing.signal], async (stop) => {
        await topicsChecked.promise;
        if (stop.aborted) return;
        session ??= new ProducerSession(options, (topic, choose) => choices.set(topic, choose));
        await work(session);
      });
      credentials(null);
    } catch (error) {
      session?.discard();
      session = null;
      credentials(error);
      throw toPublishError(error);
    }
  }
  let signal: AbortSignal | undefined;
  const partitions = new Partitions({
    send: (batch, withinMs) => withSession((session) => session.send(batch), signal, withinMs),
    partitionOf: ({ topic, key }) => {
      const partition = choices.get(topic)?.(key);
      return partition === undefined ? undefined : `${topic}/${partition}`;
    },
  });
  // one at a time
  const queue = new SendQueue((batch, given) => {
    signal = given;
    if (batch.length > 0) return partitions.send(batch);
    return withSession((session) => session.connected(), signal).then(() => NONE_HELD);
  });

  return {
    async publish(batch, signal) {
      return batch.length > 0 ? await queue.add(batch, signal) : NONE_HELD;
    },
    async connect(signal) {
      await queue.add([], signal);
    },
    async close() {
      options.log.debug({}, "Kafka publisher closes");
      closing.abort();
      await queue.idle();
      const last = session;
      session = null;
      await last?.close();
    },
  };
}

/** Says once, until a send succeeds, that the broker refuses the credentials. */
function credentialLog({ log }: KafkaOptions): (error: unknown) => void {
  let isSaid = false;
  return (error) => {
    if (error === null) isSaid = false;
    else if (!isSaid && isCredentialFailure(error)) {
      isSaid = true;
      const what = "the Kafka broker refuses the credentials: check KAFKA_SASL_MECHANISM, _USERNAME and _PASSWORD";
      log.error({ err: error }, what);
    }
  };
}
