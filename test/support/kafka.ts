import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync, readdirSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import kafkajs from "kafkajs";
import { freePorts } from "./ports.ts";
import { freeze } from "./process.ts";

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, "../..");
export const jars = path.join(root, ".cache/services/jars");

export interface TestKafka {
  /** Comma list of the plain listener. */
  readonly brokers: string;
  /** SASL listener (user `auth`, password `auth-secret`; PLAIN and both SCRAMs); null where the broker is not ours. */
  readonly saslBrokers: string | null;
  readonly pid: number | null;
  stop(): Promise<void>;
  /** SIGSTOP: connections stay up, nobody answers. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Up again on the same port and data. */
  restart(): Promise<void>;
}

/** Whether the broker of the tests is a process that they may freeze and kill. Others skip those tests by name. */
export async function isKafkaOurs(): Promise<boolean> {
  if ((process.env["TEST_KAFKA_BROKERS"] ?? "") !== "") return false;
  return requireJava().then(
    () => true,
    () => false,
  );
}

/** A private broker: TEST_KAFKA_BROKERS, else Java 17 with the jars of pom.xml, else Docker. */
export async function startKafka(): Promise<TestKafka> {
  const given = process.env["TEST_KAFKA_BROKERS"];
  if (given !== undefined && given !== "") return await borrowed(given);
  const reasons: string[] = [];
  for (const way of [startOnJava, startOnDocker]) {
    try {
      return await way();
    } catch (error) {
      reasons.push((error as Error).message);
    }
  }
  throw new Error(
    `no Kafka broker for the tests. Give one in TEST_KAFKA_BROKERS, or install Java 17 and Maven, or start Docker. ${reasons.join("; ")}`,
  );
}

async function borrowed(brokers: string): Promise<TestKafka> {
  await answers(brokers, 15_000);
  const refuse = async () => {
    throw new Error("the broker of TEST_KAFKA_BROKERS is not ours to stop");
  };
  return {
    brokers,
    saslBrokers: null,
    pid: null,
    stop: async () => {},
    pause: refuse,
    resume: refuse,
    kill: refuse,
    restart: refuse,
  };
}

