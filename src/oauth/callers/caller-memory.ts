import { LRUCache } from "lru-cache";
import type { Clock } from "../../clock.ts";
import type { Client, ClientSecret } from "../../store/clients.ts";
import type { ClientCache } from "../clients/client-cache.ts";

/** A client that calls the internal API, and what it may do there. */
export interface Caller {
  readonly client: Client;
  readonly scopes: ReadonlySet<string>;
}

/** Callers whose credentials were checked, by Authorization header, for as long as nothing about their client changes. */
export class CallerMemory {
  readonly #known = new LRUCache<string, { readonly caller: Caller; readonly secret: ClientSecret }>({ max: 1_000 });

  /** Client ids by the certificate subject they are bound to: only where to look, what holds is read from the client. */
  readonly clientOfSubject = new LRUCache<string, string>({ max: 1_000 });

  recall(ctx: { readonly clock: Clock; readonly clients: ClientCache }, authorization: string): Caller | undefined {
    const known = this.#known.get(authorization);
    if (known === undefined) return undefined;
    const { caller, secret } = known;
    const ended = secret.expiresAt !== null && secret.expiresAt <= ctx.clock.now();
    // another object is another version of the client
    return !ended && ctx.clients.peek(caller.client.clientId) === caller.client ? caller : undefined;
  }

  remember(authorization: string, caller: Caller, secret: ClientSecret): void {
    this.#known.set(authorization, { caller, secret });
  }
}
