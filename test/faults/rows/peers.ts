import { setTimeout as sleep } from "node:timers/promises";
import { type Call, calmP99, EVERYTHING, percentile } from "../harness/ledger.ts";
import { grownMiB, type Memory, memoryOf, openFiles, residentMiB } from "../harness/memory.ts";
import type { Row, Shown, Trial } from "../harness/row.ts";
import type { Replica, System } from "../harness/system.ts";
import { type Attack, type Attacked, attack, type FloodAttack, type SlowAttack } from "../peers/attack.ts";

const section = "Concurrency and load";

const cutMs = 15_000;
/** On a busy machine a few calls are so much slower whatever is done to the service. */
const noiseMs = 100;
const memoryMiB = 50;
/** For two thousand connections that are open at the same time. */
const connectionsMiB = 100;
/** Calls of every kind are due within a second; the service has two after the attack. */
const normalMs = 3_000;
const calmMs = 12_000;
/** V8 collects within so long on an idle replica. */
const collectedMs = 30_000;
/** The clients of the load open more connections while answers are slow, and keep them. */
const fewFiles = 64;
/** A peer that ought to be cut waits so long for it. */
const holdMs = 20_000;

export const PEERS: readonly Row[] = [
  {
    id: "F-36",
    section,
    title: "slow headers, slow body, slow read",
    long: true,
    system: { replicas: 1 },
    async run(system, trial) {
      const [replica, ports] = target(system);
      // each that does not read keeps megabytes in the kernel
      const kinds: SlowAttack[] = [
        { slow: "http headers", port: ports.http, connections: 1_000 },
        { slow: "http body", port: ports.http, connections: 1_000 },
        { slow: "http read", port: ports.http, connections: 100 },
        { slow: "grpc headers", port: ports.grpc, connections: 1_000 },
        { slow: "grpc body", port: ports.grpc, connections: 1_000 },
        { slow: "grpc read", port: ports.grpc, connections: 1_000 },
      ];
      // each kind on both ports at once, one kind after the other
      const rounds = ["headers", "body", "read"].map((what) => kinds.filter(({ slow }) => slow.endsWith(what)));
      const { results, shown, filesBackMs } = await during(trial, replica, rounds, {
        times: 2,
        calm: true,
        mostMiB: connectionsMiB,
      });
      const last = Math.max(...results.map(({ lastCutMs }) => lastCutMs));
      for (const [index, { slow, connections }] of rounds.flat().entries()) {
        const { opened = 0, left = 0, lastCutMs = 0 } = results[index] ?? {};
        trial.check(opened === connections, `${slow}: ${opened} of ${connections} connections were accepted`);
        trial.check(left === 0, `${slow}: ${left} were not cut`);
        trial.check(lastCutMs <= cutMs, `${slow}: the last was cut after ${seconds(lastCutMs)}`);
      }
      // who does not read does not see when it is cut; it takes a second until all are open
      trial.check(filesBackMs <= cutMs + 1_000, `connections of the replica were open for ${seconds(filesBackMs)}`);
      const each = kinds.map(({ slow, connections }) => `${connections} ${slow}`).join(", ");
      return {
        did: `connections, each kind on both ports at once, under mixed load: ${each}`,
        counted: `all cut, the last after ${seconds(last)}; ${shown.counted}`,
        recoveryMs: shown.recoveryMs,
      };
    },
  },
  {
    id: "F-37",
    section,
    title: "HTTP/2 rapid reset",
    long: true,
    system: { replicas: 1 },
    async run(system, trial) {
      const [replica, { grpc: port }] = target(system);
      const resets: FloodAttack = { flood: "reset", port, frames: 100_000, framesEach: 2_000, atOnce: 1, holdMs };
      const { results, shown } = await during(trial, replica, [[resets]], { times: 3, calm: true });
      const [{ sent, opened, goaways, left }] = results as [Attacked];
      trial.check(sent >= resets.frames, `only ${sent} were sent`);
      trial.check(left === 0, `${left} connections were not cut`);
      trial.check(goaways > 0, "no connection got GOAWAY");
      return {
        did: `${sent} times HEADERS and RST_STREAM under mixed load`,
        counted: `${opened} connections, all cut, ${goaways} saw GOAWAY; ${shown.counted}`,
        recoveryMs: shown.recoveryMs,
      };
    },
  },
  {
    id: "F-38",
    section,
    title: "endless CONTINUATION frames, metadata that is held",
    long: true,
    system: { replicas: 1 },
    async run(system, trial) {
      const [replica, { grpc: port }] = target(system);
      const attacks: FloodAttack[] = [
        { flood: "continuation", port, frames: 100_000, framesEach: 5_000, atOnce: 20, holdMs },
        { flood: "held headers", port, frames: 10_000, framesEach: 200, atOnce: 50, holdMs },
      ];
      const { results, shown } = await during(trial, replica, [attacks]);
      const [endless, held] = results as [Attacked, Attacked];
      for (const [index, { sent, left }] of [endless, held].entries()) {
        const { flood, frames } = attacks[index] as FloodAttack;
        trial.check(sent >= frames, `${flood}: only ${sent} were sent`);
        trial.check(left === 0, `${flood}: ${left} connections were not cut`);
      }
      return {
        did: `${endless.sent} CONTINUATION frames without an end, ${held.sent} streams that hold 60 KiB of metadata, under mixed load`,
        counted: `${endless.opened} and ${held.opened} connections, all cut; ${shown.counted}`,
        recoveryMs: shown.recoveryMs,
      };
    },
  },
  {
    id: "F-39",
    section,
    title: "floods of HTTP/2 frames, streams made to be reset",
    long: true,
    system: { replicas: 1 },
    async run(system, trial) {
      const [replica, { grpc: port }] = target(system);
      const kinds: FloodAttack["flood"][] = [
        "ping",
        "settings",
        "empty DATA",
        "window overflow",
        "window overflow of a stream",
        "window of nothing",
        "DATA after the end",
      ];
      // ten thousand connections in all
      const framesEach = 100;
      const frames = Math.ceil(10_000 / kinds.length) * framesEach;
      // the last ones have the server reset streams (MadeYouReset): they stay to see it
      const attacks = kinds.map((flood, index): FloodAttack => {
        const stays = index >= kinds.length - madeResets;
        return { flood, port, frames, framesEach, atOnce: 20, holdMs: stays ? holdMs : 20, untilAnswered: stays };
      });
      const { results, shown } = await during(trial, replica, [attacks]);
      const sum = (what: keyof Attacked) => results.reduce((all, each) => all + each[what], 0);
      trial.check(sum("opened") >= 10_000, `only ${sum("opened")} connections were opened`);
      for (const [index, { sent, resets, goaways }] of results.entries()) {
        trial.check(sent >= frames, `${kinds[index]}: only ${sent} were sent`);
        const stays = index >= kinds.length - madeResets;
        trial.check(!stays || resets + goaways > 0, `${kinds[index]}: no stream was reset, and no connection`);
      }
      return {
        did: `${sum("sent")} frames or streams under mixed load: ${kinds.join(", ")}`,
        counted: `${sum("opened")} connections, ${sum("goaways")} saw GOAWAY, ${sum("resets")} streams reset; ${shown.counted}`,
        recoveryMs: shown.recoveryMs,
      };
    },
  },
];

