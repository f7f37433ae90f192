import type { OutboundEvent } from "./encode.ts";
import { type Held, PublishError } from "./event-publisher.ts";

/** @throws {PublishError} */
type Send = (batch: readonly OutboundEvent[], signal: AbortSignal | undefined) => Promise<Held>;

interface Job {
  readonly batch: readonly OutboundEvent[];
  readonly signal: AbortSignal | undefined;
  resolve(held: Held): void;
  reject(error: PublishError): void;
}

/** Sends batches one at a time, in the order of the calls. */
export class SendQueue {
  readonly #send: Send;
  readonly #jobs: Job[] = [];
  #draining: Promise<void> | null = null;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Resolves with what is held back when the batch was sent. An abort takes it out of the queue; a send under way gets the signal. @throws {PublishError} */
  add(batch: readonly OutboundEvent[], signal: AbortSignal | undefined): Promise<Held> {
    const { promise, resolve, reject } = Promise.withResolvers<Held>();
    const job: Job = { batch, signal, resolve, reject };
    const leave = () => {
      const at = this.#jobs.indexOf(job);
      if (at < 0) return;
      this.#jobs.splice(at, 1);
      reject(new PublishError("away", "given up"));
    };
    signal?.addEventListener("abort", leave, { once: true });
    this.#jobs.push(job);
    this.#draining ??= this.#drain();
    return promise.finally(() => signal?.removeEventListener("abort", leave));
  }

  /** Resolves when the queue is empty and no send is under way. */
  async idle(): Promise<void> {
    await this.#draining;
  }

  async #drain(): Promise<void> {
    for (let job = this.#jobs.shift(); job !== undefined; job = this.#jobs.shift()) {
      try {
        job.resolve(await this.#send(job.batch, job.signal));
      } catch (error) {
        const failure =
          error instanceof PublishError ? error : new PublishError("away", String(error), { cause: error });
        job.reject(failure);
        // the batches behind would fail the same way, one deadline after the other
        if (failure.failure === "away" && !job.signal?.aborted) {
          for (const waiting of this.#jobs.splice(0)) waiting.reject(failure);
        }
      }
    }
    this.#draining = null;
  }
}
