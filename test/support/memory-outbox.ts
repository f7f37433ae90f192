import type { AuthEvent } from "../../src/events.ts";
import type { Lease, LeaseStore } from "../../src/store/leases.ts";
import type { OutboxEntry, OutboxStore } from "../../src/store/outbox.ts";
import { OUTBOX_LANES } from "../../src/store/outbox.ts";

type Row = { -readonly [K in keyof OutboxEntry]: OutboxEntry[K] } & { event: AuthEvent | Error };

export interface MemoryOutbox {
  /** One per replica: `onAppend` hears only what was appended through it. */
  replica(): { outbox: OutboxStore; leases: LeaseStore };
  /** Commits an event. @param through the replica that wrote it; nobody is woken without */
  append(event: AuthEvent, through?: OutboxStore): void;
  /** Puts a payload that cannot be opened. */
  appendBroken(eventId: string, userId: string): void;
  readonly rows: readonly Row[];
  /** Every verb fails while true. */
  isAway: boolean;
  /** The verbs that were called, by name. */
  readonly calls: Map<string, number>;
}

export function laneOf(userId: string): number {
  return Number.parseInt(userId.replaceAll("-", "").slice(-4), 16) % OUTBOX_LANES;
}

/** Outbox and leases as a database would keep them, for faults that a database does not make on demand. */
export function memoryOutbox(): MemoryOutbox {
  const rows: Row[] = [];
  const seqs = new Map<string, number>();
  const held = new Map<string, { owner: string; epoch: number; until: number }>();
  const listeners = new Map<OutboxStore, Set<Parameters<OutboxStore["onAppend"]>[0]>>();
  const calls = new Map<string, number>();

  const isOurs = ({ name, owner, epoch }: Lease) => {
    const row = held.get(name);
    return row !== undefined && row.owner === owner && row.epoch === epoch && row.until > Date.now();
  };
  const verb = async (name: string) => {
    calls.set(name, (calls.get(name) ?? 0) + 1);
    await new Promise((resolve) => setImmediate(resolve));
    if (memory.isAway) throw new Error("the database is away");
  };
  const byId = (id: string) => rows.find(({ eventId }) => eventId === id);
  const insert = (eventId: string, eventType: AuthEvent["eventType"], userId: string, event: AuthEvent | Error) => {
    const seq = (seqs.get(userId) ?? 0) + 1;
    seqs.set(userId, seq);
    const lane = laneOf(userId);
    rows.push({
      eventId,
      eventType,
      userId,
      seq,
      lane,
      status: "pending",
      attempts: 0,
      createdAt: Date.now(),
      sentAt: null,
      reason: null,
      event,
    });
    return lane;
  };

  const memory: MemoryOutbox = {
    rows,
    calls,
    isAway: false,
    append(event, through) {
      const lane = insert(event.eventId, event.eventType, event.payload.uuid, event);
      if (through !== undefined) for (const listener of listeners.get(through) ?? []) listener(lane, event.eventType);
    },
    appendBroken(eventId, userId) {
      insert(eventId, "USER_LOGIN", userId, new Error("sealed with an unknown key"));
    },
    replica() {
      const outbox: OutboxStore = {
        onAppend(listener) {
          listeners.get(outbox)?.add(listener);
          return () => listeners.get(outbox)?.delete(listener);
        },
        async queues() {
          await verb("queues");
          const pending = rows.filter(({ status }) => status === "pending");
          return [...Map.groupBy(pending, ({ lane, eventType }) => `${lane} ${eventType}`).values()].flatMap(
            ([oldest]) => (oldest === undefined ? [] : [{ ...oldest, oldestAt: oldest.createdAt }]),
          );
        },
        async pending({ lane, eventType }, limit, held) {
          await verb("pending");
          const from = held === null ? 0 : rows.findIndex(({ eventId }) => eventId === held.end.eventId) + 1;
          const page = rows
            .slice(from)
            .filter((row) => row.lane === lane && row.eventType === eventType && row.status === "pending")
            .slice(0, limit);
          const entries = page.filter(({ userId }) => !held?.users.has(userId)).map((row) => ({ ...row }));
          return { entries, end: page.at(-1) ?? held?.end ?? null, isLast: page.length < limit };
        },
        async markSent(lease, eventIds, now) {
          await verb("markSent");
          if (!isOurs(lease)) return false;
          const ids = new Set(eventIds);
          for (const row of rows) {
            if (!ids.has(row.eventId) || row.status !== "pending") continue;
            row.status = "sent";
            row.sentAt = now;
          }
          return true;
        },
        async countAttempt(eventIds) {
          await verb("countAttempt");
          for (const id of eventIds) {
            const row = byId(id);
            if (row !== undefined) row.attempts += 1;
          }
        },
        async park(lease, eventId, reason) {
          await verb("park");
          if (!isOurs(lease)) return false;
          const row = byId(eventId);
          if (row !== undefined) Object.assign(row, { status: "parked", reason });
          return true;
        },
        async list(status, limit) {
          return rows.filter((row) => status === null || row.status === status).slice(0, limit);
        },
        async retry(eventIds) {
          const parked = rows.filter((row) => row.status === "parked" && (eventIds?.includes(row.eventId) ?? true));
          for (const row of parked) row.status = "pending";
          return parked.length;
        },
        async discard(eventIds) {
          const parked = rows.filter((row) => row.status === "parked" && (eventIds?.includes(row.eventId) ?? true));
          for (const row of parked) rows.splice(rows.indexOf(row), 1);
          return parked.length;
        },
        async reseal() {
          return { end: null, resealed: 0, unreadable: 0 };
        },
        async stats() {
          await verb("stats");
          const pending = rows.filter(({ status }) => status === "pending");
          return {
            pending: pending.length,
            parked: rows.filter(({ status }) => status === "parked").length,
            oldestPendingAt: pending[0]?.createdAt ?? null,
          };
        },
      };
      listeners.set(outbox, new Set());
      const leases: LeaseStore = {
        async acquire(name, owner, ttlMs) {
          await verb("acquire");
          const row = held.get(name);
          if (row !== undefined && row.until > Date.now()) return null;
          const epoch = (row?.epoch ?? 0) + 1;
          held.set(name, { owner, epoch, until: Date.now() + ttlMs });
          return { name, owner, epoch };
        },
        async renew(lease, ttlMs) {
          return (await leases.renewAll([lease], ttlMs)).size === 1;
        },
        async renewAll(asked, ttlMs) {
          await verb("renew");
          const ours = asked.filter(isOurs);
          for (const { name } of ours) {
            const row = held.get(name);
            if (row !== undefined) row.until = Date.now() + ttlMs;
          }
          return new Set(ours.map(({ name }) => name));
        },
        async release(lease) {
          await verb("release");
          const row = held.get(lease.name);
          if (row !== undefined && isOurs(lease)) row.until = 0;
        },
        async holders(prefix) {
          await verb("holders");
          return [...held]
            .filter(([name, { until }]) => name.startsWith(prefix) && until > Date.now())
            .map(([name, { owner }]) => ({ name, owner }));
        },
      };
      return { outbox, leases };
    },
  };
  return memory;
}
