import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "@jest/globals";
import { Clock } from "../../../src/clock.ts";
import { FeedTail } from "../../../src/oauth/revocations/feed-tail.ts";
import type { StoredRevocation } from "../../../src/store/revocations.ts";
import { createLogger } from "../../../src/telemetry/log.ts";

const clock = new Clock();
/** Of the newest page of rows a replica that starts takes none for settled. */
const page = 5_000;
const settled = 2_000;

let rows: StoredRevocation[];
/** Above which id each read began. */
let reads: number[];
let tail: FeedTail;

function row(id: number, value = `jti-${id}`): StoredRevocation {
  const revokedAt = clock.now() - 600_000;
  return { id, kind: "token", value, epoch: null, revokedAt, expiresAt: revokedAt + 3_600_000 };
}

beforeEach(async () => {
  rows = Array.from({ length: settled + page }, (_, n) => row(n + 1));
  reads = [];
  const store = {
    after: async (id: number, limit: number) => {
      reads.push(id);
      return rows.filter((each) => each.id > id).slice(0, limit);
    },
    onAppend: () => () => undefined,
    declareLifetime: async () => undefined,
  };
  tail = await FeedTail.open({ store, clock, log: createLogger("silent"), maxStalenessMs: 500 });
});
afterEach(() => tail.close());

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(5);
}

/** Reads that make the state fresh begin at the floor. */
const freshened = (from: number, times: number) => reads.slice(from).filter((id) => id <= settled).length >= times;

it("reads the feed from its start no more when the row that it reads from is cleaned up", async () => {
  const before = reads.length;
  await until(() => freshened(before, 2));
  rows = rows.filter(({ id }) => id !== settled);
  const cleaned = reads.length;
  await until(() => freshened(cleaned, 6));
  expect(Math.min(...reads.slice(before))).toBeGreaterThanOrEqual(settled - 2);
  expect(tail.completeBelow).toBe(settled - 1);
});

it("C-20 F-30 knows the rows of an earlier database, whose ids come again, and keeps those that it knew", async () => {
  rows = [
    ...rows.filter(({ id }) => id < settled - 100),
    ...Array.from({ length: 50 }, (_, n) => row(settled - 100 + n, `again-${n}`)),
  ];
  const isKnown = (value: string) => tail.known.read(0, 100_000).some((each) => each.value === value);
  await until(() => isKnown("again-0") && isKnown("again-49"));
  expect([isKnown(`jti-${settled - 100}`), isKnown(`jti-${settled + page}`)]).toEqual([true, true]);
  // those that follow get the next ids, which were known of other rows
  rows.push(row(settled - 50, "next"));
  await until(() => isKnown("next"));
});
