import { LRUCache } from "lru-cache";
import type { Client, ClientStore } from "../../store/clients.ts";
import type { FeedTail } from "../revocations/feed-tail.ts";

interface Loaded {
  readonly client: Client | null;
  /** Nothing about the client changed while it was read. */
  readonly current: boolean;
}

/**
 * Registered clients in memory, until the revocation feed tells that something about one changed: as fresh as that feed.
 * Unknown ids are not remembered: a client is known as soon as it is registered, and guesses do not fill the memory.
 */
export class ClientCache {
  readonly #store: Pick<ClientStore, "find">;
  readonly #feed: FeedTail;
  readonly #documents: boolean;
  readonly #clients = new LRUCache<string, Client>({ max: 10_000 });
  readonly #loading = new Map<string, Promise<Loaded>>();

  /** @param options.documents whether the operator allows clients of metadata documents: those of before are as disabled while not */
  constructor(store: Pick<ClientStore, "find">, feed: FeedTail, { documents }: { documents: boolean }) {
    this.#store = store;
    this.#feed = feed;
    this.#documents = documents;
    feed.revoked.onClientChange((clientId) => {
      if (clientId === null) {
        this.#clients.clear();
        this.#loading.clear();
        return;
      }
      this.#clients.delete(clientId);
      // what is being read may be older than the change
      this.#loading.delete(clientId);
    });
  }

  /** The client if it is in memory and the memory fresh; undefined says nothing. */
  peek(clientId: string): Client | undefined {
    return this.#feed.fresh ? this.#clients.get(clientId) : undefined;
  }

  /** Disabled clients too; null: unknown. @throws AuthError unavailable */
  async find(clientId: string): Promise<Client | null> {
    for (;;) {
      const stale = this.#feed.ensureFresh();
      if (stale !== null) await stale;
      const known = this.#clients.get(clientId);
      if (known !== undefined) return known;
      const { client, current } = await (this.#loading.get(clientId) ?? this.#load(clientId));
      // a slow read may return the client as it was before a change, or end when the feed is no longer fresh
      if (current && this.#feed.fresh) return client;
    }
  }

  #load(clientId: string): Promise<Loaded> {
    const loading: Promise<Loaded> = this.#store
      .find(clientId)
      .then((found) => {
        const isAllowed = this.#documents || found?.source !== "document";
        const client =
          found === null || isAllowed ? found : { ...found, disabledAt: found.disabledAt ?? found.createdAt };
        const current = this.#loading.get(clientId) === loading;
        if (client !== null && current) this.#clients.set(clientId, client);
        return { client, current };
      })
      .finally(() => {
        if (this.#loading.get(clientId) === loading) this.#loading.delete(clientId);
      });
    this.#loading.set(clientId, loading);
    return loading;
  }
}
