// `npm run docs:standards`: writes docs/standards.md from the titles of the tests and of the security bench. With --check it only
// says whether the page is as it would be written, and which rows that must hold have neither a test nor a reason.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

const root = join(import.meta.dirname, "..");
const page = join(root, "docs/standards.md");
const areas = {
  A: "Authorization endpoint",
  B: "Login, session, logout pages",
  C: "Token endpoint, authorization code",
  D: "Refresh",
  E: "Client authentication",
  F: "Tokens and keys",
  G: "OpenID Connect",
  H: "Introspection, revocation, bearer use",
  I: "Further protocols",
  J: "FAPI 2.0 Security Profile",
  K: "Passwords, sign-up, reset",
  L: "HTTP surface and transport",
  M: "gRPC and Connect",
};

/** @returns {{ text: string, uncovered: string[] }} */
export function standardsPage() {
  const rows = JSON.parse(readFileSync(join(root, "test/support/standards/rows.json"), "utf8"));
  const reasons = JSON.parse(readFileSync(join(root, "test/support/standards/not-applicable.json"), "utf8"));
  const titles = titlesByRow();
  const lines = [
    "# Standards",
    "",
    "What the standards require, row by row, with the tests that check it. `npm run docs:standards` writes this page from the titles of",
    "the tests. `npm test -- FILE -t S-075` runs those of a row in a file. Level M must hold, S should hold, O holds where the feature exists, and D",
    "is decided in docs/decisions or docs/explanation/security.md.",
  ];
  const uncovered = [];
  for (const [area, name] of Object.entries(areas)) {
    lines.push("", `## ${area}. ${name}`, "", "| row | level | from | tests |", "| --- | --- | --- | --- |");
    for (const { row, level, source } of rows.filter((each) => each.area === area)) {
      const tests = titles.get(row) ?? [];
      const reason = reasons[row];
      if (tests.length === 0 && reason === undefined) uncovered.push(`${row} (${level})`);
      const shown = [...tests.map(({ title, file }) => `${cell(title)} (\`${file}\`)`), ...(reason ? [reason] : [])];
      lines.push(`| ${row} | ${level} | ${cell(source)} | ${shown.join("<br>") || "none yet"} |`);
    }
  }
  return { text: `${lines.join("\n")}\n`, uncovered };
}

/** A title is the first argument of a test, or the first value of a row of `it.each`; the bench's figures are named as it likes. */
const titleBegins = /(?:\b(?:it|test|describe|inBrowser|withIpv6)\(|\)\(|\[)\s*$/;

/** Titles begin with the rows they are about: "S-075, S-076 revokes ...". */
function titlesByRow() {
  const titles = new Map();
  for (const folder of ["test", "bench"]) {
    for (const file of sourcesOf(join(root, folder))) {
      const source = readFileSync(file, "utf8");
      for (const { groups, index } of source.matchAll(
        /(?<quote>["'`])(?<title>S-\d{3}(?:(?!\k<quote>)[^\\\n]|\\.)*)\k<quote>/g,
      )) {
        if (folder === "test" && !titleBegins.test(source.slice(Math.max(0, index - 100), index))) continue;
        const { title = "" } = groups ?? {};
        const [, numbers, rest] = /^((?:S-\d{3}(?:,? and |, |\/| )?)+):? ?(.*)$/.exec(title) ?? [];
        if (numbers === undefined || rest === "") continue;
        const text = rest.replaceAll(/\$\{[^}]*\}|%[sijdo#]/g, "…").replaceAll(/\\(.)/g, "$1");
        for (const row of numbers.match(/S-\d{3}/g) ?? []) {
          const known = titles.get(row) ?? [];
          if (known.some((each) => each.title === text)) continue;
          titles.set(row, [...known, { title: text, file: relative(root, file) }]);
        }
      }
    }
  }
  return titles;
}

function sourcesOf(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function cell(text) {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}

if (process.argv[1] === import.meta.filename) {
  const { text, uncovered } = standardsPage();
  if (!process.argv.includes("--check")) writeFileSync(page, text);
  else if (readFileSync(page, "utf8") !== text) {
    console.error("docs/standards.md is not what the tests say: npm run docs:standards");
    process.exitCode = 1;
  }
  console.log(
    uncovered.length === 0 ? "Every row has a test or a reason." : `Without test or reason: ${uncovered.join(", ")}`,
  );
  if (process.argv.includes("--check") && uncovered.some((row) => row.includes("(M)"))) process.exitCode = 1;
}
