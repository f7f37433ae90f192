// `npm test`: everything, or with --unit what needs no MariaDB, Kafka or Chromium; with --clients the clients in other languages, which
// take minutes to build and are not in everything. Other arguments go to jest.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const reports = join(root, "reports");
const args = process.argv.slice(2).filter((arg) => arg !== "--unit" && arg !== "--clients");
const unitOnly = process.argv.includes("--unit");
const clientsOnly = process.argv.includes("--clients");

mkdirSync(reports, { recursive: true });
for (const name of ["unit", "services", "clients", "summary"]) rmSync(join(reports, `${name}.json`), { force: true });

// asked once here, so that a missing service is one message and parallel tests do not download the same thing
if (!unitOnly && !clientsOnly) await requireServices();

const totals = { passed: 0, failed: 0, skipped: [] };
for (const project of clientsOnly ? ["clients"] : unitOnly ? ["unit"] : ["unit", "services"]) run(project);

if (totals.skipped.length > 0) {
  console.log("\nSkipped:");
  for (const { name, reason } of totals.skipped) console.log(`  ${name}: ${reason}`);
}
writeFileSync(join(reports, "summary.json"), JSON.stringify({ ...totals, skipped: totals.skipped.length }));
const skipped = totals.skipped.length > 0 ? `, ${totals.skipped.length} skipped` : "";
console.log(`\n${totals.passed} passed, ${totals.failed} failed${skipped}`);
process.exit(totals.failed > 0 ? 1 : 0);

function run(project) {
  const file = join(reports, `${project}.json`);
  const flags = [
    "--experimental-vm-modules",
    "--disable-warning=ExperimentalWarning",
    "--disable-warning=TimeoutNegativeWarning",
  ];
  const options = ["--selectProjects", project, "--passWithNoTests", "--json", `--outputFile=${file}`];
  const child = spawnSync(
    process.execPath,
    [...flags, join(root, "node_modules/jest/bin/jest.js"), ...options, ...args],
    { cwd: root, stdio: ["inherit", "ignore", "inherit"] },
  );
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
  for (const { assertionResults } of report.testResults) {
    for (const { fullName, title, status } of assertionResults) {
      if (status === "passed" || status === "failed") continue;
      const reason = status === "todo" ? "not written yet" : /\((needs [^)]*)\)/.exec(title)?.[1];
      totals.skipped.push({ name: fullName, reason: reason ?? "left out by its file or by the arguments" });
    }
  }
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
