import type { Context } from "../context.ts";

/**
 * Reads the database's clock and sets the service clock to it, so that replicas whose machines disagree use the same time.
 * @throws AuthError unavailable: the database does not answer
 */
export async function syncClock({ store, clock, config }: Context): Promise<void> {
  const before = performance.now();
  const local = Date.now();
  const database = await store.time();
  if (!config.databaseHasClock) return;
  const halfway = (performance.now() - before) / 2;
  const offset = Math.round(database - local - halfway);
  // a smaller difference is within the uncertainty of this reading
  if (Math.abs(offset - clock.offset) > halfway) clock.offset = offset;
}
