/**
 * The service's one clock: this process's time corrected to the database's, so that all replicas agree.
 * Nothing else reads the time. `shift` is set only by tests.
 */
export class Clock {
  /** Milliseconds that the database's clock is ahead of this process's. */
  offset = 0;
  shift = 0;

  /** Milliseconds since 1970-01-01T00:00:00Z. */
  now(): number {
    return Date.now() + this.offset + this.shift;
  }

  /** Whole seconds since 1970-01-01T00:00:00Z, as JWTs count (RFC 7519 section 2, NumericDate). */
  seconds(): number {
    return Math.floor(this.now() / 1000);
  }
}

/** Some milliseconds from a moment on. */
export interface Span {
  readonly from: number;
  readonly ms: number;
}

/** Is it now? Not where it has yet to begin: then the database's clock was set back since, and nobody knows how much of it is over. */
export function isWithin({ from, ms }: Span, now: number): boolean {
  return now >= from && now < from + ms;
}
