import { type Command, Option } from "commander";
import type { OAuthContext } from "../oauth/context.ts";
import type { OutboxEntry, OutboxStatus } from "../store/outbox.ts";
import { table, timeOf } from "./output.ts";
import { confirm, leaf, outputOf, type Runtime, UsageError, wholeNumber, withContext } from "./runtime.ts";

export function addOutboxCommands(program: Command, runtime: Runtime): void {
  const outbox = program.command("outbox").description("events for Kafka");

  leaf(outbox, "list", "list events that are pending, parked or sent", ["outbox list", "outbox list --status parked"])
    .addOption(new Option("--status <status>", "only these").choices(["pending", "parked", "sent"]))
    .option("--limit <number>", "how many at most", "50")
    .action(async (options: { json?: boolean; status?: OutboxStatus; limit: string }) => {
      const limit = wholeNumber("--limit", options.limit, 10_000);
      const entries = await withContext(runtime, ({ store }) => store.outbox.list(options.status ?? null, limit));
      const shown = entries.map(({ createdAt, sentAt, ...rest }) => ({
        ...rest,
        createdAt: timeOf(createdAt),
        sentAt: timeOf(sentAt) || null,
      }));
      outputOf(runtime, options).print({ events: shown }, () =>
        table(
          ["EVENT", "TYPE", "USER", "STATUS", "TRIES", "CREATED", "REASON"],
          shown.map((each) => [
            each.eventId,
            each.eventType,
            each.userId,
            each.status,
            String(each.attempts),
            each.createdAt,
            each.reason ?? "",
          ]),
        ),
      );
    });

  leaf(outbox, "retry [event-ids...]", "send parked events again", [
    "outbox retry evt-20260118-001",
    "outbox retry --all",
  ])
    .option("--all", "every parked event")
    .action(async (eventIds: string[], options: { json?: boolean; all?: boolean }) => {
      if ((eventIds.length === 0) !== (options.all === true)) throw new UsageError("name events, or give --all");
      const { securityEvent } = await import("../telemetry/security-events.ts");
      const retried = await withContext(runtime, async (ctx) => {
        if (eventIds.length > 0) await parkedOf(ctx, eventIds);
        const count = await ctx.store.outbox.retry(options.all === true ? null : eventIds);
        securityEvent(ctx, "events_retried", { count });
        return count;
      });
      outputOf(runtime, options).print({ retried }, () => `${retried} pending again`);
    });

  leaf(outbox, "discard [event-ids...]", "delete parked events; no consumer will ever get them", [
    "outbox discard evt-20260118-001",
    "outbox discard --all --yes",
  ])
    .option("--all", "every parked event")
    .option("--yes", "I know that these events are lost")
    .action((eventIds: string[], options: DiscardOptions) => runDiscard(runtime, eventIds, options));
}

interface DiscardOptions {
  json?: boolean;
  all?: boolean;
  yes?: boolean;
}

async function runDiscard(runtime: Runtime, eventIds: string[], options: DiscardOptions): Promise<void> {
  if ((eventIds.length === 0) !== (options.all === true)) throw new UsageError("name events, or give --all");
  const { securityEvent } = await import("../telemetry/security-events.ts");
  const discarded = await withContext(runtime, async (ctx) => {
    const lost = await parkedOf(ctx, options.all === true ? null : eventIds);
    if (lost.length === 0) return [];
    await confirm(runtime, options, lossOf(lost));
    const ids = lost.map(({ eventId }) => eventId);
    await ctx.store.outbox.discard(ids);
    securityEvent(ctx, "events_discarded", { count: ids.length });
    return lost;
  });
  outputOf(runtime, options).print(
    { discarded: discarded.map(({ eventId, eventType, userId }) => ({ eventId, eventType, userId })) },
    () => `${discarded.length} discarded`,
  );
}

/** Parked events. @param eventIds null: all of them @throws AuthError not_found: one of these is not parked */
async function parkedOf({ store }: OAuthContext, eventIds: readonly string[] | null): Promise<OutboxEntry[]> {
  const parked = await store.outbox.list("parked", 1_000_000);
  if (eventIds === null) return parked;
  const found = parked.filter(({ eventId }) => eventIds.includes(eventId));
  const unknown = eventIds.filter((id) => !found.some(({ eventId }) => eventId === id));
  if (unknown.length === 0) return found;
  const { AuthError } = await import("../errors.ts");
  throw new AuthError("not_found", `not parked: ${unknown.join(", ")}`);
}

/** What consumers miss. */
function lossOf(lost: readonly OutboxEntry[]): string {
  const of = (type: string) => lost.filter(({ eventType }) => eventType === type).length;
  const types = [...new Set(lost.map(({ eventType }) => eventType))].map((type) => `${of(type)} ${type}`);
  const users = new Set(lost.map(({ userId }) => userId)).size;
  return `consumers would never get ${types.join(", ")} of ${users} user${users === 1 ? "" : "s"}`;
}
