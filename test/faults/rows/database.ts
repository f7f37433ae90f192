import { setTimeout as sleep } from "node:timers/promises";
import { type Connection, createConnection } from "mysql2/promise";
import { freeze } from "../../support/process.ts";
import { type Call, EVERYTHING, percentile, slowest } from "../harness/ledger.ts";
import { MIXED } from "../harness/load.ts";
import type { Row } from "../harness/row.ts";
import { SlowFsync } from "../harness/slow-fsync.ts";
import type { System } from "../harness/system.ts";
import { startWriter } from "../harness/writer.ts";

const section = "Database";
/** A call that meets two password hashes instead of one is later by this, and whether it does is chance (milliseconds). */
const oneMoreHash = 50;

/** Writes of a refresh and of a redemption, each with the name of a trigger on it. */
const conflicting = [
  ["conflict_of_authorization", "UPDATE ON oauth2_authorization"],
  ["conflict_of_code", "UPDATE ON oauth2_authorization_code"],
  ["conflict_of_event", "INSERT ON outbox"],
] as const;

/** Kills the service's connections. @param by a connection that was there before @returns how many */
async function killConnections(system: System, by: Connection): Promise<number> {
  const name = new URL(system.parts.databaseUrl).pathname.slice(1);
  const [rows] = await by.query(
    `SELECT id FROM information_schema.processlist WHERE db = '${name}' AND id <> CONNECTION_ID()`,
  );
  const ids = (rows as { id: number }[]).map(({ id }) => id);
  // one may have ended meanwhile
  for (const id of ids) await by.query(`KILL ${id}`).catch(() => undefined);
  return ids.length;
}

async function status(system: System, name: string): Promise<number> {
  const [row] = await system.rows<{ Value: string }>(`SHOW GLOBAL STATUS LIKE '${name}'`);
  return Number(row?.Value);
}

