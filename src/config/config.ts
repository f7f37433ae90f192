import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { TlsFiles } from "../net/tls-files.ts";
import { isResourceUri } from "../token/uri.ts";
import { checkPorts, type Listener, readCorsOrigins, readIssuer, readListener, readTrustProxy } from "./addresses.ts";
import { type Brand, readBrand } from "./brand.ts";
import { type ClientsFile, readClients } from "./clients-file.ts";
import { readDatabase, sqliteFileOf } from "./database-url.ts";
import { type DoubtfulSetting, doubtfulSettings } from "./doubtful.ts";
import { type KafkaConfig, type KafkaSasl, readKafka } from "./kafka-settings.ts";
import { readKeyEncryptionKeys } from "./key-encryption-keys.ts";
import { readMail } from "./mail-settings.ts";
import { type MisspeltSetting, misspeltSettings } from "./misspelt.ts";
import { type PasskeyParty, readPasskeys } from "./passkey-party.ts";
import { readPrivateUriSchemes } from "./private-uri-schemes.ts";
import { type Environment, Reader } from "./reader.ts";
import { readScopeCatalogue, type ScopeCatalogue } from "./scope-catalogue.ts";
import { readTemplates, type Templates } from "./templates.ts";
import { readDatabaseSslCa, readInternalTls } from "./tls-settings.ts";

export interface Config {
  readonly production: boolean;
  readonly http: Listener;
  readonly grpc: Listener;
  readonly internalHttp: Listener;
  /** TLS of both internal listeners. */
  readonly internalTls: TlsFiles | null;
  /** No trailing slash. */
  readonly issuer: string;
  /** True: the database server has its own clock. False: SQLite, which uses the clock of this machine. */
  readonly databaseHasClock: boolean;
  /** The path of a PEM file. */
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
  /** Resources that every client may ask tokens for (RFC 8707). */
  readonly resources: readonly string[];
  readonly scopes: ScopeCatalogue;
  /** `loopback`: any origin on this machine. */
  readonly corsOrigins: "loopback" | readonly string[];
  readonly trustProxy: readonly string[];
  /** Of idle connections to the public listener (milliseconds). */
  readonly keepAliveTimeoutMs: number;
  readonly hstsIncludeSubDomains: boolean;
  /** Whether clients may register themselves without an initial access token. */
  readonly openRegistration: boolean;
  /** Whether a client id may be the URL of the client's metadata. */
  readonly clientIdDocuments: boolean;
  /** Private-use schemes without a dot that redirect URIs may have (RFC 8252 section 8.4), in lower case. */
  readonly privateUriSchemes: readonly string[];
  /** Whether a client assertion must name the issuer as its audience, and no endpoint. */
  readonly strictAssertionAudience: boolean;
  readonly passwordMinLength: number;
  readonly passwordBlocklist: boolean;
  readonly passwordResetUrl: string;
  /** Service that knows breached passwords; null: none is asked. */
  readonly passwordBreachUrl: string | null;
  /** Null: the issuer's host is an IP address, for which browsers make no passkeys. */
  readonly passkeys: PasskeyParty | null;
  /** Sender of mails. */
  readonly mailFrom: string;
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
  /** Hosts (`name` or `name:port`) that this service may call though their addresses are private: clients' key sets, logos, logout. */
  readonly outboundAllowedHosts: readonly string[];
  /** How the pages look; null: as this service's own. */
  readonly brand: Brand | null;
  /** Of TEMPLATES_DIR. */
  readonly templates: Templates;
  readonly logLevel: string;
  /** Variables that were probably meant to be settings. */
  readonly misspelt: readonly MisspeltSetting[];
  readonly doubtful: readonly DoubtfulSetting[];
}

/** What only app.ts and the commands hold, and hand to the database, crypto, Kafka and the clients' registration. */
export interface Secrets {
  /** 32 bytes each: the first one seals, all of them open. */
  readonly keyEncryptionKeys: readonly [Buffer, ...Buffer[]];
  /** With the password. */
  readonly databaseUrl: string;
  readonly kafkaSasl: KafkaSasl | null;
  /** With user name and password; null: the service sends no mail. */
  readonly smtpUrl: string | null;
  /** Null: no clients file. */
  readonly clients: ClientsFile | null;
}

/** The environment as `readConfig` read it. */
export interface Settings {
  /** Holds no secret. */
  readonly config: Config;
  readonly secrets: Secrets;
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

function readBreachUrl(read: Reader): string | null {
  const url = read.text("PASSWORD_BREACH_URL");
  if (url !== null && (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))) {
    read.problem("PASSWORD_BREACH_URL", "must be an https or http URL", "https://api.pwnedpasswords.com/range");
  }
  return url;
}

function readResources(read: Reader): string[] {
  const resources = read.list("RESOURCES");
  for (const resource of resources) {
    if (!isResourceUri(resource)) {
      read.problem("RESOURCES", `${JSON.stringify(resource)} is no absolute URI without fragment (RFC 8707)`);
    }
  }
  return resources;
}

function readEventsFile(read: Reader, databaseUrl: string): string {
  const file = read.text("EVENTS_FILE") ?? "./data/events.ndjson";
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory()) {
    read.problem("EVENTS_FILE", `${file} is a folder: name a file`, "./data/events.ndjson");
  }
  // events would be written into the other one
  const isDatabase = resolve(file) === resolve(sqliteFileOf(databaseUrl) ?? "");
  const other = isDatabase ? "DATABASE_URL" : read.variableOf(file);
  if (other !== null) {
    read.problem("EVENTS_FILE", `${file} is the file of ${other}: name another one`, "./data/events.ndjson");
  }
  return file;
}

