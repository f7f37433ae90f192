import { type Command, Option } from "commander";
import type { OutboxStatus } from "../store/outbox.ts";
import { table, timeOf } from "./output.ts";
import { leaf, outputOf, type Runtime, UsageError, wholeNumber, withContext } from "./runtime.ts";

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
      const retried = await withContext(runtime, async ({ store, log }) => {
        const count = await store.outbox.retry(options.all === true ? null : eventIds);
        log.info({ event: "outbox_retry", count }, "parked events are pending again");
        return count;
      });
      outputOf(runtime, options).print({ retried }, () => `${retried} pending again`);
    });
}
