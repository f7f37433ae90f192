export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it must stay under; null where there is no such promise. */
  readonly bar: number | null;
  /** What it must reach. */
  readonly atLeast?: number;
}

export function isMissed({ value, bar, atLeast }: Figure): boolean {
  return (bar !== null && value > bar) || (atLeast !== undefined && value < atLeast);
}

/** A rate of the service against that of a bare program that does the same work, and the share that must be reached. */
export interface Result {
  readonly bench: string;
  readonly what: string;
  readonly ours: number;
  readonly baseline: number;
  readonly ratio: number;
  readonly bar: number;
  readonly note: string;
}
