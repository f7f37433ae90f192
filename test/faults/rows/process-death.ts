import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { auth, killedCommand } from "../harness/command.ts";
import { EVERYTHING, slowest } from "../harness/ledger.ts";
import type { Row, RunRow, Trial } from "../harness/row.ts";
import { type Replica, repeatsOf, type System } from "../harness/system.ts";
import { startWriter } from "../harness/writer.ts";

const section = "Process death";
/** A relay sends no more of a queue at once. */
const batchEvents = 200;

/** Calls that take less are killed within one and a half times what they take, so that most kills cut some off (milliseconds). */
const latestKillMs = 200;

async function durationOf(send: () => Promise<unknown>[]): Promise<number> {
  const from = performance.now();
  await Promise.all(send());
  return performance.now() - from;
}

/** Kills one replica and the other in turn, while calls of one kind are on their way to it. */
function killedDuring(
  about: Pick<RunRow, "id" | "title">,
  trials: { short: number; long: number },
  burst: (base: string, trial: Trial) => Promise<() => Promise<unknown>[]>,
): RunRow {
  return {
    ...about,
    section,
    async run(system, trial) {
      const { load, long, progress } = trial;
      const kills = long ? trials.long : trials.short;
      await load.prepare(4);
      const aim = Math.min(latestKillMs, 1.5 * (await durationOf(await burst(load.base(), trial))));
      let worst = 0;
      let cutOff = 0;
      for (let kill = 1; kill <= kills; kill++) {
        progress(`kill ${kill} of ${kills}`);
        const victim = system.replicas[kill % system.replicas.length];
        if (victim === undefined) throw new Error("no replica");
        const send = await burst(victim.url, trial);
        const from = performance.now();
        const calls = send();
        await sleep(Math.random() * aim);
        const killed = performance.now();
        await victim.kill();
        await Promise.all(calls);
        const underWay = trial.ledger.between(from, killed).filter(({ endedAt }) => (endedAt ?? killed) >= killed);
        if (underWay.some(({ outcome }) => outcome === "unknown")) cutOff++;
        const down = performance.now();
        await victim.start();
        worst = Math.max(worst, performance.now() - down);
      }
      trial.check(cutOff >= kills / 10, `only ${cutOff} of ${kills} kills cut a call off`);
      return {
        did: `${kills} kills at random within ${Math.round(aim)} ms of the calls`,
        counted: `${cutOff} kills cut calls off`,
        recoveryMs: worst,
      };
    },
  };
}

/** Without the answer, from the replica that is left. */
async function refreshUntilAnswered(base: string, { load }: Trial, index: number): Promise<void> {
  const session = load.sessions[index];
  if (session === undefined) return;
  for (let tries = 0, to = base; tries < 50; tries++, to = load.base()) {
    if ((await load.client.refresh(to, session)) || session.lost) return;
    await sleep(50);
  }
}

/** A table, what is refused on it, and the call that needs it. */
const statements: readonly [string, "INSERT" | "UPDATE", (base: string, trial: Trial) => Promise<unknown>][] = [
  ["users", "INSERT", (base, { load }) => load.client.signUp(base)],
  ["user_profiles", "INSERT", (base, { load }) => load.client.signUp(base)],
  ["outbox", "INSERT", (base, { load }) => load.client.signUp(base)],
  ["outbox", "INSERT", (base, trial) => signInAgain(base, trial)],
  ["oauth2_authorization_code", "INSERT", (base, trial) => signInAgain(base, trial)],
  ["oauth2_authorization_code", "UPDATE", (base, trial) => signInAgain(base, trial)],
  ["oauth2_authorization", "INSERT", (base, trial) => signInAgain(base, trial)],
  ["browser_session", "INSERT", (base, trial) => signInAgain(base, trial)],
  [
    "oauth2_authorization",
    "UPDATE",
    async (base, { load }) => load.sessions[0] && (await load.client.refresh(base, load.sessions[0])),
  ],
];

async function signInAgain(base: string, { load }: Trial): Promise<unknown> {
  const account = load.sessions[0]?.account;
  return account && (await load.client.signIn(base, account, "rotating"));
}

