/** A result did not come in time. `code` is in the form of the database driver's codes, which `database/faults.ts` reads. */
export class DeadlineError extends Error {
  readonly code = "PROTOCOL_DEADLINE";

  constructor(ms: number) {
    super(`no answer within ${Math.round(ms)} ms`);
  }
}

/**
 * The promise's result, or DeadlineError after `ms` milliseconds. The promise is not cancelled: its caller must discard what it works on.
 */
export function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new DeadlineError(ms)), Math.max(0, ms));
    promise.then(
      (result) => {
        clearTimeout(timer);
        resolve(result);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

/**
 * Runs `work`, and rejects after `ms` milliseconds or when one of `parents` aborts, if that is sooner. The signal tells the work to give
 * up; a result that arrives later is ignored.
 */
export function withDeadline<T>(
  ms: number,
  parents: readonly (AbortSignal | undefined)[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  return new Promise<T>((resolve, reject) => {
    const giveUp = (error: Error) => {
      controller.abort(error);
      reject(error);
    };
    const stop = () => giveUp(new Error("given up"));
    const timer = setTimeout(() => giveUp(new DeadlineError(ms)), ms);
    const finish = () => {
      clearTimeout(timer);
      for (const parent of parents) parent?.removeEventListener("abort", stop);
    };
    for (const parent of parents) parent?.addEventListener("abort", stop, { once: true });
    if (parents.some((parent) => parent?.aborted)) stop();
    work(controller.signal).then(resolve, reject).finally(finish);
    controller.signal.addEventListener("abort", finish, { once: true });
  });
}

/** Resolves after `ms` milliseconds, or as soon as the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}
