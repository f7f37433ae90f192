import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { beforeEach, describe, expect, it } from "@jest/globals";
import { encodeEvent, type OutboundEvent } from "../../src/kafka/encode.ts";
import { PublishError } from "../../src/kafka/event-publisher.ts";
import { NotAcknowledged, toPublishError } from "../../src/kafka/kafka-errors.ts";
import { Partitions } from "../../src/kafka/partitions.ts";
import { eventOf, until } from "./events.ts";

/** Each user has a partition of their own here. */
const partitionOf = ({ key }: OutboundEvent) => key;
const notEnoughReplicas = () =>
  toPublishError(Object.assign(new Error("Messages are rejected: fewer in-sync replicas"), { code: 19 }));
const noAnswer = () => new PublishError("away", "connect ECONNREFUSED");

let stored: OutboundEvent[];
let tries: (readonly OutboundEvent[])[];
/** Why a user's partition stores nothing. */
let faults: Map<string, () => PublishError>;
let partitions: Partitions;
beforeEach(() => {
  stored = [];
  tries = [];
  faults = new Map();
  partitions = new Partitions({
    partitionOf,
    // a batch that fails leaves what other partitions stored before it
    async send(batch) {
      tries.push(batch);
      for (const event of batch) {
        const fault = faults.get(event.key);
        if (fault !== undefined) throw fault();
        stored.push(event);
      }
    },
  });
});

const [a, b, c] = [randomUUID(), randomUUID(), randomUUID()] as const;
const events = (...keys: string[]) => keys.map((key) => encodeEvent(eventOf(key, 1), "issuer"));
const keysOf = (list: readonly OutboundEvent[]) => list.map(({ key }) => key);
const storedOnce = () => new Set(stored.map(({ event }) => event.eventId)).size;

describe("sending to partitions", () => {
  it.each([
    ["short of replicas", notEnoughReplicas],
    ["without an acknowledgement", () => new NotAcknowledged(["user-login/1"])],
    ["whose leader does not answer", noAnswer],
  ])("C-10 holds back the events of a partition %s alone, and repeats few of the others", async (_, fault) => {
    faults.set(b, fault);
    const batch = events(a, b, c, b);
    const held = await partitions.send(batch);
    expect([...held.keys()]).toEqual([batch[1]?.event.eventId, batch[3]?.event.eventId]);
    expect(new Set(keysOf(stored))).toEqual(new Set([a, c]));

    // from then on the partition is asked with one event at a time
    for (let n = 0; n < 20; n++) await partitions.send(events(a, ...Array.from({ length: 9 }, () => b)));
    const asked = tries.filter((batch) => keysOf(batch).includes(b)).slice(2);
    expect(asked.every((batch) => batch.length === 1)).toBe(true);
    expect(stored.length - storedOnce()).toBeLessThanOrEqual(1);
  });

  it("C-10 sends what waited once the partition stores again, in order", async () => {
    faults.set(b, notEnoughReplicas);
    const batch = events(b, b, b);
    expect((await partitions.send(batch)).size).toBe(3);
    faults.clear();
    await until(async () => (await partitions.send(batch.filter((event) => !stored.includes(event)))).size === 0);
    expect(stored).toEqual(batch);
  });

  it("asks seldom while the partition is short", async () => {
    faults.set(b, notEnoughReplicas);
    await partitions.send(events(b));
    const before = tries.length;
    const from = performance.now();
    for (let n = 0; n < 100; n++) await partitions.send(events(b));
    // the shortest pause is 75 ms
    expect(tries.length - before).toBeLessThanOrEqual(1 + Math.floor((performance.now() - from) / 75));
    await delay(150);
    await partitions.send(events(b));
    expect(tries.length - before).toBeGreaterThanOrEqual(1);
  });

  it("takes a broker that answers for no partition as away, and does not ask for each", async () => {
    for (const key of [a, b, c]) faults.set(key, noAnswer);
    const many = events(a, b, c);
    await expect(partitions.send(many)).rejects.toMatchObject({ failure: "away" });
    expect(tries).toHaveLength(3);
    faults.clear();
    expect((await partitions.send(many)).size).toBe(0);
    expect(stored).toEqual(many);
  });

  it("lets a refusal of the whole batch through", async () => {
    faults.set(a, () => new PublishError("refused", "no such topic"));
    await expect(partitions.send(events(a, b))).rejects.toMatchObject({ failure: "refused" });
    expect(tries).toHaveLength(1);
  });
});
