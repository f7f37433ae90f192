import { LRUCache } from "lru-cache";

/** What this process knows of clients' metadata documents, by client id. */
export class DocumentMemory {
  /** When the document is asked for again (epoch milliseconds). */
  readonly askAgainAt = new LRUCache<string, number>({ max: 10_000 });
  /**
   * Those whose last fetch gave no usable document. `away`: nothing else is known than that its host was; `unsaved`: nothing else than that the
   * document could not be stored.
   */
  readonly failed = new LRUCache<string, "away" | "unusable" | "unsaved">({ max: 10_000 });
  /** The fetches under way, which callers share. */
  readonly fetching = new Map<string, Promise<void>>();
}
