import { setTimeout as sleep } from "node:timers/promises";

/** Longer than any of the work that only addresses with an account need (milliseconds). */
const atLeastMs = 100;

/** Runs `work` and takes at least so long that the time of the response does not tell whether an account has the address. */
export async function hideTime(work: Promise<void>): Promise<void> {
  await Promise.all([work, sleep(atLeastMs)]);
}
