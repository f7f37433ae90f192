import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { isLoopback } from "../net/loopback.ts";
import { type ClientRegistration, readClientRegistration } from "../store/client-metadata.ts";

export interface Listener {
  readonly host: string;
  readonly port: number;
}

export interface Config {
  readonly production: boolean;
  readonly http: Listener;
  readonly grpc: Listener;
  readonly internalHttp: Listener;
  /** TLS of both internal listeners. */
  readonly internalTls: TlsFiles | null;
  /** No trailing slash. */
  readonly issuer: string;
  /** Is the store a server with a clock of its own? False: SQLite, which has the clock of this machine. */
  readonly databaseHasClock: boolean;
  /** PEM. */
  readonly databaseSslCa: string | null;
  readonly kafka: KafkaConfig | null;
  readonly eventsFile: string;
  /** The ids of the clients in the clients file. */
  readonly fileClientIds: ReadonlySet<string>;
  /** Seconds. */
  readonly accessTokenTtl: number;
  readonly refreshTokenTtl: number;
  readonly idTokenTtl: number;
  /** Null: by client. */
  readonly refreshRejectedStatus: 400 | 401 | null;
  /** `loopback`: any origin on this machine. */
  readonly corsOrigins: "loopback" | readonly string[];
  readonly trustProxy: readonly string[];
  readonly passwordMinLength: number;
  readonly passwordBlocklist: boolean;
  readonly passwordResetUrl: string;
  /** Milliseconds. */
  readonly revocationMaxStaleness: number;
  readonly workers: number;
  /** Requests a minute and network on the public listener; null: not limited. */
  readonly rateLimitPerMinute: number | null;
  /** Calls a second and client on the internal listeners of one process; null: not limited. */
  readonly callerRateLimit: number | null;
  /** Seconds that verifiers may cache the key set. */
  readonly jwksMaxAge: number;
  /** Milliseconds after which signing keys are replaced; null: only by command. */
  readonly keyRotationIntervalMs: number | null;
  /** Hosts (`name` or `name:port`) that this service may call though their addresses are private: clients' key sets, logout. */
  readonly outboundAllowedHosts: readonly string[];
  readonly logLevel: string;
}

/** What only app.ts and the commands hold, and hand to the database, crypto, Kafka and the clients' registration. */
export interface Secrets {
  /** 32 bytes. */
  readonly keyEncryptionKey: Buffer;
  /** With the password. */
  readonly databaseUrl: string;
  readonly kafkaSasl: KafkaSasl | null;
  /** The clients of the clients file, with their secrets; null: no clients file. */
  readonly clients: readonly ClientRegistration[] | null;
}

/** The environment as `readConfig` read it. */
export interface Settings {
  /** Holds no secret. */
  readonly config: Config;
  readonly secrets: Secrets;
}

/** Paths of PEM files, which were readable when the environment was read. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string | null;
}

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

/** Every problem of the environment at once, one line each: the variable, what is wrong, an example. Exit status 78. */
export class ConfigError extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(
      `the configuration has ${problems.length} problem${problems.length === 1 ? "" : "s"}:\n  ${problems.join("\n  ")}`,
    );
    this.name = "ConfigError";
    this.problems = problems;
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

class Reader {
  readonly problems: string[] = [];
  readonly #env: Environment;
  constructor(env: Environment) {
    this.#env = env;
  }

  problem(name: string, wrong: string, example: string): void {
    this.problems.push(`${name}: ${wrong}. Example: ${name}=${example}`);
  }

  /** An empty variable is an unset one. */
  text(name: string): string | null {
    const value = this.#env[name]?.trim();
    return value === undefined || value === "" ? null : value;
  }

  /** The variable, or the content of the file that `NAME_FILE` names. */
  secret(name: string, example: string): string | null {
    const value = this.text(name);
    const file = this.text(`${name}_FILE`);
    if (value !== null && file !== null) {
      this.problem(name, `set either ${name} or ${name}_FILE, not both`, example);
    }
    return file === null ? value : (this.file(`${name}_FILE`)?.trim() ?? null);
  }

