import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "../harness/client.ts";
import {
  calmP99,
  EVERYTHING,
  type Ledger,
  lowestQuarter,
  type Operation,
  type Outcome,
  slowest,
} from "../harness/ledger.ts";
import { MIXED } from "../harness/load.ts";
import { heldMiB } from "../harness/memory.ts";
import type { Row, Trial } from "../harness/row.ts";
import type { System } from "../harness/system.ts";

const section = "Concurrency and load";
const soakMinutes = 60;

/** Between two readings of a replica's memory (milliseconds). */
const readMs = 5_000;

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
      const killed = performance.now();
      await system.database.kill();
      await sleep(10_000);
      await system.database.restart();
      const back = performance.now();
      const storm = ledger.between(killed, back).filter(({ outcome }) => outcome === "unknown").length / 10;
      check(storm > normal, `only ${Math.round(storm)} calls a second failed and were repeated`);
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
    beside: true,
    async run(system, { load, ledger, progress, check }) {
      await load.prepare(10);
      const minutes: Minute[] = [];
      const from = performance.now();
      load.start();
      for (let number = 1; number <= soakMinutes; number++) {
        const minute = await watchMinute(system);
        minutes.push(minute);
        progress(`minute ${number} of ${soakMinutes}, ${Math.round(minute.memory)} MiB, ${minute.files} files`);
      }
      const until = performance.now();
      await load.stop();

      // the first third is for the warm-up
      const third = Math.floor(soakMinutes / 3);
      const [early, late] = [minutes.slice(third, 2 * third), minutes.slice(2 * third)];
      const memoryOf = (part: readonly Minute[]) => Math.round(lowestQuarter(part.map(({ memory }) => memory)));
      const [memory, memoryAtLast] = [memoryOf(early), memoryOf(late)];
      check(memoryAtLast <= 1.05 * memory, `memory ${memory} MiB, ${memoryAtLast} MiB at last`);
      const filesOf = (part: readonly Minute[]) => lowestQuarter(part.map(({ files }) => files));
      const [files, filesAtLast] = [filesOf(early), filesOf(late)];
      check(filesAtLast <= files + 8, `${files} open files, ${filesAtLast} at last`);
      const at = (share: number) => from + (until - from) * share;
      const p99 = calmP99(ledger.between(at(1 / 3), at(2 / 3)), 60_000);
      const p99AtLast = calmP99(ledger.between(at(2 / 3), until), 60_000);
      check(p99AtLast <= Math.max(1.2 * p99, p99 + 20), `p99 ${p99} ms, ${p99AtLast} ms at last`);
      const rows = await tableGrowth(system, ledger, check);
      return {
        did: `${soakMinutes} minutes of mixed load; the first third warms up, the calm minutes of the second are compared with those of the last`,
        counted: `memory without young objects ${memory} MiB, ${memoryAtLast} MiB at last; ${files} open files, ${filesAtLast} at last; p99 ${p99} ms, ${p99AtLast} ms at last; ${rows} rows in the tables, as calls wrote them`,
      };
    },
  },
];

/** What a minute of load was like. */
interface Minute {
  /** That the replicas hold, their mean, of the lowest quarter of the readings: what is left after garbage collections (MiB). */
  readonly memory: number;
  /** Open ones, of the replica with more. */
  readonly files: number;
}

async function watchMinute({ replicas }: System): Promise<Minute> {
  const from = performance.now();
  const pids = replicas.map(({ pid }) => pid);
  const readings: number[] = [];
  while (performance.now() < from + 60_000) {
    await sleep(readMs);
    const held = await Promise.all(replicas.map(heldMiB));
    readings.push(held.reduce((sum, each) => sum + each, 0) / held.length);
  }
  const files = Math.max(...pids.map((pid) => readdirSync(`/proc/${pid}/fd`).length));
  return { memory: lowestQuarter(readings), files };
}

/** Checks that each table has as many rows as the calls of the ledger write, and none that no call writes. @returns rows of all tables */
async function tableGrowth(system: System, ledger: Ledger, check: Trial["check"]): Promise<number> {
  const written = (operation: Operation, step?: string) => {
    const of = (...outcomes: Outcome[]) =>
      ledger.where(operation, outcomes).filter(({ ids }) => step === undefined || ids["step"] === step).length;
    return { least: of("ok"), most: of("ok", "unknown") };
  };
  const [signUps, logins] = [written("sign-up"), written("login", "password")];
  const [redemptions, signOuts] = [written("redeem"), written("sign-out")];
  const upTo = (most: number) => ({ least: 0, most });
  const computed: Record<string, { least: number; most: number }> = {
    users: signUps,
    user_profiles: signUps,
    email_verification: signUps,
    oauth2_authorization_code: logins,
    browser_session: logins,
    oauth2_authorization: redemptions,
    session_application: { least: redemptions.least - signOuts.most, most: redemptions.most },
    // sign-up and e-mail to verify; login, and a notice of a browser that was not seen before
    outbox: { least: 2 * signUps.least + redemptions.least, most: 2 * signUps.most + redemptions.most + logins.most },
    // those that are not expired yet
    revocation: upTo(2 * signOuts.most),
    oauth2_authorization_request: upTo(written("login", "authorize").most),
    rate_limit: upTo(2 * (signUps.most + logins.most) + 50),
  };
  const name = new URL(system.parts.databaseUrl).pathname.slice(1);
  const tables = await system.rows<{ name: string }>(
    `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = '${name}'`,
  );
  let all = 0;
  for (const { name } of tables) {
    const rows = await system.count(name);
    all += rows;
    const { least, most } = computed[name] ?? upTo(50);
    check(rows >= least && rows <= most, `${rows} rows in ${name}, not ${least} to ${most}`);
  }
  return all;
}
