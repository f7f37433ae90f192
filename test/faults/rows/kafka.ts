import { setTimeout as sleep } from "node:timers/promises";
import { percentile } from "../harness/ledger.ts";
import type { Row } from "../harness/row.ts";
import { repeatsOf } from "../harness/system.ts";
import { startWriter } from "../harness/writer.ts";

const section = "Kafka and outbox";

export const KAFKA: readonly Row[] = [
  {
    id: "F-10",
    section,
    title: "the broker is down",
    async run(system, { load, ledger, long, progress, check }) {
      const idleSeconds = long ? 60 : 8;
      const downSeconds = long ? 600 : 20;
      const [first] = system.replicas;
      if (first === undefined) throw new Error("no replica");
      await load.prepare(6);
      load.start();
      progress("before the fault");
      await sleep(idleSeconds * 1_000);
      await system.kafka.kill();
      const down = performance.now();
      const waiting = await system.pending();
      const heap = await first.metric("nodejs_heap_size_used_bytes");
      progress(`the broker is down for ${downSeconds} s`);
      await sleep(downSeconds * 1_000);
      const grew = (await first.metric("nodejs_heap_size_used_bytes")) - heap;
      const ready = await Promise.all(system.replicas.map((replica) => replica.ready()));
      check(
        ready.every((status) => status === 200),
        "readiness fell",
      );
      const pending = await system.pending();
      check(pending > waiting, "no event waits while the broker is down");
      await system.kafka.restart();
      const up = performance.now();
      const meanwhile = ledger.between(down, up);
      check(
        meanwhile.every(({ outcome }) => outcome !== "unknown"),
        "calls failed while the broker was down",
      );
      check(grew < 100 * 2 ** 20, `the heap grew by ${Math.round(grew / 2 ** 20)} MiB`);
      progress("draining");
      const took = await system.drained(120_000);
      await load.stop();
      const before = percentile(ledger.between(0, down), 0.99);
      return {
        did: `killed for ${downSeconds} s under mixed load, then started again`,
        counted: `${pending} events waited, drained in ${(took / 1_000).toFixed(1)} s; p99 ${before} ms before, ${percentile(meanwhile, 0.99)} ms meanwhile`,
        recoveryMs: took,
      };
    },
  },
  {
    id: "C-01",
    section,
    title: "three brokers restart in turn, leaders move",
    long: true,
    system: { brokers: 3 },
    async run(system, { ledger, long, progress, check }) {
      const restarts = long ? 200 : 6;
      const writer = await startWriter(system, ledger, 200);
      const from = performance.now();
      for (let restart = 1; restart <= restarts; restart++) {
        // SIGTERM: the broker hands its leaders to the others first
        await system.cluster.restart(restart % 3);
        const each = (performance.now() - from) / restart;
        progress(
          `restart ${restart} of ${restarts}, ${Math.round((each * (restarts - restart)) / 60_000)} minutes left`,
        );
      }
      const written = await writer.stop();
      const rate = Math.round((1_000 * written) / (performance.now() - from));
      check(rate >= 180, `only ${rate} events a second were written`);
      check(writer.failed() === 0, `${writer.failed()} events could not be written`);
      const took = await system.drained(300_000);
      const repeats = await repeatsOf(system);
      const share = (100 * repeats) / Math.max(1, written);
      check(share < 5, `${share.toFixed(1)} % repeats`);
      return {
        did: `${restarts} restarts at ${rate} events a second`,
        counted: `${written} events written, ${share.toFixed(2)} % repeats`,
        recoveryMs: took,
      };
    },
  },
];
