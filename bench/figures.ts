export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it must stay under; null where there is no such promise. */
  readonly bar: number | null;
}

/** One thing of ours beside the same thing without us, and the share of it that must be kept. */
export interface Result {
  readonly bench: string;
  readonly what: string;
  readonly ours: number;
  readonly baseline: number;
  readonly ratio: number;
  readonly bar: number;
  readonly note: string;
}
