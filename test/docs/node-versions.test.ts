import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "@jest/globals";

const root = path.resolve(import.meta.dirname, "../..");
/** Of dependencies. */
const foreign = /(?:^|\/)(?:node_modules|\.venv)\//;
/** Its programs are the reader's, in folders of their own. */
const readersApps = "docs/how-to/add-sign-in.md";

/** Commands in the code blocks of the pages, with the page. */
function commands(): [page: string, line: string][] {
  const below = ["docs", "examples"].flatMap((folder) =>
    readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" }).map((file) => `${folder}/${file}`),
  );
  const pages = [...readdirSync(root), ...below].filter(
    (file) => file.endsWith(".md") && !foreign.test(file) && file !== readersApps,
  );
  return pages.flatMap((page) => {
    const text = readFileSync(path.join(root, page), "utf8");
    const blocks = [...text.matchAll(/^ *```sh\n([\s\S]*?)^ *```$/gm)].map(([, block = ""]) => block);
    return blocks.flatMap((block) => block.split("\n").map((line): [string, string] => [page, line]));
  });
}

describe("the commands of the pages", () => {
  it("C-90 run programs of this project with its own Node, whatever Node the machine has", () => {
    const all = commands();
    expect(all.some(([, line]) => /npx node \S+\.ts/.test(line))).toBe(true);
    const programs = all.filter(([, line]) => /\bnode (?:-\S+ )*\S+\.(?:ts|mjs|js)\b/.test(line));
    expect(programs.filter(([, line]) => !line.includes("npx node "))).toEqual([]);
  });
});
