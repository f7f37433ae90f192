import { Code, ConnectError } from "@connectrpc/connect";
import { GATEWAY } from "../token/gateway.ts";
import type { ServiceConnection, VerifierLog } from "./options.ts";
import { connectTo, type ServiceClient } from "./service-client.ts";

export type Standing = "valid" | "expired" | "revoked" | "unknown";

export interface IntrospectorOptions {
  readonly connection: ServiceConnection;
  readonly timeoutMs: number;
  readonly maxUnderWay: number;
  readonly log: VerifierLog;
}

/** Milliseconds between two log lines about calls that failed. */
const logEvery = 10_000;

/**
 * Asks the issuer about a token. It calls `Authorize` without scopes, because `Introspect` does not distinguish a revoked token
 * from an expired one. This library checks the binding to a key itself. Callers share one call for each token.
 */
export class Introspector {
  readonly #options: IntrospectorOptions;
  readonly #underWay = new Map<string, Promise<Standing>>();
  #client: ServiceClient;
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor(options: IntrospectorOptions) {
    this.#options = options;
    this.#client = connectTo(options.connection);
  }

  /** @returns `unknown` if no usable answer came in time. Never rejects. */
  ask(token: string): Promise<Standing> {
    const shared = this.#underWay.get(token);
    if (shared !== undefined) return shared;
    if (this.#underWay.size >= this.#options.maxUnderWay) return Promise.resolve("unknown");
    const asked = this.#call(token).finally(() => this.#underWay.delete(token));
    this.#underWay.set(token, asked);
    return asked;
  }

  close(): void {
    this.#client.close();
  }

  async #call(token: string): Promise<Standing> {
    const client = this.#client;
    try {
      const answer = await client.calls.authorize(
        { token, bindingChecked: true },
        { timeoutMs: this.#options.timeoutMs },
      );
      if (answer.allowed) return "valid";
      if (answer.error === GATEWAY.token_expired.error) return "expired";
      if (answer.error === GATEWAY.invalid_token.error) return "revoked";
      throw new Error(`the issuer answered ${answer.httpStatus} ${answer.error}`);
    } catch (error) {
      // a peer that hangs does not close its connection, so the next call opens a new one
      if (ConnectError.from(error).code === Code.DeadlineExceeded && client === this.#client) {
        this.#client = connectTo(this.#options.connection);
        setTimeout(() => client.close(), this.#options.timeoutMs).unref();
      }
      this.#report(error);
      return "unknown";
    }
  }

  #report(error: unknown): void {
    const now = performance.now();
    if (now - this.#loggedAt < logEvery) return;
    this.#loggedAt = now;
    const { code, rawMessage } = ConnectError.from(error);
    const details = { code: Code[code], reason: rawMessage };
    if (code === Code.Unauthenticated || code === Code.PermissionDenied) {
      this.#options.log.error(
        details,
        "this service may not introspect: check its credentials and the scope auth.introspect",
      );
    } else this.#options.log.warn(details, "a token could not be introspected");
  }
}
