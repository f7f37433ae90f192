/**
 * Calls `turn` every `ms` milliseconds, never twice at a time: a tick during a turn is skipped, so that turns do not queue while the
 * database is away.
 * @param failed gets what a turn throws
 * @returns the way to stop: `close` waits for the turn under way
 */
export function every(
  ms: number,
  turn: () => Promise<void>,
  failed: (error: unknown) => void,
): { close(): Promise<void> } {
  let running: Promise<void> | null = null;
  const timer = setInterval(() => {
    running ??= turn()
      .catch(failed)
      .finally(() => {
        running = null;
      });
  }, ms);
  timer.unref();
  return {
    close: async () => {
      clearInterval(timer);
      await running;
    },
  };
}
