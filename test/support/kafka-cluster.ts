import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import kafkajs from "kafkajs";
import { answers, jars, requireJava } from "./kafka.ts";
import { freePorts } from "./ports.ts";

const run = promisify(execFile);

/** Three brokers that replicate everything, each a process of its own. */
export interface KafkaCluster {
  /** host:port of each. */
  readonly brokers: readonly string[];
  /** SIGTERM, which moves the leaders away first; then starts the broker again and waits until it answers. */
  restart(broker: number): Promise<void>;
  /** SIGKILL. `restart` starts it again. */
  kill(broker: number): Promise<void>;
  pid(broker: number): number;
  /** Makes each partition of the topics change its leader. */
  moveLeaders(topics: readonly string[]): Promise<void>;
  stop(): Promise<void>;
}

/** Replication 3 for every topic. Needs Java 17 and Maven. */
export async function startKafkaCluster(): Promise<KafkaCluster> {
  await requireJava();
  const folder = await mkdtemp(path.join(tmpdir(), "kafka-cluster-"));
  const ports = await freePorts(6);
  const brokers = ports.slice(0, 3).map((port) => `127.0.0.1:${port}`);
  const voters = ports.slice(3).map((port, index) => `${index + 1}@127.0.0.1:${port}`);
  const classpath = ["-cp", path.join(jars, "*"), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"];
  const clusterId = randomBytes(16).toString("base64url").replace(/^-/, "A");
  const children: (ChildProcess | null)[] = [null, null, null];
  const killAll = () => {
    for (const child of children) child?.kill("SIGKILL");
  };
  process.once("exit", killAll);

  const propertiesOf = (index: number) => path.join(folder, `server-${index}.properties`);
  const logOf = (index: number) => path.join(folder, `broker-${index}.log`);
  const launch = (index: number) => {
    const log = openSync(logOf(index), "a");
    const flags = ["-Xmx300m", "-XX:TieredStopAtLevel=1", ...classpath];
    children[index] = spawn("java", [...flags, "kafka.Kafka", propertiesOf(index)], { stdio: ["ignore", log, log] });
    closeSync(log);
  };
  const ended = (child: ChildProcess | null | undefined) =>
    new Promise<void>((resolve) => {
      if (child === null || child === undefined || child.exitCode !== null || child.signalCode !== null) resolve();
      else child.once("exit", () => resolve());
    });
  /** Waits until a broker that was launched answers. One that ends before that is launched again, as a service manager would. */
  const up = async (index: number) => {
    for (let starts = 1; ; starts++) {
      const answered = answers(brokers[index] ?? "", 120_000).then(() => true);
      if (await Promise.race([answered, ended(children[index]).then(() => false)])) return;
      if (starts === 3) throw new Error(`broker ${index} ended: ${await readFile(logOf(index), "utf8")}`.slice(-2_000));
      launch(index);
    }
  };
  const stop = async () => {
    killAll();
    await Promise.all(children.map(ended));
    process.off("exit", killAll);
    await rm(folder, { recursive: true, force: true });
  };

  try {
    for (const [index, broker] of brokers.entries()) {
      const settings = {
        "process.roles": "broker,controller",
        "node.id": index + 1,
        "controller.quorum.voters": voters.join(","),
        listeners: `PLAINTEXT://${broker},CONTROLLER://127.0.0.1:${ports[index + 3]}`,
        "advertised.listeners": `PLAINTEXT://${broker}`,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": path.join(folder, `data-${index}`),
        "auto.create.topics.enable": false,
        "default.replication.factor": 3,
        "offsets.topic.replication.factor": 3,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": 3,
        "transaction.state.log.min.isr": 2,
        "group.initial.rebalance.delay.ms": 0,
        "num.network.threads": 2,
        "num.io.threads": 2,
        "log.cleaner.enable": false,
      };
      const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
      await writeFile(propertiesOf(index), lines.join(""));
      const format = ["kafka.tools.StorageTool", "format", "-t", clusterId, "-c", propertiesOf(index)];
      await run("java", [...classpath, ...format]);
    }
    for (const index of brokers.keys()) launch(index);
    for (const index of brokers.keys()) await up(index);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    brokers,
    async restart(index) {
      const child = children[index];
      child?.kill("SIGTERM");
      await ended(child);
      launch(index);
      await up(index);
    },
    async kill(index) {
      const child = children[index];
      child?.kill("SIGKILL");
      await ended(child);
    },
    pid: (index) => children[index]?.pid ?? 0,
    moveLeaders: (topics) => moveLeaders(brokers, topics),
    stop,
  };
}

/** A leader that is no replica any more gives way to another one; afterwards it is the last replica again. */
async function moveLeaders(brokers: readonly string[], topics: readonly string[]): Promise<void> {
  const admin = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    const before = await admin.fetchTopicMetadata({ topics: [...topics] });
    for (const isBack of [false, true]) {
      const reassigned = before.topics.map(({ name, partitions }) => ({
        topic: name,
        partitionAssignment: partitions.map(({ partitionId, leader, replicas }) => {
          const others = replicas.filter((replica) => replica !== leader);
          return { partition: partitionId, replicas: isBack ? [...others, leader] : others };
        }),
      }));
      await admin.alterPartitionReassignments({ topics: reassigned });
      while ((await admin.listPartitionReassignments({})).topics.length > 0) await sleep(100);
    }
  } finally {
    await admin.disconnect();
  }
}
