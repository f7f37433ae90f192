import type { Context } from "../context.ts";

const everyMs = 1_000;

/**
 * Tells the revocation stream when a rotated secret's overlap is over: introspection knows by the time alone, verifiers do not.
 */
export function startEndedSecrets(ctx: Context): { close(): Promise<void> } {
  let running = Promise.resolve();
  const timer = setInterval(() => {
    running = running
      .then(() => ctx.store.clients.endSecrets(ctx.clock.now()))
      .catch((error: unknown) => ctx.log.debug({ err: error }, "ended secrets not looked for"));
  }, everyMs);
  timer.unref();
  return {
    close: async () => {
      clearInterval(timer);
      await running;
    },
  };
}
