import type { App } from "./app.ts";

/** Whoever asks us to end waits about ten seconds before it ends us. */
export const closeWithinMs = 9_500;

/** What compiling takes that was under way when the service was drained, many times over. */
const settleMs = 100;

/** Drains the service and ends the process: with 0, or with 1 where it did not close cleanly or in time. */
export function closeAndExit(app: Pick<App, "context" | "close">): void {
  setTimeout(() => process.exit(1), closeWithinMs).unref();
  app.close().then(
    () => exitSettled(0),
    (error: unknown) => {
      app.context.log.error({ err: error }, "not closed cleanly");
      exitSettled(1);
    },
  );
}

/**
 * Node waits in `process.exit` for the threads that compile, and one that needs the main thread by then waits for it forever
 * (nodejs/node#54918). They are done when nothing ran for a moment.
 */
export function exitSettled(status: number): void {
  setTimeout(() => process.exit(status), settleMs);
}
