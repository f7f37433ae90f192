import type { Context } from "../context.ts";
import type { CallerLimits } from "./callers/caller-limits.ts";
import type { CallerMemory } from "./callers/caller-memory.ts";
import type { ClientCache } from "./clients/client-cache.ts";
import type { ClientKeys } from "./clients/client-keys.ts";
import type { ClientLogos } from "./clients/client-logos.ts";
import type { DocumentMemory } from "./clients/document-memory.ts";
import type { KeyRing } from "./keys/key-ring.ts";
import type { Replicas } from "./replicas.ts";
import type { FeedTail } from "./revocations/feed-tail.ts";
import type { VerifiedTokens } from "./tokens/verified-tokens.ts";

/** The base context and the state of the OAuth engine in this process: keys, and what is cached or tailed from the store. */
export interface OAuthContext extends Context {
  readonly keys: KeyRing;
  /** What any replica revoked: `feed.fresh` before `feed.revoked` decides. */
  readonly feed: FeedTail;
  readonly replicas: Replicas;
  readonly verifiedTokens: VerifiedTokens;
  readonly clients: ClientCache;
  readonly clientKeys: ClientKeys;
  readonly clientLogos: ClientLogos;
  readonly clientDocuments: DocumentMemory;
  readonly callers: CallerMemory;
  readonly callerLimits: CallerLimits;
}
