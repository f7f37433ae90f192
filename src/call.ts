import { AsyncLocalStorage } from "node:async_hooks";

/** The check of the call that the running code serves; undefined outside one. */
const current = new AsyncLocalStorage<(() => void) | undefined>();

/**
 * Runs `work` for a call that may end before its work does: its deadline passes or its client hangs up. From then on the database
 * begins no write and `Passwords` hashes nothing for it. Reads go on, and a write that has begun is completed.
 * @param check throws once the call has ended
 * @throws what `check` throws, at the next write or hash
 */
export function duringCall<T>(check: () => void, work: () => T): T {
  return current.run(check, work);
}

/** Runs `work` whether the call has ended or not, such as the revocation that answers a replay. */
export function afterCall<T>(work: () => T): T {
  return current.run(undefined, work);
}

/** Asked before each write and each hash. Does nothing outside of `duringCall`. @throws what the current call's check throws */
export function checkCall(): void {
  current.getStore()?.();
}
