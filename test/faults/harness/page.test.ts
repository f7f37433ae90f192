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
