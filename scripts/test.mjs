// `npm test`; the usage below says what it runs.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const usage = `Usage: npm test -- [--unit | --clients] [files] [-t name] [other options of Jest]

  npm test                            every test but the clients in Go, Java and Python
  npm test -- test/oauth/grants       the files whose path matches
  npm test -- test/oauth -t rotat     the tests in them whose name matches
  npm run test:unit                   what needs no MariaDB, Kafka or Chromium (--unit)
  npm run test:clients                test/clients, and the clients in Go, Java and Python (--clients)

MariaDB and Kafka are looked for only if a file named *.services.test.ts runs.`;

const root = join(import.meta.dirname, "..");
const reports = join(root, "reports");
const jestProgram = [
  "--experimental-vm-modules",
  "--disable-warning=ExperimentalWarning",
  "--disable-warning=TimeoutNegativeWarning",
  join(root, "node_modules/jest/bin/jest.js"),
];

const args = process.argv.slice(2);
if (args.includes("--help") || args.includes("-h")) {
  console.log(usage);
  process.exit(0);
}
const clientsOnly = args.includes("--clients");
const allowed = clientsOnly ? ["clients"] : args.includes("--unit") ? ["unit"] : ["unit", "services"];
const jestArgs = args.filter((arg) => arg !== "--unit" && arg !== "--clients");
const byName = jestArgs.some((arg) => /^(-t|--testNamePattern)/.test(arg));

mkdirSync(reports, { recursive: true });
for (const name of ["unit", "services", "clients", "summary"]) rmSync(join(reports, `${name}.json`), { force: true });

const projects = allowed.filter(hasFiles);
if (projects.length === 0) {
  console.error(`No test file matches: ${jestArgs.join(" ")}\n\n${usage}`);
  process.exit(1);
}
// asked once here, so that a missing service is one message and parallel tests do not download the same thing
if (projects.includes("services")) await requireServices();

const totals = { passed: 0, failed: 0, skipped: [] };
for (const project of projects) run(project);

if (totals.skipped.length > 0) {
  console.log("\nSkipped:");
  for (const { name, reason } of totals.skipped) console.log(`  ${name}: ${reason}`);
}
writeFileSync(join(reports, "summary.json"), JSON.stringify({ ...totals, skipped: totals.skipped.length }));
const skipped = totals.skipped.length > 0 ? `, ${totals.skipped.length} skipped` : "";
if (byName && totals.passed + totals.failed === 0) {
  console.error("No test has such a name.");
  totals.failed = 1;
}
console.log(`\n${totals.passed} passed, ${totals.failed} failed${skipped}`);
process.exit(totals.failed > 0 ? 1 : 0);

function hasFiles(project) {
  const options = ["--selectProjects", project, "--passWithNoTests", "--listTests", ...jestArgs];
  const { stdout } = spawnSync(process.execPath, [...jestProgram, ...options], { cwd: root, encoding: "utf8" });
  return stdout.split("\n").some((line) => line.endsWith(".test.ts"));
}

function run(project) {
  const file = join(reports, `${project}.json`);
  const options = ["--selectProjects", project, "--passWithNoTests", "--json", `--outputFile=${file}`];
  const folder = temporaryFolder();
  const child = spawnSync(process.execPath, [...jestProgram, ...options, ...jestArgs], {
    cwd: root,
    stdio: ["inherit", "ignore", "inherit"],
    env: { ...process.env, TMPDIR: folder },
  });
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  let report;
  try {
    report = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    console.error(`jest wrote no report (exit status ${child.status ?? child.signal})`);
    totals.failed += 1;
    return;
  }
  // a file that could not be run at all has no tests of its own to count
  totals.passed += report.numPassedTests;
  totals.failed += report.numFailedTests + report.numRuntimeErrorTestSuites;
  if (child.status !== 0 && report.numFailedTests + report.numRuntimeErrorTestSuites === 0) totals.failed += 1;
  // Jest reports the tests with other names as skipped, too
  if (!byName) totals.skipped.push(...skippedTests(report));
}

/** Where the tests keep what they write, so that nothing of it is left behind. Some servers of theirs run as users of their own. */
function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "auth-tests-"));
  chmodSync(folder, 0o711);
  return folder;
}

function skippedTests(report) {
  return report.testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status !== "passed" && status !== "failed")
    .map(({ fullName, title, status }) => {
      const reason = status === "todo" ? "not written yet" : /\((needs [^)]*)\)/.exec(title)?.[1];
      return { name: fullName, reason: reason ?? "left out by its file or by the arguments" };
    });
}

async function requireServices() {
  console.log("Looking for MariaDB and Kafka (the first time they are fetched, which takes a minute) ...");
  const { startMariaDb } = await import("../test/support/mariadb.ts");
  const { startKafka } = await import("../test/support/kafka.ts");
  try {
    const database = await startMariaDb();
    await database.stop();
    const kafka = await startKafka();
    await kafka.stop();
  } catch (error) {
    console.error(`${error.message}\nWithout them: npm run test:unit`);
    process.exit(1);
  }
}
