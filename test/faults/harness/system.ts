import { setTimeout as sleep } from "node:timers/promises";
import { EVENT_TOPICS } from "../../../src/kafka/encode.ts";
import { readMysqlUrl } from "../../../src/net/mysql-url.ts";
import { testEnvironment } from "../../support/app.ts";
import { findGalera, type Galera, startGalera } from "../../support/galera.ts";
import { type KafkaRecord, readTopics, startKafka, type TestKafka } from "../../support/kafka.ts";
import { type KafkaCluster, startKafkaCluster } from "../../support/kafka-cluster.ts";
import { execute, type MariaDb, startMariaDb } from "../../support/mariadb.ts";
import { type ServiceProcess, spawnService } from "../../support/process.ts";
import { Skipped } from "./skipped.ts";
import { SmallDisk } from "./small-disk.ts";
import { TcpRelay } from "./tcp-relay.ts";

export interface SystemOptions {
  readonly replicas?: number;
  readonly brokers?: 0 | 1 | 3;
  readonly env?: Record<string, string>;
  /** Environment of one replica alone, such as its own clock or key. */
  readonly envOf?: (replica: number) => Record<string, string>;
  /** A relay between the service and MariaDB. */
  readonly databaseRelay?: boolean;
  /** Options of mariadbd. */
  readonly databaseOptions?: readonly string[];
  /** MariaDB's data is on a file system of this size (MiB), which the row may fill. */
  readonly smallDisk?: number;
  /** Servers that are not this system's own, such as the nodes of a cluster: DATABASE_URL of each replica; the first is also audited. */
  readonly databaseUrls?: readonly string[];
  /** Three Galera nodes instead of MariaDB, and a replica for each, which lists this node first. */
  readonly galera?: boolean;
}

const clients = [
  {
    client_id: "rotating",
    redirect_uris: ["http://localhost:4100/callback"],
    first_party: true,
    scope: "openid profile",
  },
];

/** A replica of the service: a process that may be killed, and started again with the same environment. */
export class Replica {
  readonly env: Record<string, string>;
  /** The public listener. */
  readonly url: string;
  readonly internalUrl: string;
  process: ServiceProcess | null = null;

  constructor(env: Record<string, string>) {
    this.env = env;
    this.url = `http://127.0.0.1:${env["HTTP_PORT"]}`;
    this.internalUrl = `http://127.0.0.1:${env["INTERNAL_HTTP_PORT"]}`;
  }

  async start(): Promise<void> {
    this.process = await spawnService(this.env);
  }