export const PROCESS_DEATH: readonly Row[] = [
  killedDuring(
    { id: "F-01", title: "kill -9 during sign-up" },
    { short: 8, long: 200 },
    async (base, { load }) =>
      () =>
        Array.from({ length: 6 }, () => load.client.signUp(base)),
  ),
  killedDuring(
    { id: "F-02", title: "kill -9 during code redemption" },
    { short: 8, long: 200 },
    async (base, { load }) => {
      const accounts = load.sessions.slice(0, 4).map(({ account }) => account);
      const codes = await Promise.all(accounts.map((account) => load.client.authorize(base, account, "rotating")));
      return () => codes.map(async (code) => code && (await load.client.redeem(base, code)));
    },
  ),
  killedDuring(
    { id: "F-03", title: "kill -9 during refresh" },
    { short: 8, long: 200 },
    async (base, trial) => () => [0, 1, 2, 3].map((index) => refreshUntilAnswered(base, trial, index)),
  ),
  {
    id: "F-04",
    section,
    title: "kill -9 of the relay before its mark",
    system: { databaseRelay: true },
    async run(system, { ledger, long, progress, check }) {
      const kills = long ? 100 : 8;
      // each lane is then always busy, and a quarter of its time between the broker's answer and the mark
      system.databaseRelay.delay(50);
      const writer = await startWriter(system, ledger, 50);
      for (let kill = 1; kill <= kills; kill++) {
        progress(`kill ${kill} of ${kills}`);
        const victim = system.replicas[kill % system.replicas.length];
        await sleep(1_000 + randomInt(500));
        await victim?.kill();
        await victim?.start();
      }
      const written = await writer.stop();
      check(writer.failed() === 0, `${writer.failed()} events could not be written`);
      system.databaseRelay.heal();
      const took = await system.drained();
      const repeats = await repeatsOf(system);
      check(repeats > 0, "no kill came between the broker's answer and the mark");
      check(repeats <= kills * batchEvents, `${repeats} repeats, more than a batch for each kill`);
      return {
        did: `${kills} kills at 50 events a second, MariaDB 100 ms away`,
        counted: `${written} events written`,
        recoveryMs: took,
      };
    },
  },
  {
    id: "F-05",
    section,
    title: "kill -9 during key rotation",
    system: { env: { JWKS_MAX_AGE: "2" } },
    async run(system, { load, long, progress, check }) {
      const kills = long ? 20 : 5;
      const { relay, env } = await system.relayFor();
      // each statement of the command takes 40 ms
      relay.delay(20);
      await load.prepare(4);
      load.start();
      const generations = async () => {
        const newest = "SELECT MAX(generation) AS n FROM signing_key WHERE key_use = 'access' GROUP BY alg";
        const [row] = await system.rows<{ n: number }>(`SELECT SUM(n) AS n FROM (${newest}) AS each_alg`);
        return Number(row?.n);
      };
      let midway = 0;
      let halves = 0;
      for (let kill = 1; kill <= kills; kill++) {
        progress(`kill ${kill} of ${kills}`);
        const before = await generations();
        const atHalf = kill % 2 === 1;
        const afterMs = randomInt(1_000);
        let connected: number | null = null;
        const isTime = async () => {
          if (atHalf) return (await generations()) > before;
          if (relay.connections > 0) connected ??= performance.now();
          return connected !== null && performance.now() > connected + afterMs;
        };
        const killed = await killedCommand(env, isTime, "key", "rotate");
        // a rotation adds a key of each of two algorithms
        const added = (await generations()) - before;
        if (killed && added < 2) midway++;
        if (killed && added === 1) halves++;
      }
      check(midway > kills / 2, `only ${midway} of ${kills} rotations died midway`);
      check(halves > 0, "no rotation died between its two keys");
      relay.heal();
      await auth(env, "key", "rotate");
      await sleep(3_000);
      await load.stop();
      const keys = system.urls.map((url) => createRemoteJWKSet(new URL(`${url}/oauth2/jwks`)));
      for (const { tokens } of load.sessions.filter(({ ended }) => ended === "no")) {
        for (const set of keys) {
          // expired ones have said what they had to: a key that is unknown is another error
          await jwtVerify(tokens.access_token, set).catch((error: { code: string }) =>
            check(error.code === "ERR_JWT_EXPIRED", `a token's key is not published: ${error.code}`),
          );
        }
      }
      await relay.close();
      return {
        did: `${kills} rotations killed at their statements, one let through, under load`,
        counted: `${midway} died midway, ${halves} of them between the two keys`,
      };
    },
  },
  {
    id: "F-06",
    section,
    title: "order of starts",
    starts: true,
    system: { replicas: 1 },
    async run(system, { long, progress, check }) {
      const [replica] = system.replicas;
      if (replica === undefined) throw new Error("no replica");
      const orders = ["service database kafka", "kafka service database", "database service kafka"];
      if (long) orders.push("service kafka database", "kafka database service", "database kafka service");
      let worst = 0;
      for (const order of orders) {
        progress(order);
        worst = Math.max(worst, await startInOrder(system, replica, order, check));
        await replica.kill();
      }
      return { did: orders.join("; "), counted: `${orders.length} orders`, recoveryMs: worst };
    },
  },
  {
    id: "F-07",
    section,
    title: "a statement of a transaction fails",
    async run(system, trial) {
      const { load, ledger, check } = trial;
      await load.prepare(2);
      for (const [table, verb, call] of statements) {
        await system.administer(
          `CREATE TRIGGER refused BEFORE ${verb} ON ${table} FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused'`,
        );
        const from = performance.now();
        await call(load.base(), trial);
        await system.administer("DROP TRIGGER refused");
        const last = ledger.between(from).at(-1);
        check(
          last?.outcome === "unknown",
          `${verb} on ${table}: ${last?.operation} ended ${last?.outcome} ${last?.detail}`,
        );
        const again = performance.now();
        await call(load.base(), trial);
        const after = ledger.between(again).at(-1);
        check(after?.outcome === "ok", `afterwards ${after?.operation} ended ${after?.outcome} ${after?.detail}`);
      }
      return { did: "a trigger that refuses one table's statement", counted: `${statements.length} statements` };
    },
  },
  {
    id: "F-08",
    section,
    title: "requests that no client means",
    async run(system, trial) {
      const { load, check } = trial;
      await load.prepare(2);
      const paths = [
        "/oauth2/token",
        "/oauth2/introspect",
        "/oauth2/authorize",
        "/login",
        "/api/users/signup",
        "/oauth2/par",
      ];
      const types = [
        "application/json",
        "application/x-www-form-urlencoded",
        "application/grpc",
        "text/plain; charset=utf-16",
      ];
      const bodies = [
        "",
        "{",
        "[]",
        "null",
        '{"__proto__":{"a":1}}',
        "a=%",
        "a=\0",
        "\u0000".repeat(1_000),
        "grant_type=".repeat(5_000),
      ];
      let sent = 0;
      for (const [url, path, type, body] of system.replicas.flatMap(({ url, internalUrl }) =>
        [url, internalUrl].flatMap((base) =>
          paths.flatMap((path) => types.flatMap((type) => bodies.map((body) => [base, path, type, body] as const))),
        ),
      )) {
        const headers = { "content-type": type };
        const { status } = await fetch(url + path, { method: "POST", headers, body, redirect: "manual" });
        sent++;
        check(status < 500, `POST ${path} as ${type} answered ${status}`);
      }
      await load.during(2);
      return { did: "POSTs of broken bodies to every listener", counted: `${sent} requests` };
    },
  },
  {
    id: "F-09",
    section,
    title: "little memory",
    long: true,
    system: { replicas: 1, env: { NODE_OPTIONS: "--max-old-space-size=256" } },
    async run(system, trial) {
      const { load, ledger } = trial;
      await load.prepare(4);
      const base = load.base();
      const account = load.sessions[0]?.account;
      if (account === undefined) throw new Error("no account");
      const large = "a".repeat(2 ** 20);
      await Promise.all([
        ...Array.from({ length: 500 }, () => load.client.authorize(base, account, "rotating")),
        ...Array.from({ length: 200 }, () =>
          fetch(`${system.urls[0]}/oauth2/token`, { method: "POST", body: new URLSearchParams({ a: large }) }).catch(
            () => null,
          ),
        ),
      ]);
      const recoveryMs = await Promise.all([load.during(5), trial.recovery(performance.now(), EVERYTHING, 10_000)]);
      return {
        did: "a heap of 256 MiB, 500 logins and 200 bodies of 1 MiB at once",
        counted: `slowest answer ${slowest(ledger.calls)} ms`,
        recoveryMs: recoveryMs[1],
      };
    },
  },
];

