import type { App } from "../app.ts";

/** Time to drain in (milliseconds): container engines send SIGKILL about ten seconds after SIGTERM. */
export const CLOSE_WITHIN_MS = 9_500;

/** How long the process may take to end by itself before `process.exit` ends it (milliseconds). */
const leftoversMs = 500;

/** Drains the service and ends the process: with 0, or with 1 where it did not close cleanly or in time. */
export function closeAndExit(app: Pick<App, "context" | "close">): void {
  setTimeout(() => process.exit(1), CLOSE_WITHIN_MS).unref();
  app.close().then(
    () => exitAtRest(0),
    (error: unknown) => {
      app.context.log.error({ err: error }, "not closed cleanly");
      exitAtRest(1);
    },
  );
}

/**
 * Ends the process, which has nothing left to do. `process.exit` may never return: it waits for the threads that compile, and
 * one that needs the main thread to collect garbage waits for that (nodejs/node#54918). A process that runs out of work ends
 * them in the right order.
 */
export function exitAtRest(status: number): void {
  process.exitCode = status;
  process.channel?.unref();
  setTimeout(() => process.exit(status), leftoversMs).unref();
}
