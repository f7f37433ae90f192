import { expect, test } from "@jest/globals";
import type { KafkaRecord } from "../../support/kafka.ts";
import { audit, violations } from "./auditor.ts";
import { Ledger, type Operation, type Outcome } from "./ledger.ts";
import type { Load } from "./load.ts";
import type { System } from "./system.ts";

const user = { uuid: "u1", email: "one@example.test" };
const event = (id: string, type: string, seq: number) => ({ event_id: id, event_type: type, user_id: "u1", seq });
const record = (id: string, offset: number): KafkaRecord => ({
  ...{ topic: "user-login", partition: 0, offset, key: "u1", value: Buffer.alloc(0), headers: { ce_id: id } },
});

/** A system in which a user signed up, signed in twice and refreshed once, each acknowledged, each event delivered in order. */
function whole() {
  const calls: [Operation, Outcome, Record<string, string>][] = [
    ["sign-up", "ok", user],
    ["redeem", "ok", { email: user.email, code: "c1", sid: "a1" }],
    ["redeem", "ok", { email: user.email, code: "c2", sid: "a2" }],
    ["refresh", "ok", { sid: "a1", generation: "1" }],
    ["sign-out", "ok", { sid: "a2" }],
  ];
  return {
    calls,
    users: [user],
    authorizations: [
      { id: "a1", subject: "u1", generation: 1, revoked_at: null as number | null },
      { id: "a2", subject: "u1", generation: 0, revoked_at: 1 },
    ],
    outbox: [event("e1", "USER_SIGNUP", 1), event("e2", "USER_LOGIN", 2), event("e3", "USER_LOGIN", 3)],
    records: ["e1", "e2", "e3"].map(record),
    lostSessions: 0,
    dead: [] as string[],
  };
}

async function found(state: ReturnType<typeof whole>): Promise<string> {
  const ledger = new Ledger();
  for (const [operation, outcome, ids] of state.calls) ledger.end(ledger.invoke(operation, ids), outcome, "said so");
  const tables: [string, unknown[]][] = [
    ["FROM users", state.users],
    ["FROM oauth2_authorization", state.authorizations],
    ["FROM outbox", state.outbox],
  ];
  const system = {
    parts: { brokers: "there" },
    drained: async () => 0,
    rows: async (sql: string) => tables.find(([from]) => sql.includes(from))?.[1],
    records: async () => state.records,
    dead: () => state.dead,
  };
  const load = { ledger, settle: async () => state.lostSessions };
  return violations(await audit(system as unknown as System, load as unknown as Load)).join("\n");
}

test("the auditor finds nothing where everything is as the clients were told", async () => {
  expect(await found(whole())).toBe("");
  // a repeat is none of its own, an unknown call may or may not have happened
  const state = whole();
  state.records.push(record("e2", 9));
  state.calls.push(["sign-up", "unknown", { email: "two@example.test" }], ["redeem", "unknown", { code: "c3" }]);
  expect(await found(state)).toBe("");
});

const faults: [string, (state: ReturnType<typeof whole>) => unknown][] = [
  ["acknowledged writes lost", (state) => state.calls.push(["sign-up", "ok", { email: "x@example.test", uuid: "u2" }])],
  ["acknowledged writes lost", (state) => void state.calls.push(["refresh", "ok", { sid: "a1", generation: "2" }])],
  ["acknowledged writes lost", (state) => Object.assign(state.authorizations[1] ?? {}, { revoked_at: null })],
  ["phantom writes", (state) => state.users.push({ uuid: "u2", email: "x@example.test" })],
  ["phantom writes", (state) => state.calls.splice(0, 1, ["sign-up", "refused", { email: user.email }])],
  [
    "phantom writes",
    (state) => state.authorizations.push({ id: "a3", subject: "u1", generation: 0, revoked_at: null }),
  ],
  ["phantom writes", (state) => void state.outbox.shift()],
  ["events lost", (state) => void state.records.pop()],
  ["phantom events", (state) => state.records.push(record("e9", 9))],
  ["order violations", (state) => void state.records.reverse()],
  ["honest sessions lost", (state) => Object.assign(state, { lostSessions: 1 })],
  ["codes redeemed twice", (state) => state.calls.push(["redeem", "ok", { email: user.email, code: "c1", sid: "a1" }])],
  ["wrong answers", (state) => state.calls.push(["introspect", "wrong", { sid: "a1" }])],
  ["processes ended by themselves", (state) => state.dead.push("Kafka")],
];

test.each(faults)("the auditor finds %s (case %#)", async (name, breakIt) => {
  const state = whole();
  breakIt(state);
  expect(await found(state)).toContain(name);
});
