import { setTimeout as sleep } from "node:timers/promises";
import { EVENT_TOPICS } from "../../../src/kafka/encode.ts";
import { freeze } from "../../support/process.ts";
import type { Client, Session } from "../harness/client.ts";
import type { Row, Trial } from "../harness/row.ts";
import type { Replica, System } from "../harness/system.ts";
import { sessionsOfOldPasswords } from "../old-password.ts";

const minutes = 10;
const holdMs = 10_000;
/** A replica writes again, and an event waits no longer than this (milliseconds). A broker that stands still is given up by the others after 9 s. */
const databaseBoundMs = 5_000;
const eventsBoundMs = 60_000;
/** The relay's replica died: another one takes its lanes (milliseconds). */
const relayBoundMs = 12_000;
const giveUpMs = 120_000;

/** One fault and its end. `turn` says which of the three it is done to. @returns milliseconds until what it hit worked again */
interface Fault {
  readonly name: string;
  readonly boundMs: number;
  inject(system: System, writers: Writers, turn: number): Promise<number>;
}

const FAULTS: readonly Fault[] = [
  {
    name: "kill -9 a node",
    boundMs: databaseBoundMs,
    async inject(system, writers, turn) {
      const node = member(system.galera.nodes, turn);
      await node.kill();
      const took = await writers.work(system);
      await node.start();
      return took;
    },
  },
  {
    name: "kill -9 a broker",
    boundMs: eventsBoundMs,
    async inject(system, _writers, turn) {
      await system.cluster.kill(turn % 3);
      const took = await delayOfEvents(system);
      await system.cluster.restart(turn % 3);
      return took;
    },
  },
  {
    name: "kill -9 a replica",
    boundMs: relayBoundMs,
    async inject(system, _writers, turn) {
      const replica = member(system.replicas, turn);
      await replica.kill();
      const took = await delayOfEvents(system);
      await replica.start();
      return took;
    },
  },
  {
    name: "cut a node off from the others",
    boundMs: databaseBoundMs,
    async inject(system, writers, turn) {
      const node = member(system.galera.nodes, turn);
      await node.isolate(true);
      const took = await writers.work(system);
      await sleep(holdMs);
      await node.isolate(false);
      await node.synced();
      return took;
    },
  },
  {
    name: "cut a broker off (SIGSTOP)",
    boundMs: eventsBoundMs,
    async inject(system, _writers, turn) {
      const pid = system.cluster.pid(turn % 3);
      await freeze(pid);
      try {
        return await delayOfEvents(system);
      } finally {
        process.kill(pid, "SIGCONT");
      }
    },
  },
  {
    name: "cut a replica off (SIGSTOP)",
    boundMs: eventsBoundMs,
    async inject(system, _writers, turn) {
      const { pid } = member(system.replicas, turn);
      await freeze(pid);
      try {
        return await delayOfEvents(system);
      } finally {
        process.kill(pid, "SIGCONT");
      }
    },
  },
  {
    name: "restart all brokers in turn (counted from the last one)",
    boundMs: eventsBoundMs,
    async inject(system) {
      for (const broker of [0, 1, 2]) await system.cluster.restart(broker);
      return await delayOfEvents(system);
    },
  },
  {
    name: "move all leaders (counted from the last one)",
    boundMs: eventsBoundMs,
    async inject(system) {
      await system.cluster.moveLeaders(EVENT_TOPICS);
      return await delayOfEvents(system);
    },
  },
];

