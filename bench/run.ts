// `npm run bench -- NAME`: measures one thing and prints it with the machine and the date.
import { execFileSync } from "node:child_process";
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { start } from "./start.ts";

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it must stay under; null where there is no such promise. */
  readonly bar: number | null;
}

interface Bench {
  readonly description: string;
  run(): Promise<Figure[]>;
}

/** One file a bench; add its name here. */
const benches: Record<string, Bench> = {
  start: { description: "the embedded default: start to first answer, memory a minute later (takes 75 s)", run: start },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { help: { type: "boolean", short: "h" }, json: { type: "boolean" } },
});
const chosen = positionals.map((name) => [name, benches[name]] as const);
const unknown = chosen.find(([, bench]) => bench === undefined);
if (values.help || chosen.length === 0 || unknown !== undefined) {
  if (unknown !== undefined) console.error(`there is no bench ${unknown[0]}\n`);
  console.log("Usage: npm run bench -- NAME... [--json]\n");
  for (const [name, { description }] of Object.entries(benches)) console.log(`  ${name.padEnd(10)} ${description}`);
  process.exit(values.help ? 0 : 2);
}

const machine = {
  cpu: `${cpus().length} x ${cpus()[0]?.model.trim() ?? "unknown"}`,
  memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
  node: process.version,
  commit: commit(),
  date: new Date().toISOString(),
};
let missed = 0;
const results: Record<string, readonly Figure[]> = {};
for (const [name, bench] of chosen) {
  const figures = (await bench?.run()) ?? [];
  results[name] = figures;
  missed += figures.filter(({ value, bar }) => bar !== null && value > bar).length;
}
if (values.json) console.log(JSON.stringify({ machine, results }, null, 2));
else {
  console.log(`${machine.date}  ${machine.cpu}, ${machine.memory}, Node ${machine.node}, ${machine.commit}`);
  for (const { name, value, unit, bar } of Object.values(results).flat()) {
    const judged = bar === null ? "" : `  ${value <= bar ? "within" : "OVER"} ${bar} ${unit}`;
    console.log(`  ${name.padEnd(42)} ${String(value).padStart(8)} ${unit}${judged}`);
  }
}
process.exit(missed > 0 ? 1 : 0);

function commit(): string {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return "no commit";
  }
}
