import { isPort } from "./addresses.ts";
import type { Reader } from "./reader.ts";

export interface KafkaSasl {
  readonly mechanism: string;
  readonly username: string;
  readonly password: string;
}

export interface KafkaConfig {
  readonly brokers: readonly string[];
  readonly ssl: boolean;
  readonly topicPartitions: number;
  /** -1: the broker's default. */
  readonly topicReplication: number;
}

/** KAFKA_*. @returns kafka null: events go to a file; kafkaSasl null: the brokers ask for no credentials */
export function readKafka(
  read: Reader,
  production: boolean,
): { kafka: KafkaConfig | null; kafkaSasl: KafkaSasl | null } {
  const brokers = read.list("KAFKA_BROKERS");
  for (const broker of brokers) {
    const [, port] = /^(?:[^\s:/]+|\[[0-9a-fA-F:]+\]):(\d{1,5})$/.exec(broker) ?? [];
    if (port === undefined) read.problem("KAFKA_BROKERS", `${JSON.stringify(broker)} is not host:port`);
    else if (!isPort(port)) read.problem("KAFKA_BROKERS", `${JSON.stringify(broker)} names no port from 1 to 65535`);
  }
  const mechanism = read.text("KAFKA_SASL_MECHANISM")?.toLowerCase() ?? null;
  const username = read.secret("KAFKA_SASL_USERNAME");
  const password = read.secret("KAFKA_SASL_PASSWORD");
  const mechanisms = ["plain", "scram-sha-256", "scram-sha-512"];
  if (mechanism !== null && !mechanisms.includes(mechanism)) {
    read.problem("KAFKA_SASL_MECHANISM", `must be one of ${mechanisms.join(", ")}`);
  }
  if (mechanism !== null && (username === null || password === null)) {
    read.problem("KAFKA_SASL_USERNAME", "KAFKA_SASL_MECHANISM needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD");
  }
  if (mechanism === null && (username !== null || password !== null)) {
    read.problem("KAFKA_SASL_MECHANISM", "is needed with KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD");
  }
  const kafka = {
    brokers,
    ssl: read.flag("KAFKA_SSL", production),
    topicPartitions: read.integer("KAFKA_TOPIC_PARTITIONS"),
    topicReplication: read.integer("KAFKA_TOPIC_REPLICATION"),
  };
  if (kafka.topicReplication === 0) read.problem("KAFKA_TOPIC_REPLICATION", "must be -1 or at least 1");
  const ofBrokers = [...(kafka.ssl ? ["KAFKA_SSL"] : []), ...(mechanism === null ? [] : ["KAFKA_SASL_MECHANISM"])];
  if (brokers.length === 0 && ofBrokers.length > 0) {
    read.problem("KAFKA_BROKERS", `is needed with ${ofBrokers.join(" and ")}: without brokers, events go to a file`);
  }
  return {
    kafka: brokers.length === 0 ? null : kafka,
    kafkaSasl: mechanism === null ? null : { mechanism, username: username ?? "", password: password ?? "" },
  };
}