/** Of the floods of F-39, at their end. */
const madeResets = 3;

const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;

function target({ replicas: [replica] }: System): [Replica, { http: number; grpc: number }] {
  if (replica === undefined) throw new Error("the row needs a replica");
  return [replica, { http: Number(replica.env["HTTP_PORT"]), grpc: Number(replica.env["GRPC_PORT"]) }];
}

interface During {
  /** In the order of the rounds. */
  readonly results: readonly Attacked[];
  /** From a round's beginning until the replica had as few open files as before, of the worst. */
  readonly filesBackMs: number;
  readonly shown: Omit<Shown, "did"> & { readonly recoveryMs: number };
}

/**
 * Attacks the replica under mixed load, and checks what holds for all such attacks.
 * @param rounds attacks at once, one round after the other
 * @param p99 `times`: what that of others' calls may be of the one before; without it is only counted. `calm`: the attack lasts, so moments
 * in which the machine does something else are left out
 */
async function during(
  trial: Trial,
  replica: Replica,
  rounds: readonly (readonly Attack[])[],
  { times, calm, mostMiB = memoryMiB }: { times?: number; calm?: boolean; mostMiB?: number } = {},
): Promise<During> {
  const p99Of = (calls: readonly Call[]) => (calm ? calmP99(calls, 5_000) : percentile(calls, 0.99));
  const { load, ledger, progress, check } = trial;
  await load.prepare(6);
  // as many password hashes at once as there will ever be: what they took stays with the process
  const again = [...load.sessions, ...load.sessions, ...load.sessions];
  await Promise.all(again.map(({ account }) => load.client.authorize(replica.url, account, "rotating")));
  await load.during(calmMs / 2_000);
  const from = performance.now();
  await load.during(calmMs / 1_000);
  const before = p99Of(ledger.between(from));
  const memoryBefore = await calmMemory(replica);

  let mostResident = memoryBefore.resident;
  const watchMemory = setInterval(() => {
    mostResident = Math.max(mostResident, residentMiB(replica));
  }, 100);
  const filesBefore = openFiles(replica);
  const most = filesBefore + fewFiles;
  load.start();
  progress("the attack");
  const begun = performance.now();
  const results: Attacked[] = [];
  let filesLateMs = 0;
  for (const round of rounds) {
    const at = performance.now();
    let filesBackMs = 0;
    const watch = setInterval(() => {
      if (openFiles(replica) > most) filesBackMs = performance.now() - at;
    }, 100);
    results.push(...(await Promise.all(round.map(attack))));
    clearInterval(watch);
    filesLateMs = Math.max(filesLateMs, filesBackMs);
  }
  const end = performance.now();
  const p99 = p99Of(ledger.between(begun, end));

  progress("after the attack");
  const recoveryMs = await trial.recovery(end, EVERYTHING, normalMs);
  await sleep(Math.max(0, end + calmMs / 2 - performance.now()));
  await load.stop();
  clearInterval(watchMemory);
  const peakMiB = Math.round(mostResident - memoryBefore.resident);
  const calmSince = performance.now();
  let memory = grownMiB(memoryBefore, await calmMemory(replica));
  // V8 collects what is left of a busy moment some seconds later
  while (memory >= mostMiB && performance.now() - calmSince < collectedMs) {
    memory = grownMiB(memoryBefore, await calmMemory(replica));
  }
  const collected = seconds(performance.now() - calmSince);
  const files = openFiles(replica);
  const after = p99Of(ledger.between(end + 2_000));
  const atMost = (factor: number) => Math.max(factor * before, before + noiseMs);
  check(times === undefined || p99 <= atMost(times), `p99 of others ${p99} ms, ${before} ms before`);
  check(after <= atMost(2), `p99 ${after} ms from 2 s after it on, ${before} ms before`);
  check(memory < mostMiB, `${memory} MiB more, ${collected} after the load`);
  check(files <= most, `${files} open files, ${filesBefore} before`);
  check((await replica.alive()) === 200, "the replica does not answer");
  return {
    results,
    filesBackMs: filesLateMs,
    shown: {
      counted: `p99 of others${calm ? " in calm moments" : ""} ${before} ms before, ${p99} ms meanwhile, ${after} ms after; at most ${peakMiB} MiB more, ${memory} once the load had ended for ${collected}; open files ${filesBefore} before, ${files} after`,
      recoveryMs,
    },
  };
}

/** While nothing is under way: a password hash takes much for a moment. */
async function calmMemory(replica: Replica): Promise<Memory> {
  const readings: Memory[] = [];
  for (let n = 0; n < 5; n++) {
    await sleep(500);
    readings.push(await memoryOf(replica));
  }
  return {
    resident: Math.min(...readings.map(({ resident }) => resident)),
    held: Math.min(...readings.map(({ held }) => held)),
  };
}
