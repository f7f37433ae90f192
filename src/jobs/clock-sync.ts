import type { Context } from "../context.ts";
import { every } from "./every.ts";

const everyMs = 5_000;

/** Keeps the service clock at the database's time, so that replicas whose machines disagree use the same time. */
export async function startClockSync(ctx: Context): Promise<{ close(): Promise<void> }> {
  if (!ctx.config.databaseHasClock) return { close: async () => {} };
  const measure = async () => {
    const before = performance.now();
    const local = Date.now();
    const database = await ctx.store.time();
    const halfway = (performance.now() - before) / 2;
    ctx.clock.offset = Math.round(database - local - halfway);
  };
  await measure();
  return every(everyMs, measure, (error) => ctx.log.debug({ err: error }, "the database's clock was not read"));
}
