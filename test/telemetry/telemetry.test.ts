import { expect, test } from "@jest/globals";
import { Histogram, Registry } from "prom-client";
import { createMetrics } from "../../src/telemetry/metrics.ts";

test("the metrics of requests read as prom-client's own histogram of the same observations", async () => {
  const ours = createMetrics();
  const registry = new Registry();
  const theirs = new Histogram({
    name: "auth_request_seconds",
    help: "Requests by edge, operation and outcome",
    labelNames: ["edge", "operation", "outcome"] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  const times = [0, 0.0005, 0.001, 0.0011, 0.3, 10, 10.5, 75];
  for (const [n, seconds] of times.entries()) {
    const labels = { edge: n % 2 === 0 ? "http" : "grpc", operation: `/op${n % 3}`, outcome: "200" };
    ours.requests.observe(labels, seconds);
    theirs.observe(labels, seconds);
  }
  const linesOf = (text: string) =>
    text
      .split("\n")
      .filter((line) => line.includes("auth_request_seconds"))
      .sort();
  const expected = linesOf(await registry.metrics());
  expect(expected.length).toBeGreaterThan(50);
  expect(linesOf(await ours.registry.metrics())).toEqual(expected);
});
