import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "../harness/client.ts";
import { EVERYTHING, percentile, slowest } from "../harness/ledger.ts";
import { MIXED } from "../harness/load.ts";
import type { Row } from "../harness/row.ts";

const section = "Concurrency and load";

const residentMiB = (pid: number) =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;

export const LOAD: readonly Row[] = [
  {
    id: "F-35",
    section,
    title: "many users sign in at once",
    async run(system, { load, ledger, check }) {
      await load.prepare(10);
      const accounts = load.sessions.map(({ account }) => account);
      const patient = new Client(ledger, 120_000);
      const signIn = (n: number) => {
        const account = accounts[n % accounts.length];
        return account && patient.authorize(system.urls[n % 2] ?? "", account, "rotating");
      };
      const alone = performance.now();
      for (let n = 0; n < 4; n++) await signIn(n);
      const each = (performance.now() - alone) / 4;
      const from = performance.now();
      await Promise.all(Array.from({ length: 300 }, (_, n) => signIn(n)));
      const calls = ledger.between(from);
      // 64 hashes wait at each replica, others are refused: on a slow machine those take longer
      const barMs = Math.max(10_000, 2 * 64 * each);
      check(slowest(calls) <= barMs, `an answer took ${slowest(calls)} ms`);
      const refused = calls.filter(({ detail }) => detail.startsWith("429"));
      return {
        did: "300 logins at once",
        counted: `slowest answer ${slowest(calls)} ms, of one login alone ${Math.round(each)} ms; ${refused.length} times 429`,
      };
    },
  },
  {
    id: "F-44",
    section,
    title: "a storm of retries after an outage",
    long: true,
    async run(system, trial) {
      const { load, ledger, progress, check } = trial;
      await load.prepare(10);
      const before = performance.now();
      await load.during(20);
      const normal = ledger.between(before).filter(({ outcome }) => outcome === "ok").length / 20;
      load.againMs = 0;
      load.start({ ...MIXED, refreshes: 30, introspections: 60 });
      progress("the database is away for 10 s");
      await system.database.kill();
      await sleep(10_000);
      await system.database.restart();
      const back = performance.now();
      const recoveryMs = await trial.recovery(back, EVERYTHING, 10_000);
      await sleep(60_000);
      await load.stop();
      const later = ledger.between(back + 10_000, back + 60_000).filter(({ outcome }) => outcome === "ok").length / 50;
      check(later >= 0.8 * normal, `${Math.round(later)} good answers a second, ${Math.round(normal)} before`);
      return {
        did: "MariaDB killed for 10 s; five times the calls, repeated at once",
        counted: `good answers a second: ${Math.round(normal)} before, ${Math.round(later)} after`,
        recoveryMs,
      };
    },
  },
  {
    id: "F-45",
    section,
    title: "an hour of load",
    long: true,
    async run(system, { load, ledger, progress, check }) {
      await load.prepare(10);
      const sample = () => Math.round(Math.max(...system.replicas.map(({ pid }) => residentMiB(pid))));
      const sizes: number[] = [];
      load.start();
      for (let minute = 1; minute <= 60; minute++) {
        await sleep(60_000);
        sizes.push(sample());
        progress(`minute ${minute} of 60, ${sizes.at(-1)} MiB`);
      }
      await load.stop();
      const [early = 0, late = 0] = [sizes[19], sizes[59]];
      check(late - early < 40, `memory grew from ${early} to ${late} MiB in 40 minutes`);
      const third = (ledger.calls.at(-1)?.at ?? 0) / 3;
      const [p99, end] = [percentile(ledger.between(0, third), 0.99), percentile(ledger.between(2 * third), 0.99)];
      return {
        did: "60 minutes of mixed load",
        counted: `${early} MiB after 20 minutes, ${late} MiB after 60; p99 ${p99} ms at first, ${end} ms at last`,
      };
    },
  },
];
