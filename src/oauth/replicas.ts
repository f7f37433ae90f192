import { randomUUID } from "node:crypto";

/**
 * What every replica of this release puts before its name. The release before puts nothing there, which tells the two apart; a release
 * that others must tell from this one puts another number.
 */
const release = "2.";
/** A deploy may go back: for this long after the last replica of the previous release another one is expected (milliseconds). */
const mayReturnMs = 600_000;

/** The replicas that are up, as far as this one knows: each announces its name to all others, by a lease that it renews. */
export class Replicas {
  /** Of this process, unique to its run. */
  readonly ownName = `${release}${randomUUID()}`;
  readonly #monotonic: () => number;
  /** Null: nothing is known yet. */
  #olderSeenAt: number | null = null;

  /** @param monotonic milliseconds that only ever grow */
  constructor(monotonic: () => number = () => performance.now()) {
    this.#monotonic = monotonic;
  }

  /** @param names of every replica that is up now, this one among them */
  saw(names: readonly string[]): void {
    const isOlder = names.some((name) => !name.startsWith(release));
    if (isOlder) this.#olderSeenAt = this.#monotonic();
    else this.#olderSeenAt ??= Number.NEGATIVE_INFINITY;
  }

  /** Is a replica of the previous release up, as far as is known, or may one return? It must understand what this one gives to browsers. */
  get hasOlder(): boolean {
    return this.#olderSeenAt === null || this.#monotonic() - this.#olderSeenAt < mayReturnMs;
  }
}
