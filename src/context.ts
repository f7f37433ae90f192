import type { Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import type { DerivedKeys } from "./crypto/derived-keys.ts";
import type { Passwords } from "./crypto/passwords.ts";
import type { Limits } from "./limits.ts";
import type { RequestLimit } from "./request-limit.ts";
import type { Store } from "./store/store.ts";
import type { Logger } from "./telemetry/log.ts";
import type { Metrics } from "./telemetry/metrics.ts";

/** What every domain function works with. `oauth/context.ts` adds what only the OAuth engine needs. */
export interface Context {
  readonly config: Config;
  readonly store: Store;
  readonly clock: Clock;
  readonly derivedKeys: DerivedKeys;
  readonly passwords: Passwords;
  readonly limits: Limits;
  readonly requestLimit: RequestLimit;
  readonly log: Logger;
  readonly metrics: Metrics;
}
