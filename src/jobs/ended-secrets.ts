import type { Context } from "../context.ts";
import { every } from "./every.ts";

const everyMs = 10_000;

/**
 * Revokes the tokens of rotated secrets when their overlap ends. Introspection compares times and needs no such row; verifiers learn it
 * from the revocation stream.
 */
export function startEndedSecrets(ctx: Context): { close(): Promise<void> } {
  return every(
    everyMs,
    () => ctx.store.clients.endSecrets(ctx.clock.now()),
    (error) => ctx.log.debug({ err: error }, "looking for ended secrets failed"),
  );
}
