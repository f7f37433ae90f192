import { AuthError } from "../../errors.ts";

/** Calls of one client under way at once, in this process: many times what any healthy caller has. */
export const MAX_IN_FLIGHT = 1_000;

/** What one client has under way. */
export interface Load {
  inFlight: number;
  /** Calls it may make at once; a second fills it up. */
  tokens: number;
  refilledAt: number;
}

/** Keeps one caller from taking everything: counted by client and process, over both internal listeners and HTTP introspection. */
export class CallerLimits {
  readonly #maxInFlight: number;
  readonly #perSecond: number | null;
  readonly #hit: (limit: "caller_rate" | "caller_in_flight") => void;
  // only authenticated clients get in, so it is as long as the list of clients
  readonly #loads = new Map<string, Load>();

  /** @param perSecond null: as many as come; hit: told of each refusal */
  constructor(
    perSecond: number | null,
    hit: (limit: "caller_rate" | "caller_in_flight") => void = () => {},
    maxInFlight: number = MAX_IN_FLIGHT,
  ) {
    this.#perSecond = perSecond;
    this.#hit = hit;
    this.#maxInFlight = maxInFlight;
  }

  /** Counts a call in until `leave`. @throws AuthError rate_limited */
  enter(clientId: string): Load {
    let load = this.#loads.get(clientId);
    if (load === undefined) {
      load = { inFlight: 0, tokens: this.#perSecond ?? 0, refilledAt: performance.now() };
      this.#loads.set(clientId, load);
    }
    if (load.inFlight >= this.#maxInFlight) {
      this.#hit("caller_in_flight");
      const message = `more than ${this.#maxInFlight} calls under way; try again in a second`;
      throw new AuthError("rate_limited", message, { retryAfter: 1 });
    }
    if (this.#perSecond !== null && !takeToken(load, this.#perSecond)) {
      this.#hit("caller_rate");
      const message = `more than ${this.#perSecond} calls a second; try again in a second`;
      throw new AuthError("rate_limited", message, { retryAfter: 1 });
    }
    load.inFlight++;
    return load;
  }

  leave(load: Load): void {
    load.inFlight--;
  }
}

/** @returns false: there is none */
function takeToken(load: Load, perSecond: number): boolean {
  const now = performance.now();
  load.tokens = Math.min(perSecond, load.tokens + ((now - load.refilledAt) / 1000) * perSecond);
  load.refilledAt = now;
  if (load.tokens < 1) return false;
  load.tokens--;
  return true;
}
