/** A limit that is looked at: nothing is counted. */
export interface LimitLook {
  readonly key: string;
  readonly limit: number;
  readonly windowMs: number;
  readonly now: number;
}

/** What was read together with a look at a limit. */
export interface Looked<Found> {
  readonly found: Found;
  /** When the limit's window ends, where its uses are used up; null: they are not. */
  readonly usedUpUntil: number | null;
}

export interface LimitStore {
  /**
   * Counts one use of `key` unless `limit` uses were counted in the current window, atomically over all replicas.
   * @returns null when counted, else when the window ends
   */
  take(key: string, limit: number, windowMs: number, now: number): Promise<number | null>;
  /** Counts `uses` of `key` at once, however many were counted. @returns what all replicas counted in the current window, and its end */
  add(key: string, uses: number, windowMs: number, now: number): Promise<{ used: number; endsAt: number }>;
  /** Begins a window in which nothing has been used. */
  open(key: string, windowMs: number, now: number): Promise<void>;
  /** Counts one use of a window that was opened. False: there is none now, or `limit` uses were counted. */
  takeOpened(key: string, limit: number, now: number): Promise<boolean>;
  /** Takes one counted use back. */
  giveBack(key: string): Promise<void>;
  clear(key: string): Promise<void>;
}

/** What clocks of replicas, and calls at once, may differ by (milliseconds). */
const toleratedMs = 60_000;

/** Does a window go on? Not one that ends too late: that is of before the database's clock was set back. */
export function goesOn(endsAt: number, now: number, windowMs: number): boolean {
  return endsAt > now && endsAt <= latestEnd(now, windowMs);
}

/** No window ends later than this, unless the database's clock was set back since it began (epoch milliseconds). */
export function latestEnd(now: number, windowMs: number): number {
  return now + windowMs + toleratedMs;
}
