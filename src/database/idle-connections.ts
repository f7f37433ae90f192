import { within } from "../deadline.ts";

/** What is used of mysql2's pooled connection. */
export interface PooledConnection {
  destroy(): void;
  ping(done: (error: Error | null) => void): void;
  query(sql: string, values: readonly unknown[], done: (error: Error | null, result: unknown) => void): void;
}

/** A connection that was unused for longer is asked before it is used (milliseconds). */
const trustedMs = 1_000;
const answerMs = 1_000;

/**
 * Tells which connections of a pool still work. A server that froze, or a network that drops packets, leaves them open, and a statement
 * sent to one would wait until its deadline.
 */
export class IdleConnections {
  readonly #lastUsed = new WeakMap<PooledConnection, number>();
  /** What was used last before this does not work: one such connection did not answer. */
  #deadBefore = 0;

  used(connection: PooledConnection): void {
    this.#lastUsed.set(connection, performance.now());
  }

  async works(connection: PooledConnection): Promise<boolean> {
    const now = performance.now();
    // a new one has just been answered
    const lastUsed = this.#lastUsed.get(connection) ?? now;
    if (lastUsed < this.#deadBefore) return false;
    if (now - lastUsed <= trustedMs) return true;
    try {
      await within(
        answerMs,
        new Promise<void>((done, fail) => connection.ping((error) => (error ? fail(error) : done()))),
      );
      return true;
    } catch {
      this.#deadBefore = now - trustedMs;
      return false;
    }
  }
}
