export interface LimitStore {
  /**
   * Counts one use of `key` unless `limit` uses were counted in the current window, atomically over all replicas.
   * @returns null when counted, else when the window ends
   */
  take(key: string, limit: number, windowMs: number, now: number): Promise<number | null>;
  /** Counts `uses` of `key` at once, however many were counted. @returns what all replicas counted in the current window, and its end */
  add(key: string, uses: number, windowMs: number, now: number): Promise<{ used: number; endsAt: number }>;
  /** Counts nothing. @returns null while fewer than `limit` uses were counted in the current window, else when the window ends */
  usedUp(key: string, limit: number, now: number): Promise<number | null>;
  /** Begins a window in which nothing has been used. */
  open(key: string, windowMs: number, now: number): Promise<void>;
  /** Counts one use of a window that was opened. False: there is none now, or `limit` uses were counted. */
  takeOpened(key: string, limit: number, now: number): Promise<boolean>;
  /** Takes one counted use back. */
  giveBack(key: string): Promise<void>;
  clear(key: string): Promise<void>;
}
