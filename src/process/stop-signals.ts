/** Signals this close to the first one are the same (milliseconds). A person who is in a hurry presses later. */
const sameSignalMs = 500;

/**
 * Calls `stop` at the first SIGTERM or SIGINT, and ends the process at once with a later one. npm passes on what its whole group gets, so
 * that one Ctrl-C comes twice.
 */
export function onStopSignal(stop: () => void): void {
  let since: number | null = null;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      const now = performance.now();
      if (since !== null && now - since >= sameSignalMs) process.exit(1);
      if (since !== null) return;
      since = now;
      stop();
    });
  }
}
