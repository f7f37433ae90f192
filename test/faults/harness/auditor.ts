import { EVENT_TOPICS } from "../../../src/kafka/encode.ts";
import type { KafkaRecord } from "../../support/kafka.ts";
import type { Call, Ledger } from "./ledger.ts";
import type { Load } from "./load.ts";
import type { System } from "./system.ts";

/** What must be zero after every fault, but `repeats`, `events` and `calls`. */
export interface Audit {
  readonly calls: number;
  readonly unknown: number;
  /** Answers that no fault excuses, by what they said. */
  readonly wrong: readonly string[];
  /** Acknowledged writes that the tables do not hold. */
  readonly lostWrites: readonly string[];
  /** Rows that no call asked for, or that a refused one left. */
  readonly phantomWrites: readonly string[];
  readonly events: number;
  /** Committed events that the topics do not hold. */
  readonly lostEvents: readonly string[];
  /** Events of the topics that were not committed. */
  readonly phantomEvents: readonly string[];
  readonly orderViolations: readonly string[];
  /** Records beyond the first of an event. */
  readonly repeats: number;
  readonly lostSessions: number;
  readonly codesRedeemedTwice: readonly string[];
  /** Processes that ended by themselves. */
  readonly dead: readonly string[];
}

interface Tables {
  readonly users: readonly { uuid: string; email: string }[];
  readonly authorizations: readonly { id: string; subject: string; generation: number; revoked_at: number | null }[];
  readonly outbox: readonly { event_id: string; event_type: string; user_id: string; seq: number }[];
}

/** Compares what clients were told, what the tables hold and what the topics hold. After heal and drain. */
export async function audit(system: System, load: Load): Promise<Audit> {
  const { ledger } = load;
  const lostSessions = await load.settle();
  if (system.parts.brokers !== "") await system.drained(120_000);
  const tables: Tables = {
    users: await system.rows("SELECT uuid, email FROM users"),
    authorizations: await system.rows(
      "SELECT id, subject, generation, revoked_at FROM oauth2_authorization WHERE grant_type = 'authorization_code'",
    ),
    outbox: await system.rows("SELECT event_id, event_type, user_id, seq FROM outbox"),
  };
  const records = await system.records(EVENT_TOPICS);
  return {
    calls: ledger.calls.length,
    unknown: ledger.calls.filter(({ outcome }) => outcome === "unknown").length,
    wrong: ledger.wrong().map(({ operation, detail }) => `${operation}: ${detail}`),
    ...auditWrites(ledger, tables),
    ...(system.parts.brokers === "" ? noEvents : auditEvents(tables, records)),
    lostSessions,
    dead: system.dead(),
  };
}

const noEvents = { events: 0, lostEvents: [], phantomEvents: [], orderViolations: [], repeats: 0 };

function auditWrites(ledger: Ledger, { users, authorizations, outbox }: Tables) {
  const byEmail = new Map(users.map((user) => [user.email, user.uuid]));
  const byId = new Map(authorizations.map((row) => [row.id, row]));
  const lostWrites = [
    ...ledger.where("sign-up", ["ok"]).filter(({ ids }) => byEmail.get(ids["email"] ?? "") !== ids["uuid"]),
    ...ledger.where("write", ["ok"]).filter(({ ids }) => byEmail.get(ids["email"] ?? "") !== ids["uuid"]),
    ...ledger.where("redeem", ["ok"]).filter(({ ids }) => !byId.has(ids["sid"] ?? "")),
    ...ledger
      .where("refresh", ["ok"])
      .filter(({ ids }) => (byId.get(ids["sid"] ?? "")?.generation ?? -1) < Number(ids["generation"] ?? 0)),
    ...ledger.where("sign-out", ["ok"]).filter(({ ids }) => byId.get(ids["sid"] ?? "")?.revoked_at === null),
  ].map(({ operation, ids }) => `${operation} ${JSON.stringify(ids)}`);

  const mayBe = (calls: Call[], id: string) => new Set(calls.map(({ ids }) => ids[id] ?? ""));
  const asked = mayBe(ledger.where("sign-up", ["ok", "unknown"]), "email");
  const written = mayBe(ledger.where("write", ["ok", "unknown"]), "email");
  const codes = Map.groupBy(ledger.where("redeem", ["ok", "unknown"]), ({ ids }) => byEmail.get(ids["email"] ?? ""));
  const ofUser = Map.groupBy(authorizations, ({ subject }) => subject);
  const created = (type: string) =>
    Map.groupBy(
      outbox.filter((row) => row.event_type === type),
      (row) => row.user_id,
    );
  const signUps = created("USER_SIGNUP");
  const logins = created("USER_LOGIN");
  const phantomWrites = [
    ...users.filter(({ email }) => !asked.has(email) && !written.has(email)).map(({ email }) => `user ${email}`),
    ...[...ofUser]
      .filter(([uuid, rows]) => rows.length > mayBe(codes.get(uuid) ?? [], "code").size)
      .map(([uuid]) => `authorization of ${uuid}`),
    // account and event both, or neither
    ...users.filter(({ uuid }) => signUps.get(uuid)?.length !== 1).map(({ uuid }) => `sign-up events of ${uuid}`),
    ...users
      .filter(({ uuid }) => (ofUser.get(uuid)?.length ?? 0) !== (logins.get(uuid)?.length ?? 0))
      .map(({ uuid }) => `login events of ${uuid}`),
  ];
  const redeemed = Map.groupBy(ledger.where("redeem", ["ok"]), ({ ids }) => ids["code"] ?? "");
  const codesRedeemedTwice = [...redeemed].filter(([, calls]) => calls.length > 1).map(([code]) => code);
  return { lostWrites, phantomWrites, codesRedeemedTwice };
}