/** @returns milliseconds to readiness from the moment when service and database both ran */
async function startInOrder(system: System, replica: Replica, order: string, check: Trial["check"]): Promise<number> {
  await Promise.all([system.database.kill(), system.kafka.kill()]);
  let starting: Promise<number> | null = null;
  let both = 0;
  for (const part of order.split(" ")) {
    if (part === "kafka") await system.kafka.restart();
    if (part === "database") await system.database.restart();
    if (part === "service") {
      starting = replica.start().then(() => performance.now());
      starting.catch(() => undefined);
    }
    if (part !== "kafka") both = performance.now();
    if (part === "service" && !order.slice(0, order.indexOf(part)).includes("database")) {
      await until(async () => (await replica.alive()) === 200);
      check((await replica.ready()) === 503, `${order}: readiness is not 503 without a database`);
    }
  }
  const took = ((await starting) ?? 0) - both;
  // a service that waits must see the database at once; one that is started then has its code to load
  const barMs = order.indexOf("service") < order.indexOf("database") ? 5_000 : 15_000;
  check(took <= barMs, `${order}: ready only after ${Math.round(took)} ms`);
  return took;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const giveUp = performance.now() + 15_000; !(await condition()); await sleep(50)) {
    if (performance.now() > giveUp) throw new Error("not within 15 s");
  }
}
