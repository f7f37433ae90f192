import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { expect, it } from "@jest/globals";

const workerMetrics = new URL("../../src/telemetry/worker-metrics.ts", import.meta.url).href;

/** Two workers, one of which is being loaded for ever. */
const program = `
  import cluster from "node:cluster";
  import prom from ${JSON.stringify(import.meta.resolve("prom-client"))};
  import { answerForAllWorkers, answerForWorker, readMetrics } from ${JSON.stringify(workerMetrics)};
  if (cluster.isPrimary) {
    answerForAllWorkers();
    cluster.fork({ LOADS: "1" });
    cluster.fork().on("exit", () => process.exit());
  } else if (process.env.LOADS) {
    setInterval(() => {}, 1_000);
  } else {
    const registry = new prom.Registry();
    new prom.Counter({ name: "calls", help: "calls", registers: [registry] }).inc(7);
    answerForWorker(() => registry);
    process.send("hears");
    process.stdout.write(String(await readMetrics(registry)), () => process.exit());
  }
`;

it("metrics of all workers do not wait for one that is still being loaded", async () => {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "auth-worker-metrics-")), "program.mjs");
  writeFileSync(file, program);
  const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [said] = await Promise.all([text(child.stdout), once(child, "exit")]);
    expect(said).toContain("calls 7");
  } finally {
    child.kill("SIGKILL");
  }
}, 60_000);
