import type { Context } from "../context.ts";
import { every } from "./every.ts";

const everyMs = 1_000;

/**
 * Tells the revocation stream when a rotated secret's overlap is over: introspection knows by the time alone, verifiers do not.
 */
export function startEndedSecrets(ctx: Context): { close(): Promise<void> } {
  return every(
    everyMs,
    () => ctx.store.clients.endSecrets(ctx.clock.now()),
    (error) => ctx.log.debug({ err: error }, "ended secrets not looked for"),
  );
}