export const DATABASE: readonly Row[] = [
  {
    id: "F-20",
    section,
    title: "MariaDB killed with -9, back after 2 s",
    async run(system, trial) {
      const { load, ledger, long, progress, check } = trial;
      const kills = long ? 20 : 3;
      await load.prepare(6);
      load.start();
      await sleep(2_000);
      let worst = 0;
      for (let kill = 1; kill <= kills; kill++) {
        progress(`kill ${kill} of ${kills}`);
        const killed = performance.now();
        await system.database.kill();
        await sleep(2_000);
        const away = ledger.between(killed, performance.now());
        check(
          away.some(({ outcome }) => outcome !== "ok"),
          "no call came while MariaDB was away",
        );
        const keys = await Promise.all(system.urls.map(async (url) => (await fetch(`${url}/oauth2/jwks`)).status));
        check(
          keys.every((code) => code === 200),
          "the key set was not served without the database",
        );
        await system.database.restart();
        worst = Math.max(worst, await trial.recovery(performance.now(), EVERYTHING));
      }
      await load.stop();
      const failed = ledger.calls.filter(({ outcome }) => outcome === "unknown");
      check(slowest(failed) <= 2_000, `an error took ${slowest(failed)} ms`);
      return {
        did: `${kills} kills under mixed load`,
        counted: `slowest answer ${slowest(ledger.calls)} ms`,
        recoveryMs: worst,
      };
    },
  },
  {
    id: "F-22",
    section,
    title: "deadlocks that the service loses",
    async run(system, { load, ledger, long, check }) {
      await load.prepare(6);
      const before = await status(system, "Innodb_deadlocks");
      const other = await createConnection(system.parts.databaseUrl);
      let own = 0;
      const lostHere = ({ errno }: { errno?: number }) => {
        if (errno === 1213) own++;
      };
      await other.query("CREATE TABLE weight (n INT) ENGINE=InnoDB");
      await other.query(`INSERT INTO weight SELECT seq FROM seq_1_to_1000`);
      load.start({ ...MIXED, logins: 4, refreshes: 10 });
      // heavier than any transaction of the service, so that InnoDB ends the service's; in the opposite order
      for (const until = performance.now() + (long ? 60_000 : 8_000); performance.now() < until; ) {
        await other.query("START TRANSACTION");
        await other.query("UPDATE weight SET n = n + 1");
        await other.query("SELECT code_hash FROM oauth2_authorization_code FOR UPDATE").catch(lostHere);
        await other.query("SELECT uuid FROM users FOR UPDATE").catch(lostHere);
        await other.query("ROLLBACK");
        await sleep(20);
      }
      await load.stop();
      await other.query("DROP TABLE weight");
      other.destroy();
      const deadlocks = (await status(system, "Innodb_deadlocks")) - before - own;
      check(deadlocks > 0, "the service lost no deadlock");
      const failed = ledger.calls.filter(({ outcome }) => outcome === "unknown");
      check(failed.length === 0, `${failed.length} calls failed: ${failed[0]?.detail}`);
      return { did: "a transaction that locks the same rows in the opposite order", counted: `${deadlocks} deadlocks` };
    },
  },
  {
    id: "F-23",
    section,
    title: "a row is locked for 8 s",
    async run(system, { load, ledger, check }) {
      await load.prepare(6);
      // MariaDB's own bound for a row's lock, and what a call takes beside it
      const lockedAnswer = 2_000 + 1_000;
      const locked = load.sessions.find(({ clientId }) => clientId === "rotating");
      if (locked === undefined) throw new Error("no session that rotates");
      locked.busy = true;
      load.start();
      // as long as the row is locked afterwards: both phases have a 99th percentile of as many calls
      await sleep(8_000);
      const from = performance.now();
      const other = await createConnection(system.parts.databaseUrl);
      await other.query("START TRANSACTION");
      await other.query(`SELECT id FROM oauth2_authorization WHERE id = '${locked.sid}' FOR UPDATE`);
      const tries = Promise.all(Array.from({ length: 6 }, () => load.client.refresh(load.base(), locked)));
      await sleep(8_000);
      await tries;
      await other.query("ROLLBACK");
      other.destroy();
      await load.stop();
      locked.busy = false;
      const during = ledger.between(from);
      const own = during.filter(({ ids, operation }) => ids["sid"] === locked.sid && operation === "refresh");
      const others = during.filter(({ ids }) => ids["sid"] !== locked.sid);
      check(
        own.every(({ outcome }) => outcome === "unknown"),
        "a refresh of the locked row was not refused with a hint",
      );
      check(slowest(own) <= lockedAnswer, `an answer took ${slowest(own)} ms`);
      check(
        others.every(({ outcome }) => outcome !== "unknown"),
        "others failed",
      );
      const before = percentile(ledger.between(0, from), 0.99);
      const meanwhile = percentile(others, 0.99);
      check(
        meanwhile <= Math.max(1.2 * before, before + oneMoreHash),
        `p99 of others ${meanwhile} ms, ${before} ms before`,
      );
      return {
        did: "SELECT ... FOR UPDATE of one authorization, six refreshes of it under mixed load",
        counted: `refreshes of the locked row answered after ${slowest(own)} ms; p99 of others ${meanwhile} ms, ${before} ms before`,
      };
    },
  },
  {
    id: "F-24",
    section,
    title: "snapshot conflict (error 1020)",
    system: { databaseOptions: ["--innodb-snapshot-isolation=ON"] },
    async run(system, { load, ledger, long, check }) {
      await load.prepare(4);
      const rounds = long ? 100 : 10;
      // the service's isolation level, READ COMMITTED, has no snapshot to conflict with: a trigger raises the error in one write of seven
      await system.administer("CREATE SEQUENCE conflicts NOCACHE");
      for (const [name, statement] of conflicting) {
        const raise =
          "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1020, MESSAGE_TEXT = 'Record has changed since last read'";
        await system.administer(
          `CREATE TRIGGER ${name} BEFORE ${statement} FOR EACH ROW BEGIN IF NEXTVAL(conflicts) % 7 = 0 THEN ${raise}; END IF; END`,
        );
      }
      // what the server does to one that has a snapshot
      const probe = await createConnection(system.parts.databaseUrl);
      let probed = 0;
      for (let round = 0; round < rounds; round++) {
        await probe.query("START TRANSACTION WITH CONSISTENT SNAPSHOT");
        const rotating = load.sessions.filter(({ clientId }) => clientId === "rotating");
        await Promise.all(
          rotating.flatMap((session) => Array.from({ length: 6 }, () => load.client.refresh(load.base(), session))),
        );
        await probe.query("SELECT id FROM oauth2_authorization FOR UPDATE").catch(({ errno }: { errno?: number }) => {
          if (errno === 1020) probed++;
        });
        await probe.query("ROLLBACK");
        const [session] = load.sessions;
        const code = session && (await load.client.authorize(load.base(), session.account, "rotating"));
        if (code) await load.client.redeem(load.base(), code);
      }
      probe.destroy();
      const [row] = await system.rows<{ n: number }>("SELECT NEXTVAL(conflicts) AS n");
      const raised = Math.floor((Number(row?.n) - 1) / 7);
      for (const [name] of conflicting) await system.administer(`DROP TRIGGER ${name}`);
      await system.administer("DROP SEQUENCE conflicts");
      check(raised > 0, "the service met no error 1020");
      check(probed > 0, "the server raised no error 1020 against a snapshot");
      const failed = ledger.calls.filter(({ outcome }) => outcome === "unknown");
      check(failed.length === 0, `${failed.length} calls failed: ${failed[0]?.detail}`);
      return {
        did: `${rounds} rounds of parallel refreshes with innodb_snapshot_isolation=ON, one write in seven refused with 1020`,
        counted: `${raised} conflicts of the service, ${probed} of a transaction with a snapshot beside it`,
      };
    },
  },
  {
    id: "F-25",
    section,
    title: "too many connections",
    async run(system, trial) {
      const { load, ledger, check } = trial;
      await load.prepare(6);
      const [before] = await system.rows<{ n: number }>("SELECT @@max_connections AS n");
      const refusals = await status(system, "Connection_errors_max_connections");
      load.start();
      const other = await createConnection(system.parts.databaseUrl);
      await other.query("SET GLOBAL max_connections = 10");
      let restored = 0;
      try {
        await killConnections(system, other);
        const account = load.sessions[0]?.account;
        if (account === undefined) throw new Error("no account");
        const parallel = Array.from({ length: 100 }, (_, n) =>
          n % 2 === 0 ? load.client.authorize(load.base(), account, "rotating") : load.client.signUp(load.base()),
        );
        await Promise.all(parallel);
        await sleep(1_000);
      } finally {
        await other.query(`SET GLOBAL max_connections = ${before?.n ?? 300}`);
        other.destroy();
        restored = performance.now();
      }
      const recoveryMs = await trial.recovery(restored, EVERYTHING);
      await load.stop();
      const turnedAway = (await status(system, "Connection_errors_max_connections")) - refusals;
      check(turnedAway > 0, "MariaDB refused no connection");
      check(slowest(ledger.calls) <= 10_000, "a client waited more than 10 s");
      const refused = ledger.calls.filter(({ outcome, detail }) => outcome === "refused" && detail.startsWith("429"));
      return {
        did: "max_connections 10, every connection cut, 50 logins and 50 sign-ups at once",
        counted: `${turnedAway} connections refused; slowest answer ${slowest(ledger.calls)} ms; ${refused.length} times 429`,
        recoveryMs,
      };
    },
  },
  {
    id: "F-26",
    section,
    title: "connections are killed",
    system: { databaseRelay: true },
    async run(system, trial) {
      const { load, ledger, long, check } = trial;
      await load.prepare(6);
      // transactions take long enough to be hit
      system.databaseRelay.delay(5);
      load.start();
      const seconds = long ? 60 : 6;
      const from = performance.now();
      const other = await createConnection(system.parts.databaseUrl);
      let killed = 0;
      const times: { from: number; to: number }[] = [];
      while (performance.now() < from + seconds * 1_000) {
        const began = performance.now();
        killed += await killConnections(system, other);
        times.push({ from: began, to: performance.now() });
        await sleep(200);
      }
      other.destroy();
      system.databaseRelay.heal();
      const recoveryMs = await trial.recovery(performance.now(), EVERYTHING);
      await load.stop();
      const underWay = ledger
        .between(from)
        .filter(({ at, endedAt }) => times.some((time) => at <= time.to && (endedAt ?? time.from) >= time.from));
      const failed = ledger.calls.filter(({ outcome }) => outcome === "unknown");
      check(killed >= times.length, `only ${killed} connections were there to be killed in ${times.length} turns`);
      check(underWay.length > 0, "no call was under way when connections were killed");
      check(failed.length <= underWay.length, `${failed.length} calls failed, more than were under way`);
      return {
        did: `every connection killed each 200 ms for ${seconds} s, MariaDB 10 ms away`,
        counted: `${killed} connections killed, ${underWay.length} calls under way, ${failed.length} of them failed; slowest answer ${slowest(ledger.calls)} ms`,
        recoveryMs,
      };
    },
  },
  {
    id: "F-27",
    section,
    title: "MariaDB stands still",
    async run(system, trial) {
      const { load, ledger, long, check } = trial;
      const seconds = long ? 30 : 8;
      const { pid } = system.database;
      const [first] = system.replicas;
      if (pid === null || first === undefined) throw new Error("no server to freeze");
      await load.prepare(6);
      load.start();
      await sleep(2_000);
      const heap = await first.metric("nodejs_heap_size_used_bytes");
      const from = performance.now();
      await freeze(pid);
      await sleep(seconds * 1_000);
      const ready = await Promise.all(system.replicas.map((replica) => replica.ready()));
      const alive = await Promise.all(system.replicas.map((replica) => replica.alive()));
      process.kill(pid, "SIGCONT");
      const healed = performance.now();
      const recoveryMs = await trial.recovery(healed, EVERYTHING);
      await load.stop();
      const grew = Math.round(((await first.metric("nodejs_heap_size_used_bytes")) - heap) / 2 ** 20);
      check(
        ready.every((code) => code === 503),
        `readiness was ${ready}`,
      );
      check(
        alive.every((code) => code === 200),
        `liveness was ${alive}`,
      );
      const during = ledger.between(from);
      // the service ends a call after 5 s
      check(slowest(during) <= 5_200, `an answer took ${slowest(during)} ms`);
      check(grew < 100, `the heap grew by ${grew} MiB`);
      return {
        did: `SIGSTOP for ${seconds} s under mixed load`,
        counted: `slowest answer ${slowest(during)} ms`,
        recoveryMs,
      };
    },
  },
  {
    id: "F-28",
    section,
    title: "the database's disk is full",
    long: true,
    system: { smallDisk: 300 },
    async run(system, trial) {
      const { load, ledger, long, progress, check } = trial;
      const seconds = long ? 60 : 10;
      await load.prepare(8);
      load.start();
      await sleep(2_000);
      progress("until a write needs more room");
      // what the tables have room for is soon used up
      const writer = await startWriter(system, ledger, 50);
      const filled = performance.now();
      let ended: number | null = null;
      /** InnoDB ends its server when a rollback needs room. */
      const watch = async (pauseMs: number) => {
        if (system.dead().includes("MariaDB")) ended ??= performance.now();
        else system.disk.fill();
        await sleep(pauseMs);
      };
      const isRefused = ({ detail }: Call) => detail.startsWith("503") || detail.includes("temporarily_unavailable");
      while (!ledger.between(filled).some(isRefused) && performance.now() < filled + 60_000) await watch(50);
      await writer.stop();
      progress(`full for ${seconds} s`);
      const full = performance.now();
      let documents = 0;
      while (performance.now() < full + seconds * 1_000) {
        const paths = ["/oauth2/jwks", "/.well-known/openid-configuration"];
        for (const url of system.urls.flatMap((url) => paths.map((path) => url + path))) {
          const { status } = await fetch(url);
          check(status === 200, `${url} answered ${status}`);
          documents++;
        }
        await watch(100);
      }
      const until = performance.now();
      const left = system.disk.free;
      const { crash } = system.disk;
      system.disk.empty();
      // as a service manager would, once there is room
      if (ended !== null) await system.database.restart();
      const recoveryMs = await trial.recovery(performance.now(), EVERYTHING, 10_000);
      await load.stop();
      const during = ledger.between(filled, until).filter(({ operation }) => operation !== "write");
      const failed = during.filter(({ outcome }) => outcome === "unknown");
      const withoutServer = ended ?? until;
      const read = during.filter(
        ({ operation, endedAt }) => operation === "introspect" && (endedAt ?? until) < withoutServer,
      );
      check(ended !== null || left < 2 ** 16, `${left} bytes were free`);
      check(failed.length > 0, "no write was refused");
      check(
        failed.every(isRefused),
        `a call ended otherwise than with 503: ${failed.find((call) => !isRefused(call))?.detail}`,
      );
      check(read.length > 0 && read.every(({ outcome }) => outcome === "ok"), "introspection failed");
      check(slowest(during) <= 5_200, `an answer took ${slowest(during)} ms`);
      const died = ended === null ? "" : `MariaDB ended by itself after ${Math.round((ended - filled) / 1_000)} s`;
      check(ended === null || /out of disk space/i.test(crash), `${died}: ${crash}`);
      return {
        did: `MariaDB's data on a file system of 300 MiB, full for ${seconds} s under mixed load`,
        counted: [
          `${failed.length} calls answered 503, ${read.length} introspections and ${documents} key sets and metadata went on`,
          ...(ended === null
            ? []
            : [`${died} (InnoDB: out of disk space in rollback) and was started again with room`]),
          `slowest answer ${slowest(during)} ms`,
        ].join("; "),
        recoveryMs,
      };
    },
  },
  {
    id: "F-29",
    section,
    title: "fsync is slow",
    long: true,
    system: { databaseOptions: [] },
    async run(system, trial) {
      const { load, ledger, long, progress, check } = trial;
      const seconds = long ? 60 : 15;
      const { pid } = system.database;
      if (pid === null) throw new Error("no server to trace");
      await load.prepare(16);
      load.start({ ...MIXED, refreshes: 60, introspections: 24 });
      await sleep(3_000);
      const before = ledger.between(0);
      const slow = await SlowFsync.of(pid, 200);
      const from = performance.now();
      progress(`${seconds} s with a slow disk`);
      // more than it can take: those of one authorization follow each other
      const keeping = load.sessions.filter(({ clientId }) => clientId === "portal-client");
      const burst = Array.from({ length: 100 }, () =>
        keeping.map((session) => load.client.refresh(load.base(), session)),
      );
      await Promise.all([sleep(seconds * 1_000), ...burst.flat()]);
      const until = performance.now();
      const delayed = await slow.end();
      const recoveryMs = await trial.recovery(performance.now(), EVERYTHING);
      await load.stop();
      const during = ledger.between(from, until);
      const failed = during.filter(({ outcome }) => outcome === "unknown");
      const [p99, usual] = [percentile(during, 0.99), percentile(before, 0.99)];
      check(delayed > 0, "no fsync was delayed");
      const committed = during.filter(({ operation, outcome }) => operation === "redeem" && outcome === "ok");
      check(percentile(committed, 0.5) >= 200, "commits were not slow");
      check(slowest(ledger.calls) <= 6_000, `an answer took ${slowest(ledger.calls)} ms`);
      check(p99 <= 5_000, `p99 ${p99} ms, beyond the deadline`);
      check(
        failed.every(({ detail }) => detail.startsWith("503") || detail.includes("temporarily_unavailable")),
        `a call ended otherwise than with 503: ${failed.find(({ detail }) => !detail.startsWith("503"))?.detail}`,
      );
      return {
        did: `strace holds each fsync of MariaDB back for 200 ms, ${seconds} s under load with ten times the refreshes, 800 more at once`,
        counted: `${delayed} calls held back; p99 ${p99} ms, ${usual} ms before; ${failed.length} answered 503`,
        recoveryMs,
      };
    },
  },
];