  /** @returns exit status, null when the signal ended it */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    const { process } = this;
    this.process = null;
    return process === null ? 0 : await process.kill(signal);
  }

  kill(): Promise<number | null> {
    return this.stop("SIGKILL");
  }

  get pid(): number {
    if (this.process === null) throw new Error("the replica does not run");
    return this.process.pid;
  }

  async ready(): Promise<number> {
    return await statusOf(`${this.internalUrl}/readyz`);
  }

  async alive(): Promise<number> {
    return await statusOf(`${this.internalUrl}/healthz`);
  }

  /** @param name of a metric, with its labels as `/metrics` writes them */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.internalUrl}/metrics`)).text();
    const line = text.split("\n").find((each) => each.startsWith(`${name} `));
    return Number(line?.slice(name.length + 1) ?? Number.NaN);
  }
}

/** Servers that rows may share: each row has a database of its own, and its issuer tells its events from others'. */
export class Servers {
  #database: Promise<MariaDb> | null = null;
  #kafka: Promise<TestKafka> | null = null;
  #cluster: Promise<KafkaCluster> | null = null;
  #galera: Promise<Galera> | null = null;

  database(): Promise<MariaDb> {
    this.#database ??= startMariaDb();
    return this.#database;
  }

  kafka(): Promise<TestKafka> {
    this.#kafka ??= startKafka();
    return this.#kafka;
  }

  cluster(): Promise<KafkaCluster> {
    this.#cluster ??= startKafkaCluster();
    return this.#cluster;
  }

  /** @throws Skipped where three nodes cannot run */
  async galera(): Promise<Galera> {
    if (!findGalera()) throw new Skipped("needs Debian's packages of MariaDB and Galera");
    this.#galera ??= startGalera();
    return this.#galera;
  }

  async stop(): Promise<void> {
    const started = [this.#kafka, this.#cluster, this.#database, this.#galera];
    await Promise.all(started.map(async (server) => (await server?.catch(() => null))?.stop()));
  }
}

interface Parts {
  readonly replicas: readonly Replica[];
  /** Null: `databaseUrls` were given. */
  readonly database: MariaDb | null;
  readonly kafka: TestKafka | null;
  readonly cluster: KafkaCluster | null;
  readonly galera: Galera | null;
  readonly databaseRelay: TcpRelay | null;
  readonly disk: SmallDisk | null;
  /** Past the relay, for the auditor and for faults. */
  readonly databaseUrl: string;
  readonly issuer: string;
  /** Comma list; empty without Kafka. */
  readonly brokers: string;
  /** Whether MariaDB is this system's alone. */
  readonly ownsDatabase: boolean;
}

/** Real processes: replicas of the service, MariaDB, Kafka, relays between them. */
export class System {
  readonly parts: Parts;

  private constructor(parts: Parts) {
    this.parts = parts;
  }

  /** Does not start the replicas. */
  static async prepare(servers: Servers, options: SystemOptions = {}): Promise<System> {
    const { databaseOptions, brokers: count = 1 } = options;
    const galera = options.galera ? await servers.galera() : null;
    const databaseUrls = (await galera?.createDatabase()) ?? options.databaseUrls;
    const disk = options.smallDisk === undefined ? null : SmallDisk.mount(options.smallDisk);
    const ownsDatabase = databaseOptions !== undefined || disk !== null;
    const startOwn = () =>
      startMariaDb([...(databaseOptions ?? []), ...(disk?.databaseOptions ?? [])], disk?.folder).catch((error) => {
        disk?.unmount();
        throw error;
      });
    const own = ownsDatabase ? startOwn() : servers.database();
    const [database, kafka, cluster] = await Promise.all([
      databaseUrls === undefined ? own : null,
      count === 1 ? servers.kafka() : null,
      count === 3 ? servers.cluster() : null,
    ]);
    const url = databaseUrls?.[0] ?? (await database?.createDatabase()) ?? "";
    const databaseUrl = readMysqlUrl(url)?.first.href ?? url;
    const relay = options.databaseRelay ? await TcpRelay.start(addressOf(databaseUrl)) : null;
    const brokers = kafka?.brokers ?? cluster?.brokers.join(",") ?? "";
    const common = {
      DATABASE_URL: relay === null ? databaseUrl : withPort(databaseUrl, relay.port),
      ...(brokers === "" ? {} : { KAFKA_BROKERS: brokers }),
      LOG_LEVEL: "warn",
      ...options.env,
    };
    const replicas: Replica[] = [];
    for (let number = 0; number < (options.replicas ?? databaseUrls?.length ?? 2); number++) {
      const url = databaseUrls?.[number];
      const env = await testEnvironment({ ...common, ...(url === undefined ? {} : { DATABASE_URL: url }) }, clients);
      replicas.push(
        new Replica({
          ...env,
          ISSUER: replicas[0]?.env["ISSUER"] ?? env["ISSUER"] ?? "",
          ...options.envOf?.(number),
        }),
      );
    }
    const issuer = replicas[0]?.env["ISSUER"] ?? "";
    const processes = { database, kafka, cluster, galera, databaseRelay: relay, disk };
    return new System({ ...processes, replicas, databaseUrl, issuer, brokers, ownsDatabase });
  }

  get replicas(): readonly Replica[] {
    return this.parts.replicas;
  }

  /** @throws where the servers were given */
  get database(): MariaDb {
    return present(this.parts.database, "MariaDB");
  }

  get kafka(): TestKafka {
    return present(this.parts.kafka, "a broker");
  }

  get cluster(): KafkaCluster {
    return present(this.parts.cluster, "three brokers");
  }

  get galera(): Galera {
    return present(this.parts.galera, "Galera nodes");
  }

  get disk(): SmallDisk {
    return present(this.parts.disk, "a small disk");
  }

  get databaseRelay(): TcpRelay {
    return present(this.parts.databaseRelay, "a relay");
  }

  async start(): Promise<void> {
    for (const replica of this.replicas) await replica.start();
  }

  /** A relay to MariaDB for a command alone. @param url of the database; null: the system's */
  async relayFor(url: string | null = null): Promise<{ relay: TcpRelay; env: Record<string, string> }> {
    const databaseUrl = url ?? this.parts.databaseUrl;
    const relay = await TcpRelay.start(addressOf(databaseUrl));
    return { relay, env: { ...this.replicas[0]?.env, DATABASE_URL: withPort(databaseUrl, relay.port) } };
  }

  get urls(): string[] {
    return this.replicas.map(({ url }) => url);
  }

  async rows<Row>(sql: string): Promise<Row[]> {
    const [rows] = await execute(this.parts.databaseUrl, sql);
    return rows as Row[];
  }

  /** Runs statements without a database of their own, such as SET GLOBAL. */
  async administer(...statements: string[]): Promise<unknown[]> {
    return await execute(this.parts.databaseUrl, ...statements);
  }

  async count(sql: string): Promise<number> {
    const [row] = await this.rows<{ n: number }>(`SELECT COUNT(*) AS n FROM ${sql}`);
    return Number(row?.n);
  }

  pending(): Promise<number> {
    return this.count("outbox WHERE status IN ('pending', 'waiting')");
  }

  /** @returns milliseconds until every event was sent @throws when some are left */
  async drained(withinMs = 60_000): Promise<number> {
    const from = performance.now();
    for (;;) {
      const left = await this.pending();
      const took = performance.now() - from;
      if (left === 0) return took;
      if (took > withinMs) throw new Error(`${left} events were not sent within ${withinMs} ms`);
      await sleep(100);
    }
  }

  /** This system's records of the topics. */
  async records(topics: readonly string[]): Promise<KafkaRecord[]> {
    if (this.parts.brokers === "") return [];
    const records = await readTopics(this.parts.brokers, topics);
    return records.filter(({ headers }) => headers["ce_source"] === this.parts.issuer);
  }

  /** Processes that ended although nobody ended them (I10). */
  dead(): string[] {
    const { database, kafka, cluster, galera } = this.parts;
    const processes: [string, number | null | undefined][] = [
      ...this.replicas.map((replica, index): [string, number | undefined] => [
        `replica ${index}`,
        replica.process?.pid,
      ]),
      ["MariaDB", database?.pid],
      ["Kafka", kafka?.pid],
      ...(cluster?.brokers ?? []).map((_, index): [string, number | undefined] => [
        `broker ${index}`,
        cluster?.pid(index),
      ]),
      ...(galera?.nodes ?? []).map((node, index): [string, number] => [`Galera node ${index}`, node.pid]),
    ];
    return processes.filter(([, pid]) => typeof pid === "number" && !isRunning(pid)).map(([name]) => name);
  }

  /** Ends the replicas and the relay. Servers that rows share stay. */
  async stop(): Promise<void> {
    await Promise.all(this.replicas.map((replica) => replica.kill()));
    await this.parts.databaseRelay?.close();
    if (this.parts.ownsDatabase) await this.database.stop();
    this.parts.disk?.unmount();
  }
}

/** Records of the topics beyond the first of an event. */
export async function repeatsOf(system: System): Promise<number> {
  const records = await system.records(EVENT_TOPICS);
  return records.length - new Set(records.map(({ headers }) => headers["ce_id"])).size;
}

function present<T>(part: T | null, name: string): T {
  if (part === null) throw new Error(`this system has no ${name} of its own`);
  return part;
}

function addressOf(url: string): { host: string; port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}

function withPort(url: string, port: number): string {
  const changed = new URL(url);
  changed.port = String(port);
  return changed.href;
}

async function statusOf(url: string): Promise<number> {
  return await fetch(url, { signal: AbortSignal.timeout(10_000) }).then(
    (response) => response.status,
    () => 0,
  );
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
