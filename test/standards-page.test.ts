import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "@jest/globals";

test("docs/standards.md lists every row with its tests or why it has none, as the tests' titles say", () => {
  const script = join(import.meta.dirname, "../scripts/standards.mjs");
  expect(execFileSync(process.execPath, [script, "--check"], { encoding: "utf8" })).toContain("Every row has a test");
});
