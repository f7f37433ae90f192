import { randomUUID } from "node:crypto";
import type { Context } from "../context.ts";

const everyMs = 1_000;
const leaseMs = 15_000;

/**
 * Delivers back-channel logout notices, in one replica at a time: every second, and at once after a logout in this replica.
 * @param deliver sends notices that are due; returns how many it tried to send
 */
export function startLogoutNotices(ctx: Context, deliver: () => Promise<number>): { close(): Promise<void> } {
  const owner = randomUUID();
  let closing = false;
  const turn = async () => {
    if ((await ctx.store.logoutNotices.due(ctx.clock.now(), 1)).length === 0) return;
    const lease = await ctx.store.leases.acquire("logout-notices", owner, leaseMs);
    if (lease === null) return;
    while (!closing && (await deliver()) > 0) {
      if (!(await ctx.store.leases.renew(lease, leaseMs))) return;
    }
    await ctx.store.leases.release(lease);
  };
  let running = Promise.resolve();
  let waiting = false;
  const wake = () => {
    if (waiting || closing) return;
    waiting = true;
    running = running
      .then(() => {
        waiting = false;
        return turn();
      })
      .catch((error: unknown) =>
        ctx.log.warn({ err: error }, "delivering back-channel logout notices failed; it is tried again later"),
      );
  };
  const stop = ctx.store.logoutNotices.onAppend(wake);
  const timer = setInterval(wake, everyMs);
  timer.unref();
  return {
    close: async () => {
      closing = true;
      stop();
      clearInterval(timer);
      await running;
    },
  };
}
