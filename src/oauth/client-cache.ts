import { LRUCache } from "lru-cache";
import type { Client, ClientStore } from "../store.ts";
import type { RevokedSet } from "./revocations/revoked-set.ts";

/**
 * Registered clients in memory, until the revocation feed tells that something about one changed: as fresh as that feed.
 * Unknown ids are not remembered: a client is known as soon as it is registered, and guesses do not fill the memory.
 */
export class ClientCache {
  readonly #store: Pick<ClientStore, "find">;
  readonly #revoked: RevokedSet;
  readonly #clients = new LRUCache<string, Client>({ max: 10_000 });
  readonly #loading = new Map<string, Promise<Client | null>>();

  constructor(store: Pick<ClientStore, "find">, revoked: RevokedSet) {
    this.#store = store;
    this.#revoked = revoked;
    revoked.onClientChange((clientId) => {
      this.#clients.delete(clientId);
      // what is being read may be older than the change
      this.#loading.delete(clientId);
    });
  }

  /** The client if it is in memory and the memory fresh; undefined says nothing. */
  peek(clientId: string): Client | undefined {
    return this.#revoked.fresh ? this.#clients.get(clientId) : undefined;
  }

  /** Disabled clients too; null: unknown. @throws AuthError unavailable */
  async find(clientId: string): Promise<Client | null> {
    const stale = this.#revoked.ensureFresh();
    if (stale !== null) await stale;
    return this.#clients.get(clientId) ?? this.#loading.get(clientId) ?? this.#load(clientId);
  }

  #load(clientId: string): Promise<Client | null> {
    const loading: Promise<Client | null> = this.#store
      .find(clientId)
      .then((client) => {
        if (client !== null && this.#loading.get(clientId) === loading) this.#clients.set(clientId, client);
        return client;
      })
      .finally(() => {
        if (this.#loading.get(clientId) === loading) this.#loading.delete(clientId);
      });
    this.#loading.set(clientId, loading);
    return loading;
  }
}
