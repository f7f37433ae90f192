import { afterEach, beforeEach, expect, it, jest } from "@jest/globals";
import type { Drainable } from "../../src/net/drainable.ts";
import { drain } from "../../src/process/drain.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

/** @param everyMs how often requests come; null: never @returns how long the drain took, milliseconds */
async function drained(everyMs: number | null, untilMs?: number): Promise<number> {
  let requests: NodeJS.Timeout | undefined;
  const from = performance.now();
  const listener: Drainable = {
    drain(onRequest) {
      if (everyMs !== null) requests = setInterval(onRequest, everyMs);
    },
  };
  const done = drain([listener]).then(() => performance.now() - from);
  if (untilMs !== undefined) setTimeout(() => clearInterval(requests), untilMs);
  await jest.advanceTimersByTimeAsync(10_000);
  clearInterval(requests);
  return await done;
}

it("F-50 listeners stay open for two seconds, though nothing comes", async () => {
  expect(await drained(null)).toBe(2_000);
});

it("F-50 listeners stay open until nothing came for a second", async () => {
  expect(await drained(100, 1_750)).toBe(2_700);
});

it("F-50 listeners close after four seconds, though requests go on coming", async () => {
  expect(await drained(100)).toBe(4_000);
});
