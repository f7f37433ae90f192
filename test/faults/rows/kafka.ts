import { setTimeout as sleep } from "node:timers/promises";
import { type Call, calmP99, type Operation } from "../harness/ledger.ts";
import type { Row } from "../harness/row.ts";
import { type Replica, repeatsOf, type System } from "../harness/system.ts";
import { startWriter } from "../harness/writer.ts";

const section = "Kafka and outbox";

/** Events that a call writes, each one once. */
const eventsOf: readonly [type: string, operation: Operation][] = [
  ["USER_SIGNUP", "sign-up"],
  ["USER_EMAIL_VERIFICATION", "sign-up"],
  ["USER_LOGIN", "redeem"],
];

/** Whether a call wrote in a time for sure. */
function isWritten({ at, endedAt, outcome }: Call, from: number, to: number): boolean {
  return outcome === "ok" && at >= from && endedAt !== null && endedAt <= to;
}

function mayBeWritten({ at, endedAt, outcome }: Call, from: number, to: number): boolean {
  return outcome !== "refused" && at <= to && (endedAt ?? from) >= from;
}

interface Sample {
  /** Of the replica with the larger one, bytes. */
  readonly heap: number;
  /** Seconds. */
  readonly oldestAge: number;
  /** All replicas. */
  readonly ready: boolean;
}

/** What the replicas say of themselves. */
async function sampleOf({ replicas }: System): Promise<Sample> {
  const of = <T>(read: (replica: Replica) => Promise<T>) => Promise.all(replicas.map(read));
  const heaps = await of((replica) => replica.metric("nodejs_heap_size_used_bytes"));
  const ages = await of((replica) => replica.metric("outbox_oldest_age_seconds"));
  const ready = await of((replica) => replica.ready());
  return { heap: Math.max(...heaps), oldestAge: Math.max(...ages), ready: ready.every((status) => status === 200) };
}

export const KAFKA: readonly Row[] = [
  {
    id: "F-10",
    section,
    title: "the broker is down",
    async run(system, { load, ledger, long, progress, check }) {
      // healthy before and after, together as long as the fault
      const downSeconds = long ? 600 : 60;
      await load.prepare(6);
      load.start();
      await sleep(5_000);
      const watch = async (seconds: number, text: string) => {
        progress(`${text} for ${seconds} s`);
        const from = performance.now();
        const samples: Sample[] = [];
        while (performance.now() < from + seconds * 1_000) {
          await sleep(1_000);
          samples.push(await sampleOf(system));
        }
        return { calls: ledger.between(from, performance.now()), samples };
      };
      const before = await watch(downSeconds / 2, "before the fault");

      await system.kafka.kill();
      const [down, downAt] = [performance.now(), Date.now()];
      const kept = await system.count("outbox WHERE status NOT IN ('pending', 'waiting')");
      const meanwhile = await watch(downSeconds, "the broker is down");
      const { calls } = ledger;
      const first = performance.now();
      const waiting = await system.rows<{ type: string; n: number }>(
        `SELECT event_type AS type, COUNT(*) AS n FROM outbox WHERE status IN ('pending', 'waiting') AND created_at >= ${downAt} GROUP BY event_type`,
      );
      const last = performance.now();
      const pending = await system.pending();
      const keptStill = await system.count("outbox WHERE status NOT IN ('pending', 'waiting')");
      const ofType = (type: string) => Number(waiting.find((row) => row.type === type)?.n ?? 0);
      const written = (operation: Operation) => ({
        lowest: calls.filter((call) => call.operation === operation && isWritten(call, down, first)).length,
        highest: calls.filter((call) => call.operation === operation && mayBeWritten(call, down, last)).length,
      });
      for (const [type, operation] of eventsOf) {
        const { lowest, highest } = written(operation);
        const n = ofType(type);
        check(n >= lowest && n <= highest, `${n} ${type} wait, not ${lowest} to ${highest} as calls wrote them`);
      }
      check(ofType("USER_SIGNUP") > 0, "no event waits while the broker is down");
      check(keptStill === kept, `${keptStill - kept} events left the outbox while the broker was down`);

      await system.kafka.restart();
      progress("draining");
      const took = await system.drained(120_000);
      const arrival = pending / downSeconds;
      const drain = pending / (took / 1_000);
      check(drain >= 5 * arrival, `drained at ${drain.toFixed(1)} a second, ${arrival.toFixed(1)} arrived`);
      const after = await watch(downSeconds / 2, "after the fault");
      // the metric is measured each 30 s
      for (let seconds = 0; seconds < 40 && (await sampleOf(system)).oldestAge > 30; seconds++) await sleep(1_000);
      const { oldestAge } = await sampleOf(system);
      await load.stop();

      check(
        meanwhile.calls.every(({ outcome }) => outcome !== "unknown"),
        "calls failed while the broker was down",
      );
      check(
        meanwhile.samples.every(({ ready }) => ready),
        "readiness fell",
      );
      const age = Math.max(...meanwhile.samples.map(({ oldestAge }) => oldestAge));
      check(age >= downSeconds - 50, `outbox_oldest_age_seconds rose only to ${Math.round(age)}`);
      check(oldestAge < 30, `outbox_oldest_age_seconds is ${Math.round(oldestAge)} after the events were sent`);
      // what is left after garbage collections, half a minute before the fault and at its end
      const floorOf = ({ samples }: { samples: Sample[] }) => Math.min(...samples.slice(-30).map(({ heap }) => heap));
      const grew = Math.round((floorOf(meanwhile) - floorOf(before)) / 2 ** 20);
      check(grew < 32, `the heap grew by ${grew} MiB`);
      const healthy = calmP99([...before.calls, ...after.calls], 10_000);
      const p99 = calmP99(meanwhile.calls, 10_000);
      check(
        p99 <= Math.max(1.2 * healthy, healthy + 20),
        `p99 ${p99} ms while the broker was down, else ${healthy} ms`,
      );
      return {
        did: `killed for ${downSeconds} s under mixed load, then started again; p99 of calm moments at most 1.2 times, or 20 ms more than, that of ${downSeconds / 2} s before and ${downSeconds / 2} s after with the same load`,
        counted: `${pending} events waited, as calls wrote them, at ${arrival.toFixed(1)} a second, drained at ${Math.round(drain)} a second; oldest ${Math.round(age)} s; heap ${grew} MiB more; p99 ${healthy} ms before and after, ${p99} ms meanwhile`,
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
