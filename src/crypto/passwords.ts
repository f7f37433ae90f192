import { availableParallelism } from "node:os";
import { hash, needsRehash, verify } from "argon2";
import { checkCall } from "../call.ts";
import { AuthError } from "../errors.ts";

/** OWASP Password Storage: argon2id, 19 MiB, two passes. About 45 a second and core: the ceiling of logins. */
const parameters = { memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;
const maxQueued = 64;
/** What an unknown user's password is compared with, so that it costs the same. No password has this hash. */
const unknownUserHash =
  "$argon2id$v=19$m=19456,t=2,p=1$bm8tc3VjaC1hY2NvdW50$ZG9lcyBub3QgbWF0Y2ggYW55IHBhc3N3b3JkIGF0IGFsbA";

/**
 * Hashes passwords, as many at once as there are cores and 64 waiting: argon2 shares libuv's threads with DNS and files,
 * and an unbounded queue would only add waiting.
 */
export class Passwords {
  readonly #slots = Math.max(1, Math.min(2, availableParallelism()));
  readonly #waiting: (() => void)[] = [];
  readonly #onQueue: (length: number) => void;
  readonly #onFirstHash: () => void;
  readonly #onFull: () => void;
  #running = 0;
  #hasHashed = false;

  /**
   * @param on.firstHash called once, when the threads that hash exist: they are libuv's, started by the first hash
   * @param on.full called at each refusal because too many wait
   */
  constructor(
    on: { readonly queue?: (length: number) => void; readonly firstHash?: () => void; readonly full?: () => void } = {},
  ) {
    this.#onQueue = on.queue ?? (() => {});
    this.#onFirstHash = on.firstHash ?? (() => {});
    this.#onFull = on.full ?? (() => {});
  }

  /** For callers that would do other work first. @throws AuthError rate_limited when too many wait */
  refuseWhenFull(): void {
    if (this.#running >= this.#slots && this.#waiting.length >= maxQueued) {
      this.#onFull();
      throw new AuthError("rate_limited", "too many logins at once; try again in 2 seconds", { retryAfter: 2 });
    }
  }

  /** Hashes nothing once the current call has ended (`duringCall`). @throws AuthError rate_limited when too many wait */
  hash(password: string): Promise<string> {
    return this.#run(async () => inOrder(await hash(normalise(password), parameters)));
  }

  /**
   * Like `hash`, it does no work once the current call has ended.
   * @param passwordHash null for an unknown user: the same work, then false
   * @throws AuthError rate_limited when too many wait
   */
  async verify(passwordHash: string | null, password: string): Promise<boolean> {
    const matches = await this.#run(() => verify(passwordHash ?? unknownUserHash, normalise(password)));
    return passwordHash !== null && matches;
  }

  /** Was it hashed with weaker parameters than today's? */
  isOutdated(passwordHash: string): boolean {
    return needsRehash(passwordHash, parameters);
  }

  async #run<T>(work: () => Promise<T>): Promise<T> {
    checkCall();
    this.refuseWhenFull();
    if (this.#running >= this.#slots) {
      // the slot is handed over, not freed, so that a later call cannot overtake
      const turn = new Promise<void>((resolve) => this.#waiting.push(resolve));
      this.#onQueue(this.#waiting.length);
      await turn;
    } else this.#running++;
    try {
      // the call may have ended while it waited
      checkCall();
      const result = await work();
      if (!this.#hasHashed) {
        this.#hasHashed = true;
        this.#onFirstHash();
      }
      return result;
    } finally {
      const next = this.#waiting.shift();
      this.#onQueue(this.#waiting.length);
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

/** The package sorts the parameters by name; the PHC string format has them as m, t, p, and other programs read only that. */
function inOrder(passwordHash: string): string {
  return passwordHash.replace(/\$m=(\d+),p=(\d+),t=(\d+)\$/, "$m=$1,t=$3,p=$2$");
}

/** The same text in another Unicode form is the same password (NIST SP 800-63B-4 section 3.1.1.2). */
function normalise(password: string): string {
  return password.normalize("NFC");
}
