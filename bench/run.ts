// `npm run bench -- NAME`: measures one thing and prints it with the machine and the date.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { events } from "./events.ts";
import { type Figure, isMissed, type Result } from "./figures.ts";
import { growth, LARGE_SIZE } from "./growth.ts";
import { batch, introspect, introspectCold, introspectOverHttp } from "./introspect.ts";
import { issuance } from "./issuance.ts";
import { loginFlood } from "./login-flood.ts";
import { pages } from "./pages.ts";
import { revokeLatency } from "./revoke-latency.ts";
import { rotate } from "./rotate.ts";
import { security } from "./security.ts";
import { start } from "./start.ts";
import { storms } from "./storms.ts";
import { flameGraph } from "./support/flame-graph.ts";
import { profileServices } from "./support/processes.ts";
import { verify } from "./verify.ts";

interface Bench {
  readonly description: string;
  /** Printed with the result where the server does not have a core of its own. */
  readonly notPinned?: string;
  /** It takes long: it runs only if it is named. */
  readonly onlyNamed?: true;
  /** @param size of `--size` */
  run(size?: number): Promise<readonly Figure[] | Result>;
}

const profileFolder = "reports/profiles";
const recordedFile = "bench/recorded.json";

/** One file a bench; add its name here. */
const benches: Record<string, Bench> = {
  start: {
    description: "the embedded default: start to first answer, memory a minute later; takes 75 s",
    notPinned: "not pinned to cores",
    run: start,
  },
  introspect: { description: "warm introspection over gRPC against an echo server", run: introspect },
  "introspect-cold": { description: "introspection of tokens never seen", run: introspectCold },
  "introspect-http": { description: "HTTP introspection against a bare Fastify route", run: introspectOverHttp },
  verify: {
    description: "the verifier library against gRPC introspection",
    notPinned: "the library runs in the process of the bench, which is not pinned",
    run: verify,
  },
  "revoke-latency": {
    description: "two replicas on MariaDB, fifty watchers, a thousand revocations",
    notPinned: "not pinned to cores",
    run: revokeLatency,
  },
  "login-flood": { description: "introspection while logins arrive at ten times what argon2 can do", run: loginFlood },
  security: { description: "the rows of docs/standards.md that speak of milliseconds or medians", run: security },
  pages: { description: "the login page, and a whole login with a passkey", run: pages },
  rotate: {
    description: "a hundred key rotations under five hundred verifications a second",
    notPinned: "not pinned to cores",
    run: rotate,
  },
  events: {
    description: "200 sign-ups a second on MariaDB, to a consumer of the Kafka topic",
    notPinned: "not pinned to cores",
    run: events,
  },
  batch: { description: "BatchIntrospect against single calls", run: batch },
  issuance: {
    description:
      "tokens, codes, pushed requests, key set and logins, against a bare program of the same statements and bare Argon2",
    run: issuance,
  },
  storms: {
    description: "ending everything of a user of 20,000 authorizations; introspection beside 48 sign-outs at once",
    run: storms,
  },
  growth: {
    description: `${LARGE_SIZE / 1e6} million authorizations against 10 thousand on MariaDB; takes half an hour and 9 GB of memory`,
    notPinned: "not pinned to cores",
    onlyNamed: true,
    run: growth,
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ...{ help: { type: "boolean", short: "h" }, json: { type: "boolean" }, size: { type: "string" } },
    ...{ profile: { type: "boolean" }, check: { type: "boolean" }, record: { type: "boolean" } },
  },
});
const unasked = Object.keys(benches).filter((name) => benches[name]?.onlyNamed !== true);
const named = positionals.length > 0 ? positionals : unasked;
const size = values.size === undefined ? undefined : Number(values.size);
const isSize = size === undefined || (Number.isSafeInteger(size) && size >= 10_000);
const chosen = named.map((name) => [name, benches[name]] as const);
const unknown = chosen.find(([, bench]) => bench === undefined);
if (values.help || unknown !== undefined || !isSize) {
  if (unknown !== undefined) console.error(`there is no bench ${unknown[0]}\n`);
  if (!isSize) console.error(`--size ${values.size} is not a number of at least 10000\n`);
  console.log(
    `Usage: npm run bench -- [NAME...] [--json] [--size AUTHORIZATIONS] [--profile] [--check | --record]

Without a name all of them but those marked *, which takes about twenty-two minutes.
  --profile  leaves a CPU profile and a flame graph (SVG) of each service process in ${profileFolder}/
  --check    fails where a ratio is more than 15 % below the recorded one (${recordedFile})
  --record   records the ratios of this run
  --size     of growth
`,
  );
  for (const [name, { description, notPinned }] of Object.entries(benches)) {
    const marked = benches[name]?.onlyNamed ? `${name} *` : name;
    console.log(`  ${marked.padEnd(15)} ${description}${notPinned === undefined ? "" : ` (${notPinned})`}`);
  }
  process.exit(values.help ? 0 : 2);
}

