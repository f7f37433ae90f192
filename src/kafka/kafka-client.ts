import net from "node:net";
import tls from "node:tls";
import type { KafkaConfig, SASLOptions } from "kafkajs";
import type { Logger } from "./event-publisher.ts";
import { readPastLeaderless } from "./metadata.ts";

export interface KafkaOptions {
  /** `host:port` of each bootstrap broker. */
  readonly brokers: readonly string[];
  readonly ssl?: boolean | tls.ConnectionOptions | undefined;
  readonly sasl?: KafkaSasl | null | undefined;
  readonly clientId?: string | undefined;
  /** Of topics that are created. */
  readonly topicPartitions?: number | undefined;
  /** Of topics that are created. Undefined or -1: the broker's default. */
  readonly topicReplication?: number | undefined;
  readonly log: Logger;
}

export interface KafkaSasl {
  /** `plain`, `scram-sha-256` or `scram-sha-512`. */
  readonly mechanism: string;
  readonly username: string;
  readonly password: string;
}

/** Of one request to the broker (milliseconds). */
export const REQUEST_TIMEOUT_MS = 3_000;

type SocketFactory = NonNullable<KafkaConfig["socketFactory"]>;

let clients = 0;

/**
 * The client library, loaded when Kafka is used, and its configuration for connections made by `socketFactory`. Each client begins at
 * another bootstrap broker: kafkajs begins at the first of the list, and stays with it while it takes connections and answers nothing.
 */
export async function openKafka(options: KafkaOptions, socketFactory: SocketFactory) {
  const { default: kafkajs } = await import("kafkajs");
  readPastLeaderless();
  const { ssl, sasl, clientId = "auth-service", log } = options;
  const first = clients++ % options.brokers.length;
  const brokers = [...options.brokers.slice(first), ...options.brokers.slice(0, first)];
  const config: KafkaConfig = {
    clientId,
    brokers: brokers.map(hideColons),
    ...(ssl === undefined ? {} : { ssl }),
    ...(sasl == null ? {} : { sasl: { ...sasl } as SASLOptions }),
    connectionTimeout: 2_000,
    authenticationTimeout: 3_000,
    requestTimeout: REQUEST_TIMEOUT_MS,
    retry: { retries: 2, initialRetryTime: 100, maxRetryTime: 500 },
    socketFactory,
    // kafkajs logs transient states as errors; real failures reach the caller of publish() as an error
    logCreator:
      () =>
      ({ namespace, label, log: { message, ...fields } }) =>
        log.debug({ kafkajs: { ...fields, namespace, level: label } }, message),
  };
  return { kafka: new kafkajs.Kafka(config), Partitioners: kafkajs.Partitioners };
}

/** kafkajs ends a broker's host at its first colon: an IPv6 address in brackets goes through it with dashes. */
function hideColons(broker: string): string {
  return broker.replace(/^\[(.*)\]/, (_, address: string) => `[${address.replaceAll(":", "-")}]`);
}

function showColons(host: string): string {
  return /^\[.*\]$/.test(host) ? host.slice(1, -1).replaceAll("-", ":") : host;
}

/**
 * Makes sockets that can all be cut at once. kafkajs reconnects by itself when it is disconnected during a request: only cut sockets
 * end that.
 */
export function trackSockets(ssl: KafkaOptions["ssl"]): { socketFactory: SocketFactory; cut(): void } {
  const sockets = new Set<net.Socket>();
  let isCut = false;
  const socketFactory: SocketFactory = ({ host: named, port, onConnect }) => {
    const host = showColons(named);
    if (isCut) throw new Error("connection was given up");
    const secure = typeof ssl === "object" ? ssl : {};
    const socket = ssl
      ? tls.connect({ host, port, ...(net.isIP(host) ? {} : { servername: host }), ...secure }, onConnect)
      : net.connect({ host, port }, onConnect);
    socket.setKeepAlive(true, 60_000);
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    return socket;
  };
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy(new Error("connection was given up"));
  };
  return { socketFactory, cut };
}
