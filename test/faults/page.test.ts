import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { ROWS } from "./rows/rows.ts";

const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/faults.md"), "utf8");
/** The numbers of the faults; those left out were never given. */
const numbers = [
  ...Array.from({ length: 59 }, (_, index) => index + 1).filter((number) => ![17, 18, 19, 48, 49].includes(number)),
].map((number) => `F-${String(number).padStart(2, "0")}`);

test("docs/faults.md has one row for each fault", () => {
  const rows = [...page.matchAll(/^\| (F-\d\d) \|/gm)].map(([, id]) => id);
  expect(rows).toEqual(numbers);
  expect(ROWS.map(({ id }) => id).filter((id) => id.startsWith("F-"))).toEqual(numbers);
});

const shown = ROWS.flatMap((row) => ("shownBy" in row ? row.shownBy.map((file) => [row.id, file] as const) : []));

test.each(shown)("%s is in a title of %s, as docs/faults.md says", (id, file) => {
  expect(page).toMatch(new RegExp(`^\\| ${id} \\|.*\`${file}\``, "m"));
  const titles =
    readFileSync(join(root, file), "utf8").match(/(["'`])(?:[FSC]-\d\d\d? )*F-\d\d(?:(?!\1)[^\\\n]|\\.)*\1/g) ?? [];
  expect(titles.filter((title) => title.includes(id))).not.toEqual([]);
});
