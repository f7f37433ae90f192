import type { Context } from "./context.ts";
import type { OutboxEntry, OutboxStatus } from "./store/outbox.ts";

/** Events on their way, without what they say: those that wait, then the parked, then the sent ones. */
export async function listEvents(ctx: Context, status: OutboxStatus | null, limit: number): Promise<OutboxEntry[]> {
  return ctx.store.outbox.list(status, limit);
}

/** Puts parked events back in line. @param eventIds null: all of them. @returns how many */
export async function retryEvents(ctx: Context, eventIds: readonly string[] | null): Promise<number> {
  const count = await ctx.store.outbox.retry(eventIds);
  ctx.log.info({ event: "outbox_retry", count }, "parked events put back");
  return count;
}