/**
 * Reads the environment.
 * @throws ConfigError with every problem
 */
export function readConfig(env: Environment): Settings {
  const read = new Reader(env);
  const nodeEnv = read.text("NODE_ENV")?.toLowerCase() ?? null;
  const production = nodeEnv === "production";
  // what was meant to be production must not be development
  if (!production && nodeEnv?.startsWith("prod")) read.problem("NODE_ENV", `is ${nodeEnv}: write production`);
  const http = readListener(read, "HTTP", production);
  const issuer = readIssuer(read, production, http.port);
  const databaseUrl = readDatabase(read, production);
  const sqlite = databaseUrl.startsWith("sqlite:");

  const internalTls = readInternalTls(read);
  const passwordResetUrl = read.text("PASSWORD_RESET_URL") ?? `${issuer}/password-reset`;
  if (!URL.canParse(passwordResetUrl) || !/^https?:$/.test(new URL(passwordResetUrl).protocol)) {
    read.problem("PASSWORD_RESET_URL", "must be an http or https URL");
  }
  const workers = read.integer("WORKERS");
  if (workers > 1 && sqlite) read.problem("WORKERS", "more than one process needs MySQL", "1");
  const trustProxy = readTrustProxy(read);
  const outboundAllowedHosts = read.list("OUTBOUND_ALLOWED_HOSTS").map((host) => host.toLowerCase());
  for (const host of outboundAllowedHosts) {
    if (!/^(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?$/.test(host)) {
      read.problem("OUTBOUND_ALLOWED_HOSTS", `${JSON.stringify(host)} is no host`);
    }
  }
  const keyRotationDays = read.integer("KEY_ROTATION_DAYS");
  const rateLimit = read.integer("RATE_LIMIT_PER_MINUTE");
  const callerRateLimit = read.integer("CALLER_RATE_LIMIT");

  const rejectedStatus = read.choice("REFRESH_REJECTED_STATUS");
  const { kafka, kafkaSasl } = readKafka(read, production);
  const privateUriSchemes = readPrivateUriSchemes(read);
  const clients = readClients(read, production, privateUriSchemes);
  const { smtpUrl, mailFrom } = readMail(read, issuer);

  const grpc = readListener(read, "GRPC", production);
  const internalHttp = readListener(read, "INTERNAL_HTTP", production);
  checkPorts(read, [
    ["HTTP_PORT", http],
    ["GRPC_PORT", grpc],
    ["INTERNAL_HTTP_PORT", internalHttp],
  ]);

  const hstsIncludeSubDomains = read.flag("HSTS_INCLUDE_SUBDOMAINS", production);
  const config: Config = {
    production,
    http,
    grpc,
    internalHttp,
    internalTls,
    issuer,
    databaseHasClock: !sqlite,
    databaseSslCa: readDatabaseSslCa(read),
    kafka,
    eventsFile: readEventsFile(read, databaseUrl),
    fileClientIds: new Set(clients?.clients.map(({ clientId }) => clientId)),
    accessTokenTtl: read.integer("ACCESS_TOKEN_TTL"),
    refreshTokenTtl: read.integer("REFRESH_TOKEN_TTL"),
    idTokenTtl: read.integer("ID_TOKEN_TTL"),
    refreshRejectedStatus: rejectedStatus === null ? null : (Number(rejectedStatus) as 400 | 401),
    resources: readResources(read),
    scopes: readScopeCatalogue(read),
    corsOrigins: readCorsOrigins(read, production),
    trustProxy,
    keepAliveTimeoutMs: read.integer("KEEP_ALIVE_TIMEOUT") * 1000,
    openRegistration: read.flag("OPEN_REGISTRATION", production),
    clientIdDocuments: read.flag("CLIENT_ID_DOCUMENTS", production),
    privateUriSchemes,
    strictAssertionAudience: read.flag("STRICT_ASSERTION_AUDIENCE", production),
    hstsIncludeSubDomains,
    passwordMinLength: read.integer("PASSWORD_MIN_LENGTH"),
    passwordBlocklist: read.flag("PASSWORD_BLOCKLIST", production),
    passwordResetUrl,
    passwordBreachUrl: readBreachUrl(read),
    passkeys: readPasskeys(read, issuer),
    mailFrom,
    revocationMaxStaleness: read.integer("REVOCATION_MAX_STALENESS"),
    workers,
    rateLimitPerMinute: rateLimit === 0 ? null : rateLimit,
    callerRateLimit: callerRateLimit === 0 ? null : callerRateLimit,
    keyRotationIntervalMs: keyRotationDays === 0 ? null : keyRotationDays * 86_400_000,
    outboundAllowedHosts,
    jwksMaxAge: read.integer("JWKS_MAX_AGE"),
    templates: readTemplates(read, read.text("TEMPLATES_DIR")),
    brand: readBrand(read),
    logLevel: read.choice("LOG_LEVEL") ?? "info",
    misspelt: misspeltSettings(env),
    doubtful: doubtfulSettings(env, {
      issuer,
      usesSqlite: sqlite,
      usesKafka: kafka !== null,
      sendsMail: smtpUrl !== null,
      hstsIncludeSubDomains,
      passwordResetUrl,
    }),
  };
  // last: it makes a key only where the environment has no problem
  const keyEncryptionKeys = readKeyEncryptionKeys(read, production, databaseUrl);
  if (read.problems.length > 0) throw new ConfigError(read.problems);
  return { config, secrets: { keyEncryptionKeys, databaseUrl, kafkaSasl, smtpUrl, clients } };
}
