export interface LimitStore {
  /**
   * Counts one use of `key` unless `limit` uses were counted in the current window, atomically over all replicas.
   * @returns null when counted, else when the window ends
   */
  take(key: string, limit: number, windowMs: number, now: number): Promise<number | null>;
  /** Takes one counted use back. */
  giveBack(key: string): Promise<void>;
  clear(key: string): Promise<void>;
}