/** Java 17 or newer, and Kafka's jars, which are fetched once. @throws where there is no Java or no Maven */
export async function requireJava(): Promise<void> {
  const { stderr } = await run("java", ["-version"]);
  const major = Number(/version "(\d+)/.exec(stderr)?.[1] ?? 0);
  if (major < 17) throw new Error(`Java ${major} is too old`);
  if (hasJars()) return;
  const goals = ["dependency:copy-dependencies", "-DoutputDirectory=.cache/services/jars"];
  await run("mvn", ["-q", "-B", "-f", "pom.xml", ...goals], { cwd: root, timeout: 300_000 });
}

/**
 * A private broker as a process, with settings of its own.
 * @param settings lines of server.properties, before those of the tests where both have one
 * @param javaOptions of the broker's JVM
 */
export async function startOnJava(
  settings: Readonly<Record<string, string>> = {},
  javaOptions: readonly string[] = [],
): Promise<TestKafka> {
  await requireJava();
  const folder = await mkdtemp(path.join(tmpdir(), "kafka-"));
  const [port, saslPort, controllerPort] = await freePorts(3);
  const properties = path.join(folder, "server.properties");
  const plainLogin = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_auth="auth-secret"; ';
  const scramLogin = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
  await writeFile(
    properties,
    Object.entries({
      "process.roles": "broker,controller",
      "node.id": 1,
      "controller.quorum.voters": `1@127.0.0.1:${controllerPort}`,
      listeners: `PLAINTEXT://127.0.0.1:${port},SASL_PLAINTEXT://127.0.0.1:${saslPort},CONTROLLER://127.0.0.1:${controllerPort}`,
      "advertised.listeners": `PLAINTEXT://127.0.0.1:${port},SASL_PLAINTEXT://127.0.0.1:${saslPort}`,
      "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
      "controller.listener.names": "CONTROLLER",
      "inter.broker.listener.name": "PLAINTEXT",
      "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
      "listener.name.sasl_plaintext.plain.sasl.jaas.config": plainLogin,
      "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": scramLogin,
      "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": scramLogin,
      "log.dirs": path.join(folder, "data"),
      "auto.create.topics.enable": false,
      "offsets.topic.replication.factor": 1,
      "offsets.topic.num.partitions": 1,
      "transaction.state.log.replication.factor": 1,
      "transaction.state.log.min.isr": 1,
      "group.initial.rebalance.delay.ms": 0,
      "num.network.threads": 2,
      "num.io.threads": 2,
      "log.cleaner.enable": false,
      // a killed broker is let back in soon
      "broker.session.timeout.ms": 2_000,
      "broker.heartbeat.interval.ms": 500,
      ...settings,
    })
      .map(([key, value]) => `${key}=${value}\n`)
      .join(""),
  );
  const classpath = ["-cp", path.join(jars, "*"), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"];
  const clusterId = randomBytes(16).toString("base64url").replace(/^-/, "A");
  const scrams = ["SCRAM-SHA-256", "SCRAM-SHA-512"].flatMap((name) => [
    "--add-scram",
    `${name}=[name=auth,password=auth-secret]`,
  ]);
  await run("java", [...classpath, "kafka.tools.StorageTool", "format", "-t", clusterId, "-c", properties, ...scrams]);

  const brokers = `127.0.0.1:${port}`;
  const logFile = path.join(folder, "broker.log");
  let broker = await launchAgain();

  /** As a service manager would: a broker ends when a port or a file is in use for a moment. */
  async function launchAgain() {
    for (let starts = 0; starts < 3; starts++) {
      const launched = await launch();
      if (launched !== null) return launched;
    }
    throw new Error(`the broker ended: ${(await readFile(logFile, "utf8")).slice(-2_000)}`);
  }

  /** @returns null: it ended before it answered */
  async function launch() {
    const log = openSync(logFile, "a");
    const options = ["-Xmx400m", "-XX:TieredStopAtLevel=1", ...javaOptions, ...classpath];
    const child = spawn("java", [...options, "kafka.Kafka", properties], { stdio: ["ignore", log, log] });
    closeSync(log);
    const exit = new Promise<void>((resolve) => {
      child.once("exit", () => resolve());
      child.once("error", () => resolve());
    });
    const dieWithUs = () => child.kill("SIGKILL");
    process.once("exit", dieWithUs);
    void exit.then(() => process.off("exit", dieWithUs));
    try {
      const isUp = await Promise.race([answers(brokers, 120_000).then(() => true), exit.then(() => false)]);
      return isUp ? { child, exit } : null;
    } catch (error) {
      dieWithUs();
      throw error;
    }
  }
  const end = async (signal: NodeJS.Signals) => {
    broker.child.kill(signal);
    await broker.exit;
  };

  return {
    brokers,
    saslBrokers: `127.0.0.1:${saslPort}`,
    get pid() {
      return broker.child.pid ?? null;
    },
    async stop() {
      await end("SIGKILL");
      await rm(folder, { recursive: true, force: true });
    },
    pause: async () => {
      if (broker.child.pid !== undefined) await freeze(broker.child.pid);
    },
    resume: async () => void broker.child.kill("SIGCONT"),
    kill: () => end("SIGKILL"),
    async restart() {
      if (broker.child.exitCode === null && broker.child.signalCode === null) await end("SIGTERM");
      broker = await launchAgain();
    },
  };
}

function hasJars(): boolean {
  return existsSync(jars) && readdirSync(jars).some((name) => name.startsWith("kafka_2.13-"));
}

async function startOnDocker(): Promise<TestKafka> {
  await run("docker", ["info"], { timeout: 15_000 });
  const [port] = await freePorts(1);
  const name = `auth-test-kafka-${randomBytes(4).toString("hex")}`;
  const docker = async (...args: string[]) => void (await run("docker", args, { timeout: 180_000 }));
  const settings = {
    KAFKA_NODE_ID: 1,
    KAFKA_PROCESS_ROLES: "broker,controller",
    KAFKA_LISTENERS: "PLAINTEXT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093",
    KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://127.0.0.1:${port}`,
    KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    KAFKA_INTER_BROKER_LISTENER_NAME: "PLAINTEXT",
    KAFKA_CONTROLLER_LISTENER_NAMES: "CONTROLLER",
    KAFKA_CONTROLLER_QUORUM_VOTERS: "1@127.0.0.1:9093",
    KAFKA_AUTO_CREATE_TOPICS_ENABLE: false,
    KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: 1,
    KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: 0,
  };
  const env = Object.entries(settings).flatMap(([key, value]) => ["-e", `${key}=${value}`]);
  await docker("run", "-d", "--name", name, "-p", `127.0.0.1:${port}:9092`, ...env, "apache/kafka:4.1.0");
  const brokers = `127.0.0.1:${port}`;
  const stop = () => docker("rm", "-f", name);
  await answers(brokers, 60_000).catch(async (error) => {
    await stop();
    throw error;
  });
  return {
    brokers,
    saslBrokers: null,
    pid: null,
    stop,
    pause: () => docker("pause", name),
    resume: () => docker("unpause", name),
    kill: () => docker("kill", name),
    async restart() {
      await docker("restart", name);
      await answers(brokers, 60_000);
    },
  };
}

export async function answers(brokers: string, withinMs: number): Promise<void> {
  const kafka = new kafkajs.Kafka({
    brokers: brokers.split(","),
    logLevel: kafkajs.logLevel.NOTHING,
    connectionTimeout: 1_000,
    requestTimeout: 2_000,
    retry: { retries: 0 },
  });
  const giveUpAt = Date.now() + withinMs;
  for (;;) {
    const admin = kafka.admin();
    try {
      await admin.connect();
      const { brokers: found } = await admin.describeCluster();
      if (found.length > 0) return;
    } catch (error) {
      if (Date.now() > giveUpAt) throw new Error(`no Kafka broker answers at ${brokers}: ${(error as Error).message}`);
    } finally {
      await admin.disconnect().catch(() => {});
    }
    await delay(200);
  }
}

export interface KafkaRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly key: string;
  readonly value: Buffer;
  readonly headers: Record<string, string>;
}

/** A broker that has just come up may not know the leader of a partition yet. */
async function offsetsOf(admin: kafkajs.Admin, topic: string): ReturnType<kafkajs.Admin["fetchTopicOffsets"]> {
  for (let tries = 0; ; tries++) {
    try {
      return await admin.fetchTopicOffsets(topic);
    } catch (error) {
      if (!(error as kafkajs.KafkaJSError).retriable || tries > 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** Everything in the topics, from the start up to what was there at the call, each partition in its order. */
export async function readTopics(brokers: string, topics: readonly string[]): Promise<KafkaRecord[]> {
  const kafka = new kafkajs.Kafka({ brokers: brokers.split(","), logLevel: kafkajs.logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  const awaited = new Set<string>();
  const ends = new Map<string, number>();
  for (const topic of topics) {
    for (const { partition, offset } of await offsetsOf(admin, topic)) {
      ends.set(`${topic}/${partition}`, Number(offset));
      if (Number(offset) > 0) awaited.add(`${topic}/${partition}`);
    }
  }
  const groupId = `reader-${randomBytes(6).toString("hex")}`;
  const consumer = kafka.consumer({ groupId });
  const records: KafkaRecord[] = [];
  try {
    if (awaited.size === 0) return records;
    await consumer.connect();
    await consumer.subscribe({ topics: [...topics], fromBeginning: true });
    const complete = Promise.withResolvers<void>();
    await consumer.run({
      eachMessage: async ({ topic, partition, message }) => {
        const at = `${topic}/${partition}`;
        const offset = Number(message.offset);
        if (offset >= (ends.get(at) ?? 0)) return;
        const headers = Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]);
        records.push({
          topic,
          partition,
          offset,
          key: String(message.key),
          value: message.value ?? Buffer.alloc(0),
          headers: Object.fromEntries(headers),
        });
        if (offset === (ends.get(at) ?? 0) - 1) awaited.delete(at);
        if (awaited.size === 0) complete.resolve();
      },
    });
    await complete.promise;
    return records;
  } finally {
    await consumer.disconnect();
    await admin.disconnect();
  }
}
