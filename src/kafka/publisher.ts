import { withDeadline } from "../deadline.ts";
import type { OutboundEvent } from "./encode.ts";
import type { EventPublisher } from "./event-publisher.ts";
import { PublishError } from "./event-publisher.ts";
import type { KafkaOptions } from "./kafka-client.ts";
import { toPublishError } from "./kafka-errors.ts";
import { ProducerSession } from "./producer-session.ts";
import { SendQueue } from "./send-queue.ts";
import { createTopics } from "./topics.ts";

/** Of one send, connecting included (milliseconds). */
const sendDeadlineMs = 5_000;

/** Publishes to Kafka, one send at a time. Starts without a broker, too: sends fail until one answers. */
export function kafkaPublisher(options: KafkaOptions): EventPublisher {
  const closing = new AbortController();
  const topicsChecked = Promise.withResolvers<void>();
  void createTopics(options, closing.signal, topicsChecked.resolve);
  let session: ProducerSession | null = null;

  async function send(batch: readonly OutboundEvent[], signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted || closing.signal.aborted) throw new PublishError("away", "given up");
    try {
      await withDeadline(sendDeadlineMs, [signal, closing.signal], async (stop) => {
        await topicsChecked.promise;
        if (stop.aborted) return;
        session ??= new ProducerSession(options);
        await session.send(batch);
      });
    } catch (error) {
      session?.discard();
      session = null;
      throw toPublishError(error);
    }
  }
  const queue = new SendQueue(send);

  return {
    async publish(batch, signal) {
      if (batch.length > 0) await queue.add(batch, signal);
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
