/**
 * Calls `turn` every `ms` milliseconds, never twice at a time: a tick that finds the last turn still at work is left out, so that
 * none wait in a row for a database that is away.
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
