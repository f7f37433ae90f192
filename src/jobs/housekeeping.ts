import { randomUUID } from "node:crypto";
import type { Context } from "../context.ts";
import { EVENT_TYPES } from "../events.ts";
import { every } from "./every.ts";

const everyMs = 30_000;
/** At every second turn. */
const cleanUpEveryMs = 45_000;
const leaseMs = 60_000;
const declareMs = 3_600_000;
const batch = 500;
/** Batches in one turn: a long backlog is cleared over several turns, so that other work is not delayed. */
const batchesPerTurn = 100;

/** Is this replica still the one that does it, and not about to end? Asked between two steps of a long task. */
export type GoesOn = () => Promise<boolean>;

/**
 * Deletes expired rows, in one replica at a time, measures the outbox, and goes on declaring how long this replica's tokens live and its key
 * set may be kept. What fails is tried again at a later turn, and keeps nothing else from being done.
 * @param tasks what else the replica that holds the lease does, each under the name that the log has for it
 */
export function startHousekeeping(
  ctx: Context,
  tasks: Readonly<Record<string, (goesOn: GoesOn) => Promise<unknown>>>,
): { close(): Promise<void> } {
  const owner = randomUUID();
  let closing = false;
  let declaredAt = performance.now();
  let cleanUpDueAt = 0;
  const warn = (task: string, error: unknown) =>
    ctx.log.warn({ err: error, task }, "housekeeping failed; it is tried again later");
  const attempt = (task: string, work: () => Promise<unknown>) => work().catch((error: unknown) => warn(task, error));

  const declare = async () => {
    if (performance.now() - declaredAt <= declareMs) return;
    await ctx.store.revocations.declareLifetime(ctx.config.accessTokenTtl * 1000, ctx.clock.now());
    await ctx.store.keys.declareMaxAge(ctx.config.jwksMaxAge * 1000, ctx.clock.now());
    declaredAt = performance.now();
  };
  const measure = async () => {
    const { pending, parked, oldestPendingAt } = await ctx.store.outbox.stats();
    ctx.metrics.outboxPending.set(pending);
    ctx.metrics.outboxParked.set(parked);
    ctx.metrics.outboxOldestAge.set(oldestPendingAt === null ? 0 : (ctx.clock.now() - oldestPendingAt) / 1000);
    ctx.metrics.mailsPending.set((await ctx.store.mail.stats()).pending);
    const oldest = new Map<string, number>();
    for (const { eventType, oldestAt } of await ctx.store.outbox.queues()) {
      oldest.set(eventType, Math.min(oldestAt, oldest.get(eventType) ?? oldestAt));
    }
    for (const eventType of EVENT_TYPES) {
      const at = oldest.get(eventType) ?? ctx.clock.now();
      ctx.metrics.outboxQueueAge.set({ event_type: eventType }, Math.max(0, ctx.clock.now() - at) / 1000);
    }
  };
  const cleanUp = async (goesOn: GoesOn) => {
    const broken = new Map<string, unknown>();
    for (let done = 0; done < batchesPerTurn && (await goesOn()); done++) {
      if ((await ctx.store.cleanUp(ctx.clock.now(), batch, broken)) === 0) break;
    }
    for (const [table, error] of broken) warn(`delete expired rows of ${table}`, error);
  };
  const turn = async () => {
    await attempt("declare lifetimes", declare);
    await attempt("measure the outbox", measure);
    if (performance.now() < cleanUpDueAt) return;
    cleanUpDueAt = performance.now() + cleanUpEveryMs;
    const lease = await ctx.store.leases.acquire("clean-up", owner, leaseMs);
    if (lease === null) return;
    let renewedAt = performance.now();
    const goesOn = async () => {
      if (closing) return false;
      if (performance.now() - renewedAt < leaseMs / 3) return true;
      renewedAt = performance.now();
      return ctx.store.leases.renew(lease, leaseMs);
    };
    for (const [task, work] of Object.entries({ "delete expired rows": cleanUp, ...tasks })) {
      if (await goesOn()) await attempt(task, () => work(goesOn));
    }
    await ctx.store.leases.release(lease);
  };
  const turns = every(everyMs, turn, (error) => warn("take turns", error));
  return {
    close: async () => {
      closing = true;
      await turns.close();
    },
  };
}
