import type { OutboundEvent } from "./encode.ts";

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Events of a batch that were not stored while others were, by id: their partition is short of replicas, for example. */
export type Held = ReadonlyMap<string, PublishError>;

export const NONE_HELD: Held = new Map();

/** Where the relay sends events: Kafka (`publisher.ts`) or a file (`file-sink.ts`). */
export interface EventPublisher {
  /**
   * Resolves when the batch is stored durably, but for the events it returns: send those again. After a rejection any part of it may
   * have been stored: send it again.
   * Batches are stored in the order of the calls. An abort rejects at once.
   * @throws {PublishError}
   */
  publish(batch: readonly OutboundEvent[], signal?: AbortSignal): Promise<Held>;
  /**
   * Resolves when it is connected, so that a batch may be tried. Absent: it always may.
   * @throws {PublishError} away
   */
  connect?(signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/**
 * - `away`: the broker did not answer, or was in no state to store anything; another batch would fail too;
 * - `refused`: the broker refused something about this batch, such as a topic that does not exist; another batch may pass;
 * - `undeliverable`: as `refused`, and every later attempt will fail too.
 */
export type PublishFailure = "away" | "refused" | "undeliverable";

export class PublishError extends Error {
  readonly failure: PublishFailure;

  constructor(failure: PublishFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "PublishError";
    this.failure = failure;
  }
}

/** An event was not sent, because another of its partition was refused a moment ago. */
export class NotAsked extends PublishError {
  constructor(cause: PublishError) {
    super("away", cause.message, { cause });
  }
}
