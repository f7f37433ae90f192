import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { lineOf, pageOf } from "./page.ts";
import type { Outcome, RunRow } from "./row.ts";

const run = { date: "2026-01-01 00:00", commit: "abc", machine: "two cores", extent: "long" };
const skipped: Outcome = { did: "", counted: "", failures: [], skipped: "needs a tracer" };
const rowOf = (id: string): RunRow => ({
  ...{ id, section: "Database", title: "a fault" },
  run: () => Promise.reject(new Error("not run here")),
});

test("a row that the machine cannot run is skipped by name, with the reason", () => {
  expect(lineOf(rowOf("F-99"), skipped, run)).toContain("| skipped: needs a tracer | 2026-01-01 00:00, abc, long |");
});

test("a row that had to be skipped keeps the line of its last run", () => {
  const page = readFileSync(join(import.meta.dirname, "../../../docs/faults.md"), "utf8");
  const line = /^\| F-20 \|.*$/m.exec(page)?.[0];
  expect(line).toContain("| held |");
  expect(pageOf([rowOf("F-20")], new Map([["F-20", skipped]]), run)).toContain(line);
});

test("the page says what its lines come to, and which of them failed", () => {
  const outcome = (id: string, failures: string[]) =>
    [id, { did: "it", counted: "12 calls, 3 unknown; 5 events, 1 repeats", failures }] as const;
  const page = (failures: string[]) =>
    pageOf([rowOf("F-98"), rowOf("F-99")], new Map([outcome("F-98", []), outcome("F-99", failures)]), run);
  expect(page([])).toContain(
    "Together: 2 rows, 24 calls (6 without an answer), 10 events (2 repeats).\nIn them events",
  );
  expect(page(["too slow"])).toContain("What failed is in the lines of F-99; in the others events lost 0");
});
