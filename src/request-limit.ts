import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import { afterCall } from "./call.ts";
import type { Clock } from "./clock.ts";
import { AuthError } from "./errors.ts";
import { networkOf } from "./limits.ts";
import { goesOn, type LimitStore } from "./store/limits.ts";

const windowMs = 60_000;
/** What this process has let through and not told the store: at most this share of the limit, before the store is told. */
const untoldShare = 0.05;
/** For so long the store is not told of a network again (milliseconds). */
const tellEveryMs = 300;
/** For so long the store is not asked after it failed (milliseconds). */
const pauseMs = 2_000;
/** Beyond these, the networks that were not seen for longest are forgotten. */
const maxNetworks = 50_000;

interface Count {
  endsAt: number;
  /** What the store had counted over all replicas when it was asked last. */
  told: number;
  /** What this process let through since. */
  untold: number;
}

/**
 * Counts the requests of each network in memory, and tells the store in the background, from which it learns what other replicas counted.
 * No request waits for the store, and one over the limit costs it nothing. Replicas together let a little more through than the limit:
 * what each of them has not told yet.
 */
export class RequestLimit {
  readonly #store: LimitStore;
  readonly #clock: Clock;
  readonly #perMinute: number | null;
  readonly #hit: () => void;
  readonly #counts = new LRUCache<string, Count>({ max: maxNetworks });
  readonly #toTell = new Set<string>();
  #telling: Promise<void> | null = null;
  #wake: () => void = () => {};
  #closed = false;

  /** @param perMinute requests; null: not limited; hit: told of each refusal */
  constructor(store: LimitStore, clock: Clock, perMinute: number | null, hit: () => void) {
    this.#store = store;
    this.#clock = clock;
    this.#perMinute = perMinute;
    this.#hit = hit;
  }

  /** Counts one request. @throws AuthError rate_limited */
  take(address: string): void {
    if (this.#perMinute === null) return;
    const network = networkOf(address);
    const now = this.#clock.now();
    let count = this.#counts.get(network);
    if (count === undefined || !goesOn(count.endsAt, now, windowMs)) {
      count = { endsAt: now + windowMs, told: 0, untold: 0 };
      this.#counts.set(network, count);
    }
    if (count.told + count.untold >= this.#perMinute) {
      this.#hit();
      const retryAfter = Math.max(1, Math.ceil((count.endsAt - now) / 1000));
      throw new AuthError("rate_limited", `too many requests; try again in ${retryAfter} seconds`, { retryAfter });
    }
    count.untold++;
    if (count.untold < this.#perMinute * untoldShare) return;
    this.#toTell.add(network);
    // not part of the request that happens to begin it
    this.#telling ??= afterCall(() => this.#tell()).finally(() => {
      this.#telling = null;
    });
  }

  /** Stops telling the store. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    await this.#telling;
  }

  /** One network after the other, so that all of them together hold one connection. */
  async #tell(): Promise<void> {
    while (this.#toTell.size > 0 && !this.#closed) {
      const networks = [...this.#toTell];
      this.#toTell.clear();
      let wait = tellEveryMs;
      for (const network of networks) {
        if (this.#closed) return;
        try {
          await this.#tellOf(network);
        } catch {
          // the store is away, which others report: requests are counted here alone meanwhile, and this one is told later
          this.#toTell.add(network);
          wait = pauseMs;
          break;
        }
      }
      await this.#pause(wait);
    }
  }

  async #tellOf(network: string): Promise<void> {
    const count = this.#counts.get(network);
    const now = this.#clock.now();
    if (count === undefined || !goesOn(count.endsAt, now, windowMs) || count.untold === 0) return;
    const { untold } = count;
    const { used, endsAt } = await this.#store.add(keyOf(network), untold, windowMs, now);
    count.untold -= untold;
    count.told = used;
    count.endsAt = endsAt;
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function keyOf(network: string): string {
  return hash("sha256", `request\n${network}`, "hex");
}
