import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { join } from "node:path";
import { type Outcome, type Row, SECTIONS } from "./row.ts";

const root = join(import.meta.dirname, "../../..");
const page = join(root, "docs/faults.md");

export interface Run {
  readonly date: string;
  readonly commit: string;
  readonly machine: string;
  /** `short`, `long`, or the rows that were named. */
  readonly extent: string;
}

export function describeRun(extent: string): Run {
  let commit = "no commit";
  try {
    const git = (...args: string[]) => execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim();
    commit = git("rev-parse", "--short", "HEAD");
    if (git("status", "--porcelain", "--", "src", "test") !== "") commit += " with changes";
  } catch {
    // not a checkout
  }
  const machine = `${availableParallelism()} cores of ${cpus()[0]?.model.trim() ?? "unknown"}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
  return { date: new Date().toISOString().slice(0, 16).replace("T", " "), commit, machine, extent };
}

/** One line of the table. */
export function lineOf(row: Row, outcome: Outcome | null, run: Run): string {
  const cells = (...texts: string[]) =>
    `| ${[row.id, row.title, ...texts].map((text) => text.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  if ("shownBy" in row) {
    return cells("", "", "", `shown by ${row.shownBy.map((file) => `\`${file}\``).join(", ")}`, "`npm test`");
  }
  if ("notShown" in row) return cells("", "", "", `not shown: ${row.notShown}`, "");
  if (outcome === null) return cells("", "", "", "not run yet", "");
  const { did, counted, recoveryMs, failures, skipped } = outcome;
  if (skipped !== undefined)
    return cells("", "", "", `skipped: ${skipped}`, `${run.date}, ${run.commit}, ${run.extent}`);
  const recovery = recoveryMs === undefined ? "" : `${(recoveryMs / 1_000).toFixed(1)} s`;
  const verdict = failures.length === 0 ? "held" : `FAILED: ${failures.join("; ")}`;
  return cells(did, counted, recovery, verdict, `${run.date}, ${run.commit}, ${run.extent}`);
}

/** The whole page. Rows that this run did not touch, or had to skip, keep their line. */
export function pageOf(rows: readonly Row[], outcomes: ReadonlyMap<string, Outcome>, run: Run): string {
  const earlier = new Map<string, string>();
  for (const line of existsSync(page) ? readFileSync(page, "utf8").split("\n") : []) {
    const id = /^\| ([A-Za-z]+(?:-\d\d)?) \|/.exec(line)?.[1];
    // a line from before its row could run says nothing of the row
    const ran = !/\| (not shown|shown by|not run yet|skipped:)[^|]*\|[^|]*\|$/.test(line);
    if (id !== undefined && ran) earlier.set(id, line);
  }
  const sections = SECTIONS.flatMap((section) => [
    "",
    `## ${section}`,
    "",
    "| row | fault | what was done | what was counted | worst recovery | verdict | run |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    ...rows
      .filter((row) => row.section === section)
      .map((row) => {
        const outcome = outcomes.get(row.id) ?? null;
        const says = outcome !== null && outcome.skipped === undefined;
        const kept = "run" in row && !says ? earlier.get(row.id) : undefined;
        return kept ?? lineOf(row, outcome, run);
      }),
  ]);
  return `${[...introduction(run), "", totalsOf(sections), ...sections].join("\n")}\n`;
}

/** What the lines of the page say together. A row that held lost nothing. */
function totalsOf(lines: readonly string[]): string {
  const ran = lines.filter((line) => /\| (held|FAILED)[^|]*\|[^|]*\|$/.test(line));
  const failed = ran.filter((line) => line.includes("| FAILED"));
  const sum = (what: RegExp) => ran.reduce((all, line) => all + Number(what.exec(line)?.[1] ?? 0), 0);
  const [calls, unknown] = [sum(/(\d+) calls, \d+ unknown/), sum(/\d+ calls, (\d+) unknown/)];
  const [events, repeats] = [sum(/(\d+) events, \d+ repeats/), sum(/\d+ events, (\d+) repeats/)];
  const lost =
    failed.length > 0
      ? `What failed is in the lines of ${failed.map((line) => line.split(" ")[1]).join(", ")}; in the others`
      : "In them";
  return [
    `Together: ${ran.length} rows, ${calls} calls (${unknown} without an answer), ${events} events (${repeats} repeats).`,
    `${lost} events lost 0, phantom 0, order violations 0; acknowledged writes lost 0, phantom 0; honest sessions lost 0; codes redeemed twice 0.`,
  ].join("\n");
}

export function writePage(rows: readonly Row[], outcomes: ReadonlyMap<string, Outcome>, run: Run): void {
  writeFileSync(page, pageOf(rows, outcomes, run));
}

function introduction({ date, commit, machine, extent }: Run): string[] {
  return [
    "# Faults",
    "",
    "Faults that the service must survive, and how each is shown. `npm run test:faults` injects them and writes this page; it takes up to",
    "12 minutes. `npm run test:faults -- --long` also runs the rows that take longer, one of them (F-45) beside all others;",
    "`npm run test:faults -- F-20 F-26` runs only those rows.",
    "",
    `Last run: ${date} UTC, commit ${commit}, ${extent}; ${machine}. A row that a run leaves out keeps the line of its last run.`,
    "",
    "Replicas, MariaDB and Kafka are real processes. Clients write each call to a ledger: answered, refused, or unknown (a timeout, a",
    "reset, 503 with `Retry-After`). After the fault an auditor compares the ledger with the tables and the topics. A row holds only if",
    "it finds no acknowledged write lost, no write or event without a call, no event lost, no event of a user out of order, no session",
    "lost that nobody ended, no code redeemed twice, no refusal because of the fault, and no process that ended by itself.",
    "Recovery counts from the end of the fault to the first good answer of every kind of call. A row also fails if its fault did not",
    "happen, and is skipped by name, with the reason, where the machine cannot inject it.",
  ];
}
