import { expect, test } from "@jest/globals";
import { type Call, calmP99 } from "./ledger.ts";

/** A call each 10 ms of a time (seconds), answered after so many milliseconds. */
function calls(fromSeconds: number, seconds: number, tookMs: number): Call[] {
  return Array.from({ length: seconds * 100 }, (_, n) => {
    const at = fromSeconds * 1_000 + n * 10;
    return { operation: "introspect", ids: {}, at, endedAt: at + tookMs, outcome: "ok", detail: "" };
  });
}

test("the calm p99 leaves out moments in which the machine was busy, and sees what is slow all the time", () => {
  const busy = [...calls(0, 30, 20), ...calls(30, 60, 300), ...calls(90, 10, 20)];
  expect(calmP99(busy, 10_000)).toBe(20);
  expect(calmP99(calls(0, 100, 60), 10_000)).toBe(60);
});

test("a window that was cut short says nothing", () => {
  expect(calmP99([...calls(9.9, 0.1, 1), ...calls(10, 30, 50), ...calls(40, 0.1, 1)], 10_000)).toBe(50);
});
