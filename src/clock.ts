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