  /** The content of the file that the variable names. */
  file(name: string): string | null {
    const path = this.text(name);
    if (path === null) return null;
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      this.problem(name, `cannot read ${path} (${(error as NodeJS.ErrnoException).code})`, "/run/secrets/value");
      return null;
    }
  }

  /** The path that the variable names, of a file that can be read. */
  readablePath(name: string): string | null {
    return this.file(name) === null ? null : this.text(name);
  }

  integer(name: string, fallback: number, min: number, max: number): number {
    const value = this.text(name);
    if (value === null) return fallback;
    const number = /^-?\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= min && number <= max) return number;
    this.problem(name, `must be a whole number from ${min} to ${max}, not ${JSON.stringify(value)}`, String(fallback));
    return fallback;
  }

  flag(name: string, fallback: boolean): boolean {
    const value = this.text(name)?.toLowerCase();
    if (value === undefined) return fallback;
    if (["1", "true", "on", "yes"].includes(value)) return true;
    if (["0", "false", "off", "no"].includes(value)) return false;
    this.problem(name, `must be 1 or 0, not ${JSON.stringify(value)}`, fallback ? "1" : "0");
    return fallback;
  }

  choice<T extends string>(name: string, choices: readonly T[], fallback: T): T {
    const value = this.text(name);
    if (value === null) return fallback;
    const found = choices.find((choice) => choice === value.toLowerCase());
    if (found !== undefined) return found;
    this.problem(name, `must be ${choices.join(" or ")}, not ${JSON.stringify(value)}`, fallback);
    return fallback;
  }

  list(name: string): string[] {
    return (this.text(name) ?? "")
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== "");
  }

  listener(prefix: string, port: number, production: boolean): Listener {
    const host = this.text(`${prefix}_HOST`) ?? "127.0.0.1";
    if (!production && !isLoopback(host)) {
      this.problem(
        `${prefix}_HOST`,
        `${host} is reachable from outside this machine, and NODE_ENV is not production: the development clients and their published secret would be too`,
        "127.0.0.1 (or NODE_ENV=production)",
      );
    }
    return { host, port: this.integer(`${prefix}_PORT`, port, 1, 65535) };
  }
}

function readIssuer(read: Reader, production: boolean): string {
  const value = read.text("ISSUER") ?? "http://localhost:8081";
  const example = production ? "https://auth.example.com" : "http://localhost:8081";
  if (!URL.canParse(value)) {
    read.problem("ISSUER", `${JSON.stringify(value)} is no URL`, example);
    return value;
  }
  const url = new URL(value);
  if (!["http:", "https:"].includes(url.protocol) || url.search !== "" || url.hash !== "" || url.username !== "") {
    read.problem("ISSUER", "must be an https URL without query, fragment or user (RFC 8414 section 2)", example);
  } else if (url.protocol === "http:" && !isLoopback(url.hostname)) {
    read.problem("ISSUER", "must use https; http only on loopback", example);
  } else if (!production && !isLoopback(url.hostname)) {
    read.problem(
      "ISSUER",
      `${url.hostname} is not this machine, and NODE_ENV is not production`,
      "http://localhost:8081 (or NODE_ENV=production)",
    );
  }
  if (value.endsWith("/")) read.problem("ISSUER", "must not end with a slash", value.replace(/\/+$/, ""));
  return value;
}

function readDatabase(read: Reader, production: boolean): string {
  const example = "mysql://auth:secret@db.example:3306/auth";
  const url = read.secret("DATABASE_URL", example) ?? "sqlite:./data/auth.sqlite";
  if (url.startsWith("sqlite:")) {
    if (url.length === "sqlite:".length) read.problem("DATABASE_URL", "names no file", "sqlite:./data/auth.sqlite");
    if (production && !read.flag("ALLOW_SQLITE", false)) {
      read.problem(
        "DATABASE_URL",
        "production needs MySQL; SQLite serves one process only (ALLOW_SQLITE=1 to use it all the same)",
        example,
      );
    }
    return url;
  }
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed?.protocol !== "mysql:" || parsed.hostname === "" || parsed.pathname.length < 2) {
    read.problem("DATABASE_URL", "must be sqlite:PATH or mysql://user:password@host:port/database", example);
  }
  return url;
}

