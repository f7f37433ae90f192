/** How the relay spends its time. Every value is in milliseconds. */
export interface RelayTiming {
  /** How long a lease lives without renewal. */
  readonly leaseTtl: number;
  /** How often leases are renewed and lanes are shared out. */
  readonly renew: number;
  /** How often the relay looks for events that other replicas committed. */
  readonly poll: number;
  /** The same while they commit some. */
  readonly busyPoll: number;
  /** From the start of one batch of a queue to the next: what is committed meanwhile goes out together. */
  readonly pace: number;
  /** Deadline of one send, well below `leaseTtl`. */
  readonly send: number;
  readonly maxBackoff: number;
}

export const DEFAULT_TIMING: RelayTiming = {
  leaseTtl: 10_000,
  renew: 3_000,
  poll: 1_000,
  busyPoll: 100,
  pace: 20,
  send: 5_000,
  maxBackoff: 3_000,
};

/**
 * The wait after a number of failures in a row: 100 ms, doubled by each further failure up to `maxMs`. Up to a quarter is taken off at
 * random, so that replicas do not retry together.
 * @param failures 1 or more
 * @returns milliseconds
 */
export function backoff(failures: number, maxMs: number): number {
  return Math.min(maxMs, 100 * 2 ** Math.min(failures - 1, 10)) * (0.75 + Math.random() / 4);
}
