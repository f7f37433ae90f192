import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { Clock } from "../../src/clock.ts";
import { keysFor } from "../../src/crypto/keys-for.ts";
import { Sealer } from "../../src/crypto/sealing.ts";
import { openStore } from "../../src/database/open-store.ts";
import { passwordReset, UNKNOWN_ASKER, userSignup } from "../../src/events.ts";
import type { OutboundEvent } from "../../src/kafka/encode.ts";
import { type EventPublisher, NONE_HELD } from "../../src/kafka/event-publisher.ts";
import { fileSink } from "../../src/kafka/file-sink.ts";
import type { Relay } from "../../src/kafka/relay.ts";
import { startRelay } from "../../src/kafka/relay.ts";
import type { Store } from "../../src/store/store.ts";
import { captureLog, countingMetrics, until } from "./events.ts";

const clock = new Clock();
let folder: string;
let stores: Store[];
let relays: Relay[];
let published: OutboundEvent[];
let metrics: ReturnType<typeof countingMetrics>;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "outbox-"));
  stores = [];
  relays = [];
  published = [];
  metrics = countingMetrics();
});
afterEach(async () => {
  await Promise.all(relays.map((relay) => relay.close()));
  await Promise.all(stores.map((store) => store.close()));
  await rm(folder, { recursive: true, force: true });
});

const recorder: EventPublisher = {
  publish: async (batch) => {
    published.push(...batch);
    return NONE_HELD;
  },
  close: async () => {},
};

async function open(key: Uint8Array = Buffer.alloc(32, 7)): Promise<Store> {
  const url = `sqlite:${path.join(folder, "auth.sqlite")}`;
  const store = await openStore({ url, sealer: new Sealer(keysFor("sealing", [key])), clock, log: captureLog() });
  stores.push(store);
  return store;
}

function relay(store: Store, publisher = recorder, timing = {}, log = captureLog()): Relay {
  const owner = randomUUID();
  const started = startRelay({ store, publisher, clock, log, metrics, owner, sink: "kafka", issuer: "i", timing });
  relays.push(started);
  return started;
}

async function signUp(store: Store, uuid: string = randomUUID()): Promise<string> {
  const user = {
    uuid,
    email: `${uuid}@example.com`,
    nickname: "n",
    roles: [],
    emailVerified: false,
    claims: {},
    epoch: 0,
    language: null,
    disabledAt: null,
    createdAt: clock.now(),
    updatedAt: clock.now(),
  };
  await store.users.create(user, "hash", userSignup(user));
  return uuid;
}

async function askReset(store: Store, uuid: string, resetToken: string): Promise<void> {
  const [now, expiresAt] = [clock.now(), clock.now() + 60_000];
  const user = { uuid, email: `${uuid}@example.com`, claims: {} };
  const link = { token: resetToken, url: `https://auth.example.com/reset?token=${resetToken}`, expiresAt };
  const reset = { tokenHash: randomBytes(32).toString("hex"), userId: uuid, createdAt: now, expiresAt };
  await store.users.createPasswordReset(
    reset,
    passwordReset(user, link, { ...UNKNOWN_ASKER, ipAddress: "192.0.2.1" }, now),
  );
}

test("committed events are sent once, in order, and marked with their payload emptied", async () => {
  const store = await open();
  // a lease that is not given back is not had in time
  const timing = { leaseTtl: 120_000 };
  const closing = relay(store, recorder, timing);
  relay(store, recorder, timing);
  const uuids = await Promise.all(Array.from({ length: 100 }, () => signUp(store)));
  for (let i = 0; i < 9; i += 1) await Promise.all(uuids.map((uuid) => askReset(store, uuid, `reset ${i}`)));
  await until(async () => (await store.outbox.stats()).pending === 0);

  expect(published).toHaveLength(1_000);
  expect(new Set(published.map(({ event }) => event.eventId)).size).toBe(1_000);
  for (const uuid of uuids) {
    const tokens = published
      .filter(({ key }) => key === uuid)
      .map(({ event }) => (event.eventType === "PASSWORD_RESET" ? event.payload.resetToken : event.eventType));
    expect(tokens).toEqual(["USER_SIGNUP", ...Array.from({ length: 9 }, (_, i) => `reset ${i}`)]);
  }
  expect(metrics.counts).toEqual({ sent: 1_000, failed: 0, parked: 0 });
  const held = await store.leases.holders("outbox-lane-");
  expect(held).toHaveLength(16);

  await closing.close();
  await signUp(store);
  await until(() => published.length === 1_001);
});

test("C-04 an event sealed under another key is never parked: it waits, and goes out under the right one", async () => {
  const writer = await open(Buffer.alloc(32, 7));
  const uuid = await signUp(writer);
  const wrong = await open(Buffer.alloc(32, 8));
  const log = captureLog();
  const blind = relay(wrong, recorder, { maxBackoff: 150 }, log);
  await until(() => log.lines.some(({ level }) => level === "error"));
  // other users' events go by it
  const other = await signUp(wrong);
  await until(() => published.length === 1);
  await signUp(wrong);
  await until(() => published.length === 2);
  expect(await wrong.outbox.stats()).toMatchObject({ pending: 1, parked: 0 });
  const said = log.lines.filter(({ level }) => level === "error");
  expect(said.map(({ message }) => message)).toEqual([expect.stringContaining("KEY_ENCRYPTION_KEY")]);
  await blind.close();

  relay(writer);
  await until(() => published.length === 3);
  expect(published.map(({ key }) => key)).toEqual([other, expect.anything(), uuid]);
});

test("without Kafka the store's events end in the event file", async () => {
  const store = await open();
  const file = path.join(folder, "events.ndjson");
  relay(store, fileSink({ file, log: captureLog() }));
  const uuid = await signUp(store);
  await until(async () => (await store.outbox.stats()).pending === 0);
  const [line, ...rest] = (await readFile(file, "utf8")).trimEnd().split("\n");
  expect(rest).toEqual([]);
  expect(JSON.parse(line ?? "")).toMatchObject({
    topic: "user-signup",
    key: uuid,
    event: { eventType: "USER_SIGNUP" },
  });
});