function readKafka(read: Reader): { kafka: KafkaConfig | null; kafkaSasl: KafkaSasl | null } {
  const brokers = read.list("KAFKA_BROKERS");
  for (const broker of brokers) {
    if (!/^[^\s:/]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$/.test(broker)) {
      read.problem("KAFKA_BROKERS", `${JSON.stringify(broker)} is not host:port`, "kafka-1:9092,kafka-2:9092");
    }
  }
  const mechanism = read.text("KAFKA_SASL_MECHANISM")?.toLowerCase() ?? null;
  const username = read.secret("KAFKA_SASL_USERNAME", "auth");
  const password = read.secret("KAFKA_SASL_PASSWORD", "secret");
  const mechanisms = ["plain", "scram-sha-256", "scram-sha-512"];
  if (mechanism !== null && !mechanisms.includes(mechanism)) {
    read.problem("KAFKA_SASL_MECHANISM", `must be one of ${mechanisms.join(", ")}`, "scram-sha-512");
  }
  if (mechanism !== null && (username === null || password === null)) {
    read.problem(
      "KAFKA_SASL_USERNAME",
      "KAFKA_SASL_MECHANISM needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",
      "auth",
    );
  }
  const kafka = {
    brokers,
    ssl: read.flag("KAFKA_SSL", false),
    topicPartitions: read.integer("KAFKA_TOPIC_PARTITIONS", 3, 1, 10_000),
    topicReplication: read.integer("KAFKA_TOPIC_REPLICATION", -1, -1, 100),
  };
  return {
    kafka: brokers.length === 0 ? null : kafka,
    kafkaSasl: mechanism === null ? null : { mechanism, username: username ?? "", password: password ?? "" },
  };
}

function readClients(read: Reader, production: boolean): ClientRegistration[] | null {
  const text = read.file("CLIENTS_FILE");
  if (text === null) return null;
  const example = "./clients.json";
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    read.problem("CLIENTS_FILE", `is not JSON (${(error as Error).message})`, example);
    return null;
  }
  if (!Array.isArray(json)) {
    read.problem("CLIENTS_FILE", "must hold a JSON array of client registrations", example);
    return null;
  }
  const clients: ClientRegistration[] = [];
  for (const [index, entry] of json.entries()) {
    const client = readClientRegistration(entry, production);
    if (Array.isArray(client)) {
      for (const wrong of client) read.problem("CLIENTS_FILE", `client ${index + 1}: ${wrong}`, example);
    } else if (clients.some((other) => other.clientId === client.clientId)) {
      read.problem("CLIENTS_FILE", `client ${index + 1}: client_id ${client.clientId} stands twice`, example);
    } else clients.push(client);
  }
  return clients;
}

const keyFile = "./data/key-encryption-key";

function readKeyEncryptionKey(read: Reader, production: boolean, sqlite: boolean): Buffer {
  const example = "$(openssl rand -base64 32)";
  const text = read.secret("KEY_ENCRYPTION_KEY", example);
  if (text !== null) {
    const key = Buffer.from(text, "base64");
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || key.length !== 32) {
      read.problem("KEY_ENCRYPTION_KEY", "must be 32 bytes in base64", example);
    }
    return key;
  }
  if (production || !sqlite) {
    read.problem(
      "KEY_ENCRYPTION_KEY",
      `is needed ${production ? "in production" : "with MySQL"}, the same on every replica`,
      example,
    );
    return Buffer.alloc(32);
  }
  if (existsSync(keyFile)) return Buffer.from(readFileSync(keyFile, "utf8"), "base64");
  const key = randomBytes(32);
  if (read.problems.length === 0) {
    mkdirSync(dirname(keyFile), { recursive: true, mode: 0o700 });
    writeFileSync(keyFile, `${key.toString("base64")}\n`, { mode: 0o600 });
  }
  return key;
}

function readCorsOrigins(read: Reader, production: boolean): "loopback" | string[] {
  const origins = read.list("CORS_ORIGINS");
  for (const origin of origins) {
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      read.problem(
        "CORS_ORIGINS",
        `${JSON.stringify(origin)} is no origin`,
        "https://portal.example.com,https://admin.example.com",
      );
    }
  }
  return origins.length === 0 && !production ? "loopback" : origins;
}

function readRefreshRejectedStatus(read: Reader): 400 | 401 | null {
  if (read.text("REFRESH_REJECTED_STATUS") === null) return null;
  return read.choice("REFRESH_REJECTED_STATUS", ["401", "400"], "401") === "401" ? 401 : 400;
}

/**
 * Reads the environment.
 * @throws ConfigError with every problem
 */
