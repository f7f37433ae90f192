import { LRUCache } from "lru-cache";
import type { Span } from "../../clock.ts";

export interface Fetched {
  /**
   * `away`: nothing else is known than that the document's host was; `unsaved`: nothing else than that the document could not be stored;
   * `unusable`: there was none that can be used.
   */
  readonly outcome: "good" | "away" | "unsaved" | "unusable";
  /** It is not asked for again meanwhile. */
  readonly resting: Span;
}

/** What this process knows of clients' metadata documents, by client id. */
export class DocumentMemory {
  /** How the last fetch ended. */
  readonly fetched = new LRUCache<string, Fetched>({ max: 10_000 });
  /** The fetches under way, which callers share. */
  readonly fetching = new Map<string, Promise<void>>();
}
