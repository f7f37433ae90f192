import type { Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import type { Passwords } from "./crypto/passwords.ts";
import type { Limits } from "./limits.ts";
import type { CallerLimits } from "./oauth/callers/caller-limits.ts";
import type { CallerMemory } from "./oauth/callers/callers.ts";
import type { ClientCache } from "./oauth/clients/client-cache.ts";
import type { ClientKeys } from "./oauth/clients/client-keys.ts";
import type { KeyRing } from "./oauth/keys/key-ring.ts";
import type { RevokedSet } from "./oauth/revocations/revoked-set.ts";
import type { VerifiedTokens } from "./oauth/tokens/verified-tokens.ts";
import type { Store } from "./store/store.ts";
import type { Logger, Metrics } from "./telemetry/telemetry.ts";

/** What every domain function stands on. Edges pass it through and never reach into `store`. */
export interface Context {
  readonly config: Config;
  readonly store: Store;
  readonly clock: Clock;
  readonly keys: KeyRing;
  readonly revoked: RevokedSet;
  readonly verifiedTokens: VerifiedTokens;
  readonly clients: ClientCache;
  readonly clientKeys: ClientKeys;
  readonly callers: CallerMemory;
  readonly callerLimits: CallerLimits;
  readonly passwords: Passwords;
  readonly limits: Limits;
  readonly log: Logger;
  readonly metrics: Metrics;
}