function auditEvents({ outbox }: Tables, records: readonly KafkaRecord[]) {
  const committed = new Map(outbox.map((row) => [row.event_id, row]));
  const firsts = new Map<string, KafkaRecord>();
  const orderViolations: string[] = [];
  const lastOf = new Map<string, number>();
  for (const record of records) {
    const id = record.headers["ce_id"] ?? "";
    if (firsts.has(id)) continue;
    firsts.set(id, record);
    // within a topic: a user's partition is read in its order
    const at = `${record.topic}/${record.key}`;
    const seq = Number(committed.get(id)?.seq ?? 0);
    if (seq < (lastOf.get(at) ?? 0)) orderViolations.push(`${at}: ${seq} after ${lastOf.get(at)}`);
    lastOf.set(at, seq);
  }
  return {
    events: committed.size,
    lostEvents: [...committed.keys()].filter((id) => !firsts.has(id)),
    phantomEvents: [...firsts.keys()].filter((id) => !committed.has(id)),
    orderViolations,
    repeats: records.length - firsts.size,
  };
}

/** What an audit found that must not be. */
export function violations(found: Audit): string[] {
  const list = (name: string, items: readonly string[]) =>
    items.length === 0 ? [] : [`${items.length} ${name} (${[...new Set(items)].slice(0, 3).join("; ")})`];
  return [
    ...list("wrong answers", found.wrong),
    ...list("acknowledged writes lost", found.lostWrites),
    ...list("phantom writes", found.phantomWrites),
    ...list("events lost", found.lostEvents),
    ...list("phantom events", found.phantomEvents),
    ...list("order violations", found.orderViolations),
    ...(found.lostSessions === 0 ? [] : [`${found.lostSessions} honest sessions lost`]),
    ...list("codes redeemed twice", found.codesRedeemedTwice),
    ...list("processes ended by themselves", found.dead),
  ];
}

export function summary({ calls, unknown, events, repeats }: Audit): string {
  return `${calls} calls, ${unknown} unknown; ${events} events, ${repeats} repeats`;
}

/** What all audits of a run found together, in one sentence. */
export function totals(audits: readonly Audit[]): string {
  const sum = (of: (audit: Audit) => number) => audits.reduce((all, audit) => all + of(audit), 0);
  const [events, repeats] = [sum((audit) => audit.events), sum((audit) => audit.repeats)];
  const share = events === 0 ? "0" : ((100 * repeats) / events).toFixed(2);
  return [
    `${audits.length} audits of ${sum(({ calls }) => calls)} calls: events lost ${sum(({ lostEvents }) => lostEvents.length)}`,
    `phantom ${sum(({ phantomEvents }) => phantomEvents.length)}`,
    `order violations ${sum(({ orderViolations }) => orderViolations.length)}`,
    `repeats ${share} % of ${events}`,
    `acknowledged writes lost ${sum(({ lostWrites }) => lostWrites.length)}`,
    `phantom ${sum(({ phantomWrites }) => phantomWrites.length)}`,
    `honest sessions lost ${sum(({ lostSessions }) => lostSessions)}`,
    `codes redeemed twice ${sum(({ codesRedeemedTwice }) => codesRedeemedTwice.length)}`,
  ].join(", ");
}