export function readConfig(env: Environment): Settings {
  const read = new Reader(env);
  const nodeEnv = read.text("NODE_ENV");
  const production = nodeEnv === "production";
  const issuer = readIssuer(read, production);
  const databaseUrl = readDatabase(read, production);
  const sqlite = databaseUrl.startsWith("sqlite:");

  const cert = read.readablePath("GRPC_TLS_CERT");
  const key = read.readablePath("GRPC_TLS_KEY");
  const clientCa = read.readablePath("GRPC_TLS_CLIENT_CA");
  if ((cert === null) !== (key === null)) {
    read.problem("GRPC_TLS_CERT", "GRPC_TLS_CERT and GRPC_TLS_KEY belong together", "/etc/tls/tls.crt");
  }
  if (clientCa !== null && cert === null) {
    read.problem("GRPC_TLS_CLIENT_CA", "needs GRPC_TLS_CERT and GRPC_TLS_KEY", "/etc/tls/clients.crt");
  }
  const resetUrl = read.text("PASSWORD_RESET_URL") ?? `${issuer}/password-reset`;
  if (!URL.canParse(resetUrl)) read.problem("PASSWORD_RESET_URL", "is no URL", "https://portal.example.com/reset");
  const workers = read.integer("WORKERS", 1, 1, 64);
  if (workers > 1 && sqlite) read.problem("WORKERS", "more than one process needs MySQL", "1");
  const trustProxy = read.list("TRUST_PROXY");
  for (const network of trustProxy) {
    if (!/^[0-9a-fA-F.:]+(\/\d{1,3})?$|^(loopback|linklocal|uniquelocal)$/.test(network)) {
      read.problem("TRUST_PROXY", `${JSON.stringify(network)} is no address or network`, "10.0.0.0/8,127.0.0.1");
    }
  }
  const outboundAllowedHosts = read.list("OUTBOUND_ALLOWED_HOSTS").map((host) => host.toLowerCase());
  for (const host of outboundAllowedHosts) {
    if (!/^(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?$/.test(host)) {
      read.problem("OUTBOUND_ALLOWED_HOSTS", `${JSON.stringify(host)} is no host`, "keys.internal,10.0.0.7:8443");
    }
  }
  const keyRotationDays = read.integer("KEY_ROTATION_DAYS", 90, 0, 3650);
  const rateLimit = read.integer("RATE_LIMIT_PER_MINUTE", 0, 0, 10_000_000);
  const callerRateLimit = read.integer("CALLER_RATE_LIMIT", 0, 0, 10_000_000);

  const { kafka, kafkaSasl } = readKafka(read);
  const clients = readClients(read, production);

  const config: Config = {
    production,
    http: read.listener("HTTP", 8081, production),
    grpc: read.listener("GRPC", 9091, production),
    internalHttp: read.listener("INTERNAL_HTTP", 9092, production),
    internalTls: cert !== null && key !== null ? { cert, key, clientCa } : null,
    issuer,
    databaseHasClock: !sqlite,
    databaseSslCa: read.file("DATABASE_SSL_CA"),
    kafka,
    eventsFile: read.text("EVENTS_FILE") ?? "./data/events.ndjson",
    fileClientIds: new Set(clients?.map(({ clientId }) => clientId)),
    accessTokenTtl: read.integer("ACCESS_TOKEN_TTL", 120, 1, 3600),
    refreshTokenTtl: read.integer("REFRESH_TOKEN_TTL", 2_592_000, 1, 31_536_000),
    idTokenTtl: read.integer("ID_TOKEN_TTL", 600, 1, 86_400),
    refreshRejectedStatus: readRefreshRejectedStatus(read),
    corsOrigins: readCorsOrigins(read, production),
    trustProxy,
    passwordMinLength: read.integer("PASSWORD_MIN_LENGTH", 8, 8, 64),
    passwordBlocklist: read.flag("PASSWORD_BLOCKLIST", production),
    passwordResetUrl: resetUrl,
    revocationMaxStaleness: read.integer("REVOCATION_MAX_STALENESS", 1000, 50, 60_000),
    workers,
    rateLimitPerMinute: rateLimit === 0 ? null : rateLimit,
    callerRateLimit: callerRateLimit === 0 ? null : callerRateLimit,
    keyRotationIntervalMs: keyRotationDays === 0 ? null : keyRotationDays * 86_400_000,
    outboundAllowedHosts,
    jwksMaxAge: read.integer("JWKS_MAX_AGE", 300, 1, 86_400),
    logLevel: read.choice("LOG_LEVEL", ["info", "fatal", "error", "warn", "debug", "trace", "silent"], "info"),
  };
  // last: it makes a key only where the environment has no problem
  const keyEncryptionKey = readKeyEncryptionKey(read, production, sqlite);
  if (read.problems.length > 0) throw new ConfigError(read.problems);
  return { config, secrets: { keyEncryptionKey, databaseUrl, kafkaSasl, clients } };
}