export const CLUSTERS: readonly Row[] = [
  {
    id: "C-11",
    section: "Clusters",
    title: "a login at one Galera node while another one changes the password",
    long: true,
    system: { galera: true, brokers: 0 },
    async run(system, trial) {
      const rounds = trial.long ? 200 : 30;
      trial.progress(`${rounds} rounds`);
      // of two nodes: the third one only votes
      const urls = system.replicas.slice(0, 2).map(({ url }) => url);
      const { left, accepted, refused } = await sessionsOfOldPasswords(urls, rounds);
      trial.check(left.length === 0, `${left.length} old-password sessions (rounds ${left.slice(0, 5).join(", ")})`);
      trial.check(Math.min(accepted, refused) > 0, `${accepted} logins came before the change, ${refused} after it`);
      const logins = `${accepted} logins came before the change, ${refused} were refused by it`;
      return { did: `${rounds} rounds over two nodes`, counted: `${left.length} old-password sessions; ${logins}` };
    },
  },
  {
    id: "clusters",
    section: "Clusters",
    title: `${minutes} minutes of faults under load: three Galera nodes, three brokers, a replica on each node`,
    long: true,
    system: { galera: true, brokers: 3 },
    async run(system, trial) {
      const { load, progress, check } = trial;
      await load.prepare(6);
      const writers = await Writers.signIn(system, trial);
      load.start();
      const worst = new Map<string, number>();
      const until = performance.now() + minutes * 60_000;
      let done = 0;
      for (let turn = 0; performance.now() < until; turn++) {
        for (const { name, boundMs, inject } of FAULTS) {
          if (performance.now() > until) break;
          progress(`${name}, turn ${turn + 1}`);
          // later it may be up again, by a fault that ends with its start
          const dead = system.dead();
          check(dead.length === 0, `before ${name}, turn ${turn + 1}: ${dead.join(", ")} had ended by itself`);
          const took = await inject(system, writers, turn);
          check(took <= boundMs, `${name}, turn ${turn + 1}: ${(took / 1_000).toFixed(1)} s until it worked again`);
          worst.set(name, Math.max(worst.get(name) ?? 0, took));
          done++;
          await writers.work(system);
        }
      }
      await load.stop();
      await Promise.all(system.galera.nodes.map((node) => node.synced()));
      const recoveries = [...worst].map(([name, took]) => `${name} ${(took / 1_000).toFixed(1)} s`);
      return {
        did: `${done} faults in turn: ${FAULTS.map(({ name }) => name).join(", ")}`,
        counted: `worst recoveries: ${recoveries.join(", ")}`,
        recoveryMs: Math.max(...worst.values()),
      };
    },
  },
];

/** The nodes, brokers and replicas take turns. */
function member<T>(all: readonly T[], turn: number): T {
  const chosen = all[turn % all.length];
  if (chosen === undefined) throw new Error("there is none");
  return chosen;
}

/** @returns the highest age that a committed event reached before it was sent, while the fault holds and until none is left (milliseconds) */
async function delayOfEvents(system: System): Promise<number> {
  const from = performance.now();
  for (let worst = 0; ; await sleep(100)) {
    const sql = "SELECT MIN(created_at) AS oldest FROM outbox WHERE status IN ('pending', 'waiting')";
    const [row] = await system.rows<{ oldest: number | null }>(sql);
    const passed = performance.now() - from;
    if (row?.oldest != null) worst = Math.max(worst, Date.now() - row.oldest);
    else if (passed > holdMs) return Math.round(worst);
    if (passed > giveUpMs) throw new Error(`events were not sent within ${giveUpMs / 1_000} s`);
  }
}

/** A client of each replica, apart from the load: it writes until the replica acknowledges. */
class Writers {
  readonly #client: Client;
  readonly #sessions: ReadonlyMap<Replica, Session>;

  private constructor(client: Client, sessions: ReadonlyMap<Replica, Session>) {
    this.#client = client;
    this.#sessions = sessions;
  }

  static async signIn({ replicas }: System, { load: { client } }: Trial): Promise<Writers> {
    const sessions = new Map<Replica, Session>();
    for (const replica of replicas) {
      const account = await client.signUp(replica.url);
      const session = account && (await client.signIn(replica.url, account, "rotating"));
      if (session === null) throw new Error("a login before the fault failed");
      sessions.set(replica, session);
    }
    return new Writers(client, sessions);
  }

  /** @returns milliseconds until every replica that runs acknowledged a write that was asked for from now on */
  async work({ replicas }: System): Promise<number> {
    const from = performance.now();
    const write = async (replica: Replica) => {
      const session = this.#sessions.get(replica);
      while (session !== undefined && !(await this.#client.refresh(replica.url, session))) {
        if (session.lost) throw new Error(`the session of the writer at ${replica.url} was lost`);
        await sleep(50);
      }
    };
    await Promise.all(replicas.filter(({ process }) => process !== null).map(write));
    return performance.now() - from;
  }
}