const machine = {
  cpu: `${cpus().length} x ${cpus()[0]?.model.trim() ?? "unknown"}`,
  memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
  node: process.version,
  commit: commit(),
  date: new Date().toISOString(),
};
if (values.profile) profileServices(profileFolder);
let missed = 0;
const results: Record<string, readonly Figure[] | Result> = {};
for (const [name, bench] of chosen) {
  if (!values.json) process.stderr.write(`${name} ...\n`);
  const result = (await bench?.run(size)) ?? [];
  results[name] = result;
  if ("ratio" in result) missed += result.ratio < result.bar ? 1 : 0;
  else missed += result.filter(isMissed).length;
}
if (values.profile) drawProfiles();
if (values.record) writeRecorded({ ...readRecorded(), ...ratiosOf(results) });
const fallen = values.check ? fallenBelow(readRecorded(), ratiosOf(results)) : [];
for (const line of fallen) console.error(line);
missed += fallen.length;
if (values.json) console.log(JSON.stringify({ machine, results }, null, 2));
else {
  console.log(`${machine.date}  ${machine.cpu}, ${machine.memory}, Node ${machine.node}, ${machine.commit}`);
  for (const [name, result] of Object.entries(results)) {
    console.log(lines(result).join("\n"));
    const notPinned = benches[name]?.notPinned;
    if (notPinned !== undefined) console.log(`    ${notPinned}`);
  }
}
process.exit(missed > 0 ? 1 : 0);

function drawProfiles(): void {
  for (const file of readdirSync(profileFolder).filter((name) => name.endsWith(".cpuprofile"))) {
    const path = join(profileFolder, file);
    writeFileSync(path.replace(/cpuprofile$/, "svg"), flameGraph(readFileSync(path, "utf8")));
    console.error(`profile: ${path}, and its flame graph beside it`);
  }
}

/** Every ratio to a bare program in the same run, by its name. */
type Ratios = Record<string, number>;

function ratiosOf(all: Readonly<Record<string, readonly Figure[] | Result>>): Ratios {
  const ratios = Object.entries(all).flatMap(([bench, result]): [string, number][] => {
    if ("ratio" in result) return [[bench, result.ratio]];
    return result.flatMap(({ name, value, atLeast }) => (atLeast === undefined ? [] : [[`${bench}: ${name}`, value]]));
  });
  return Object.fromEntries(ratios.map(([name, ratio]) => [name, Math.round(ratio * 100) / 100]));
}

function readRecorded(): Ratios {
  return existsSync(recordedFile) ? (JSON.parse(readFileSync(recordedFile, "utf8")) as Ratios) : {};
}

function writeRecorded(ratios: Ratios): void {
  writeFileSync(recordedFile, `${JSON.stringify(ratios, null, 2)}\n`);
}

function fallenBelow(recorded: Ratios, now: Ratios): string[] {
  return Object.entries(now).flatMap(([name, ratio]) => {
    const before = recorded[name];
    if (before === undefined || ratio >= before * 0.85) return [];
    return [`${name}: ${ratio}, more than 15 % below the recorded ${before}`];
  });
}

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

function lines(result: readonly Figure[] | Result): string[] {
  if ("ratio" in result) {
    const { what, ours, baseline, ratio, bar, note } = result;
    const judged = `${ratio.toFixed(2)} of it, ${ratio < bar ? "UNDER" : "within"} ${bar}`;
    return [`  ${what}`, `    ${Math.round(ours)} against ${Math.round(baseline)}: ${judged}`, `    ${note}`];
  }
  return result.map(({ name, value, unit, bar, atLeast = null }) => {
    const over = bar === null ? "" : `  ${value <= bar ? "within" : "OVER"} ${bar} ${unit}`;
    const judged = atLeast === null ? over : `  ${value >= atLeast ? "within" : "UNDER"} ${atLeast} ${unit}`;
    return `  ${name.padEnd(42)} ${String(value).padStart(8)} ${unit}${judged}`;
  });
}
