import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "@jest/globals";

const root = path.resolve(import.meta.dirname, "../..");

/** Folders that are built or installed, or that Git keeps for itself. */
const notOurs = new Set(["node_modules", ".git", "data", "dist", "reports", "target", ".venv", "gen"]);

function pagesOf(folder: string): string[] {
  return readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const file = path.posix.join(folder, entry.name);
    if (entry.isDirectory()) return notOurs.has(entry.name) ? [] : pagesOf(file);
    return entry.name.endsWith(".md") ? [file] : [];
  });
}

const read = (file: string) => readFileSync(path.join(root, file), "utf8");

/** A page without its code blocks and code spans: what looks like a link there is none. */
const prose = (text: string) => text.replaceAll(/^\s*```[\s\S]*?^\s*```$/gm, "").replaceAll(/`[^`\n]*`/g, "code");

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(text: string): Set<string> {
  const seen = new Map<string, number>();
  const headings = [...text.replaceAll(/^\s*```[\s\S]*?^\s*```$/gm, "").matchAll(/^#+ (.+)$/gm)];
  return new Set(
    headings.map(([, heading = ""]) => {
      const plain = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
      const anchor = plain.replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-");
      const count = seen.get(anchor) ?? 0;
      seen.set(anchor, count + 1);
      return count === 0 ? anchor : `${anchor}-${count}`;
    }),
  );
}

/** The links of a page that lead nowhere. @param text of the page @param file its path from the root */
function brokenLinks(file: string, text: string): string[] {
  const targets = [...prose(text).matchAll(/\]\(<?([^)\s>]+)>?(?: "[^"]*")?\)/g)].map(([, target = ""]) => target);
  return targets.flatMap((target) => {
    if (/^[a-z][a-z+.-]*:/.test(target)) return [];
    const [name = "", anchor] = target.split("#");
    const linked = name === "" ? file : path.posix.join(path.posix.dirname(file), decodeURI(name));
    const found = existsSync(path.join(root, linked));
    const anchored = anchor === undefined || !linked.endsWith(".md") || !found || anchorsOf(read(linked)).has(anchor);
    return found && anchored ? [] : [`${file}: ${target}`];
  });
}

/**
 * The paths of files that a page names as code, such as `src/app.ts`, and that do not exist. NAME and the like stand for a name. The title of a
 * block (`src/main.js`:) is a file that the reader writes.
 */
function missingFiles(file: string, text: string): string[] {
  const said = text.replaceAll(/^`[^`\n]+`:$(?=\n\n```)/gm, "");
  const named = [...said.matchAll(/`((?:src|test|scripts|proto|examples|deploy|bench|docs)\/[\w./-]+)`/g)];
  const missing = named.filter(
    ([, name = ""]) => !/\/(NAME|AREA|TIMESTAMP)\b/.test(name) && !existsSync(path.join(root, name)),
  );
  return missing.map(([, name]) => `${file}: ${name}`);
}

/** What a page says to be "in" a file of src (`redeemOnce` in `src/database/redemption.ts`) and that the file does not declare. */
function missingNames(file: string, text: string): string[] {
  const named = [...text.matchAll(/`(?:\w+\.)?(\w+)`\s+in\s+`(src\/[\w./-]+\.ts)`/g)];
  return named.flatMap(([, name = "", source = ""]) => {
    const declared = new RegExp(
      `\\b(?:const|let|function\\*?|class|interface|type) ${name}\\b|^ +(?:async )?[#*]*${name}\\(|^ +${name}:`,
      "m",
    );
    const found = existsSync(path.join(root, source)) && declared.test(read(source));
    return found ? [] : [`${file}: ${name} in ${source}`];
  });
}

describe("the pages in Markdown", () => {
  const pages = pagesOf(".");

  it("are found", () => {
    expect(pages).toContain("README.md");
    expect(pages.length).toBeGreaterThan(20);
    expect(statSync(path.join(root, "docs/decisions")).isDirectory()).toBe(true);
  });

  it.each(pages)("%s has no link that leads nowhere", (page) => {
    expect(brokenLinks(page, read(page))).toEqual([]);
  });

  // decisions tell of the tree of their time
  it.each(pages.filter((page) => !/decisions\/\d|CHANGELOG/.test(page)))("%s names files that exist", (page) => {
    expect(missingFiles(page, read(page))).toEqual([]);
    expect(missingNames(page, read(page))).toEqual([]);
  });

  it("would be found to have a broken link, a broken anchor, a missing file, a name that its file does not have", () => {
    const text =
      "[a](docs/none.md) [b](README.md#no-such-heading) [c](https://example.com/) `src/none.ts` `[d](none.md)`\n`src/mine.ts`:\n\n```ts\n```";
    expect(brokenLinks("README.md", text)).toEqual(["README.md: docs/none.md", "README.md: README.md#no-such-heading"]);
    expect(missingFiles("README.md", text)).toEqual(["README.md: src/none.ts"]);
    const names = "`schema` in `src/database/schema.ts`, `SCHEMA` in `src/database/schema.ts`";
    expect(missingNames("README.md", names)).toEqual(["README.md: schema in src/database/schema.ts"]);
  });
});
