import type { Drainable } from "../net/drainable.ts";

/** Load balancers that ask every second have noticed by then that the replica is not ready (milliseconds). */
const leastMs = 2_000;
/** One that still sends requests has not noticed. After the last one this long passes (milliseconds). */
const quietMs = 1_000;
/** Clients that know no other replica never stop (milliseconds). */
const longestMs = 4_000;

/** Keeps listeners open after the replica became not ready, until load balancers have noticed. */
export async function drain(listeners: readonly Drainable[]): Promise<void> {
  const startedAt = performance.now();
  let lastRequestAt = startedAt;
  const onRequest = () => {
    lastRequestAt = performance.now();
  };
  for (const listener of listeners) listener.drain(onRequest);
  const endsAt = () => Math.min(startedAt + longestMs, Math.max(startedAt + leastMs, lastRequestAt + quietMs));
  for (let now = startedAt; now < endsAt(); now = performance.now()) {
    await new Promise((resolve) => setTimeout(resolve, endsAt() - now));
  }
}
