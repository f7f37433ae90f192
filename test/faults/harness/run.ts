// `npm run test:faults`; the usage below says what it runs.
import { parseArgs } from "node:util";
import { ROWS } from "../rows/rows.ts";
import { totals } from "./auditor.ts";
import { describeRun, writePage } from "./page.ts";
import { type Outcome, type RunRow, runRow } from "./row.ts";
import { Servers } from "./system.ts";

const usage = `Usage: npm run test:faults -- [--long] [ROW...]

  npm run test:faults                  every short row, in at most 12 minutes on two cores
  npm run test:faults -- --long        more trials, and the long rows too; takes two to three hours
  npm run test:faults -- F-20 F-26     only those rows, long ones too

Needs MariaDB and Kafka as processes of its own: mariadbd on the PATH or Maven (Linux x64); Java 17 and Maven.
Writes docs/faults.md. Exit status 1 when a row failed.

Rows (* runs with --long or by its name):
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { help: { type: "boolean", short: "h" }, long: { type: "boolean" } },
});
const runnable = ROWS.filter((row): row is RunRow => "run" in row);
const unknown = positionals.filter((id) => !runnable.some((row) => row.id === id));
if (values.help || unknown.length > 0) {
  for (const id of unknown) console.error(`${id} is no row that runs here`);
  console.log(usage + runnable.map(({ id, title, long }) => `  ${id}${long ? "*" : " "} ${title}`).join("\n"));
  process.exit(values.help ? 0 : 2);
}

const long = values.long ?? false;
const named = positionals.length > 0;
const chosen = runnable.filter((row) => (named ? positionals.includes(row.id) : long || !row.long));
const run = describeRun(`${long ? "long" : "short"}${named ? ", rows by name" : ""}`);
// a borrowed server cannot be killed
delete process.env["TEST_DATABASE_URL"];
delete process.env["TEST_KAFKA_BROKERS"];
const servers = new Servers();
const ownServers: Servers[] = [];
const stopServers = () => Promise.all([servers, ...ownServers].map((each) => each.stop()));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void stopServers().finally(() => process.exit(130)));
}

const started = performance.now();
const outcomes = new Map<string, Outcome>();

/** Runs a row, says how it went, and writes the page. */
async function show(row: RunRow, servers: Servers): Promise<void> {
  const number = chosen.indexOf(row) + 1;
  const from = performance.now();
  const seconds = () => Math.round((performance.now() - from) / 1_000);
  const progress = (text: string) => {
    const line = `[${number}/${chosen.length}] ${row.id} ${row.title}: ${text} (${seconds()} s)`;
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line.slice(0, process.stderr.columns)}`);
    else process.stderr.write(`${line}\n`);
  };
  progress("starting");
  const outcome = await runRow(row, servers, { long, progress });
  outcomes.set(row.id, outcome);
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  writePage(ROWS, outcomes, run);
  const { did, counted, recoveryMs, failures, skipped } = outcome;
  if (skipped !== undefined) {
    console.log(`${row.id} skipped ${row.title}: ${skipped}`);
    return;
  }
  const recovery = recoveryMs === undefined ? "" : `; worst recovery ${(recoveryMs / 1_000).toFixed(1)} s`;
  console.log(`${row.id} ${failures.length === 0 ? "held  " : "FAILED"} ${row.title} (${seconds()} s)`);
  console.log(`     ${did}: ${counted}${recovery}`);
  for (const failure of failures) console.log(`     ${failure}`);
}

const besides = chosen
  .filter(({ beside }) => beside)
  .map(async (row) => {
    const own = new Servers();
    ownServers.push(own);
    await show(row, own);
  });
for (const row of chosen) if (!row.beside) await show(row, servers);
await Promise.all(besides);
await stopServers();
const failed = [...outcomes.values()].filter(({ failures }) => failures.length > 0).length;
const minutes = ((performance.now() - started) / 60_000).toFixed(1);
const worst = Math.max(0, ...[...outcomes.values()].map(({ recoveryMs = 0 }) => recoveryMs));
const audits = [...outcomes.values()].flatMap(({ audit }) => (audit === undefined ? [] : [audit]));
console.log(`\n${totals(audits)}; worst recovery ${(worst / 1_000).toFixed(1)} s.`);
const skips = [...outcomes.values()].filter(({ skipped }) => skipped !== undefined).length;
const held = outcomes.size - failed - skips;
console.log(`${held} held, ${failed} failed, ${skips} skipped, in ${minutes} minutes. The table is docs/faults.md.`);
process.exit(failed > 0 ? 1 : 0);
