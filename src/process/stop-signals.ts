/** Signals this close to the first one are the same (milliseconds). A person who is in a hurry presses later. */
const sameSignalMs = 500;

let stopNow: (() => void) | null = null;

/**
 * Calls `stop` at the first SIGTERM or SIGINT, and ends the process at once with a later one. npm passes on what its whole group gets, so
 * that one Ctrl-C comes twice. Called again it replaces what is called.
 */
export function onStopSignal(stop: () => void): void {
  const listens = stopNow !== null;
  stopNow = stop;
  if (listens) return;
  let since: number | null = null;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      const now = performance.now();
      if (since !== null && now - since >= sameSignalMs) process.exit(1);
      if (since !== null) return;
      since = now;
      stopNow?.();
    });
  }
}
