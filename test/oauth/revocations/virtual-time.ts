interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** Time that stands still until it is told to pass: timers, the monotonic clock and Date of everything in this test's realm. */
export class VirtualTime {
  /** Milliseconds, on the monotonic clock. */
  now = 1_000_000;
  readonly #epoch = 1_800_000_000_000;
  #timers: Timer[] = [];
  #order = 0;
  readonly #undo: (() => void)[] = [];

  /** The time of day that a process with a right clock shows. */
  get wall(): number {
    return this.#epoch + this.now;
  }

  install(): void {
    const replace = (target: object, name: string, value: unknown) => {
      const before = Object.getOwnPropertyDescriptor(target, name) ?? { value: undefined, configurable: true };
      Object.defineProperty(target, name, { value, configurable: true, writable: true });
      this.#undo.push(() => Object.defineProperty(target, name, before));
    };
    replace(globalThis, "performance", { now: () => this.now });
    replace(globalThis, "setTimeout", (run: () => void, ms = 0) => this.after(ms, run));
    replace(globalThis, "clearTimeout", (timer: unknown) => this.cancel(timer));
    replace(Date, "now", () => this.wall);
  }

  uninstall(): void {
    for (const undo of this.#undo.splice(0).reverse()) undo();
    this.#timers = [];
  }

  after(ms: number, run: () => void): object {
    const timer = { at: this.now + Math.max(ms, 1), order: this.#order++, run, unref: () => timer };
    this.#timers.push(timer);
    return timer;
  }

  cancel(timer: unknown): void {
    const at = this.#timers.indexOf(timer as Timer);
    if (at >= 0) this.#timers.splice(at, 1);
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve));
  }

  /** Lets time pass; what is due runs in its order, and everything that follows from it before the next. */
  async pass(ms: number): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      await settled();
      let next: Timer | undefined;
      for (const timer of this.#timers) {
        if (timer.at > end) continue;
        if (next === undefined || timer.at < next.at || (timer.at === next.at && timer.order < next.order))
          next = timer;
      }
      if (next === undefined) break;
      this.cancel(next);
      this.now = Math.max(this.now, next.at);
      next.run();
    }
    this.now = end;
  }
}

const immediate = setImmediate;
const settled = () => new Promise<void>((resolve) => void immediate(resolve));

/** mulberry32: the same numbers for the same seed, everywhere. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 inclusive to 1 exclusive. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** Whole, both ends included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.next() * items.length)] as T;
  }
}
