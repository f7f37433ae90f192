import type { StoreLoad } from "../store/store.ts";

class QueueFull extends Error {
  readonly code = "POOL_QUEUE_FULL";
}

class QueueLate extends Error {
  readonly code = "POOL_TIMEOUT";
}

/** A first-come, first-served semaphore. A waiter fails with POOL_TIMEOUT at its deadline, or at once with POOL_QUEUE_FULL. */
export class Turns {
  #free: number;
  readonly #limit: number;
  readonly #waiting = new Set<() => void>();
  #taken = 0;
  #waitedMs = 0;

  constructor(size: number, limit: number) {
    this.#free = size;
    this.#limit = limit;
  }

  get load(): StoreLoad {
    return { waiting: this.#waiting.size, calls: this.#taken, waitedMs: this.#waitedMs };
  }

  /**
   * @param ms how long to wait for a turn, in milliseconds
   * @returns a function that passes the turn on to the next waiter
   */
  async take(ms: number): Promise<() => void> {
    if (this.#free > 0) {
      this.#free--;
    } else {
      const from = performance.now();
      if (this.#waiting.size >= this.#limit) throw new QueueFull("too many calls wait for a database connection");
      await new Promise<void>((done, fail) => {
        const begin = () => {
          clearTimeout(timer);
          this.#waiting.delete(begin);
          done();
        };
        const timer = setTimeout(
          () => {
            this.#waiting.delete(begin);
            fail(new QueueLate("no database connection came free in time"));
          },
          Math.max(0, ms),
        );
        this.#waiting.add(begin);
      }).finally(() => {
        this.#waitedMs += performance.now() - from;
      });
    }
    this.#taken++;
    return () => {
      const [next] = this.#waiting;
      if (next === undefined) this.#free++;
      else next();
    };
  }
}
