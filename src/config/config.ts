import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { dirname } from "node:path";
import { addressOf } from "../net/address.ts";
import { isLoopback } from "../net/loopback.ts";
import { readMysqlUrl } from "../net/mysql-url.ts";
import { problemsOfQuery } from "../net/ssl-mode.ts";
import type { TlsFiles } from "../net/tls-files.ts";
import { type ClientRegistration, readClientRegistration } from "../store/client-metadata.ts";
import { isResourceUri } from "../token/uri.ts";
import { type Brand, readBrand } from "./brand.ts";
import { type MisspeltSetting, misspeltSettings } from "./misspelt.ts";
import { type Environment, Reader } from "./reader.ts";
import { readScopeCatalogue, type ScopeCatalogue } from "./scope-catalogue.ts";
import { readTemplates, type Templates } from "./templates.ts";
import type { VariableName } from "./variables.ts";

export interface Listener {
  readonly host: string;
  readonly port: number;
}

/** For whom passkeys are made (WebAuthn: relying party). */
export interface PasskeyParty {
  /** A domain. */
  readonly rpId: string;
  /** Where they are used: the issuer's own origin first. */
  readonly origins: readonly string[];
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

/** The clients file as it was read at start. */
export interface ClientsFile {
  /** With their secrets. */
  readonly clients: readonly ClientRegistration[];
  /** Its member `version`, which orders files of replicas that start side by side; null: by `modifiedAt`. */
  readonly version: number | null;
  /** When the file was written (epoch milliseconds). */
  readonly modifiedAt: number;
  /** SHA-256 of its text, hex. */
  readonly contentHash: string;
}

/** The environment as `readConfig` read it. */
export interface Settings {
  /** Holds no secret. */
  readonly config: Config;
  readonly secrets: Secrets;
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

function readListener(read: Reader, prefix: "HTTP" | "GRPC" | "INTERNAL_HTTP", production: boolean): Listener {
  // an address in brackets, as URLs have it, is one all the same
  const host = (read.text(`${prefix}_HOST`) ?? "127.0.0.1").replace(/^\[(.*)\]$/, "$1");
  if (isIP(host) === 0 && !/^[a-z0-9_.-]+$/i.test(host)) {
    const wrong = `${JSON.stringify(host)} is neither an address nor a host name; the port is in ${prefix}_PORT`;
    read.problem(`${prefix}_HOST`, wrong);
  } else if (!production && !isLoopback(host)) {
    read.problem(
      `${prefix}_HOST`,
      `${host} is reachable from outside this machine, and NODE_ENV is not production: the development clients and their published secret would be too`,
      "127.0.0.1 (or NODE_ENV=production)",
    );
  }
  return { host, port: read.integer(`${prefix}_PORT`) };
}

/** @param port of the public listener: without ISSUER a development service is found there */
function readIssuer(read: Reader, production: boolean, port: number): string {
  const given = read.text("ISSUER");
  const example = production ? "https://auth.example.com" : "http://localhost:8081";
  if (given === null && production) read.problem("ISSUER", "is needed in production", example);
  // URLs do not have the port that http has by itself
  const value = given ?? `http://localhost${port === 80 ? "" : `:${port}`}`;
  if (!URL.canParse(value)) {
    read.problem("ISSUER", `${JSON.stringify(value)} is no URL`, example);
    return value;
  }
  const url = new URL(value);
  if (!["http:", "https:"].includes(url.protocol) || url.search !== "" || url.hash !== "" || url.username !== "") {
    read.problem("ISSUER", "must be an https URL without query, fragment or user (RFC 8414 section 2)", example);
  } else if (value !== url.origin && !value.startsWith(`${url.origin}/`)) {
    // clients compare issuers character by character (RFC 8414 section 3.3)
    read.problem("ISSUER", "scheme and host must be in lower case, without the default port", url.origin);
  } else if (url.protocol === "http:" && !isLoopback(url.hostname)) {
    read.problem("ISSUER", "must use https; http only on loopback", example);
  } else if (!production && !isLoopback(url.hostname)) {
    read.problem(
      "ISSUER",
      `${url.hostname} is not this machine, and NODE_ENV is not production`,
      "http://localhost:8081 (or NODE_ENV=production)",
    );
  } else if (value.replace(/\/+$/, "") !== url.origin + url.pathname.replace(/\/+$/, "")) {
    // the paths that clients ask are those that URLs have
    read.problem("ISSUER", "must be written as URLs are sent", url.origin + url.pathname.replace(/\/+$/, ""));
  }
  if (value.endsWith("/")) read.problem("ISSUER", "must not end with a slash", value.replace(/\/+$/, ""));
  return value;
}

function readDatabase(read: Reader, production: boolean): string {
  const url = read.secret("DATABASE_URL") ?? "sqlite:./data/auth.sqlite";
  if (url.startsWith("sqlite:")) {
    if (url.length === "sqlite:".length) read.problem("DATABASE_URL", "names no file", "sqlite:./data/auth.sqlite");
    // as of MySQL, where a parameter that is not known is refused
    if (url.includes("?")) {
      read.problem("DATABASE_URL", "a SQLite path has no parameters", url.slice(0, url.indexOf("?")));
    }
    if (production && !read.flag("ALLOW_SQLITE", production)) {
      read.problem(
        "DATABASE_URL",
        "production needs MySQL; SQLite serves one process only (ALLOW_SQLITE=1 to use it all the same)",
      );
    }
    return url;
  }
  const parsed = readMysqlUrl(url);
  if (parsed?.first.protocol !== "mysql:") {
    read.problem("DATABASE_URL", "must be sqlite:PATH or mysql://user:password@host:port,host:port/database");
    return url;
  }
  const names = parsed.hosts.map(addressOf);
  if (new Set(names).size < names.length)
    read.problem("DATABASE_URL", "names a host twice", "mysql://...@db1,db2/auth");
  for (const wrong of problemsOfQuery(parsed.first)) {
    read.problem("DATABASE_URL", wrong, "mysql://...?ssl-mode=REQUIRED");
  }
  if (parsed.sslMode === "DISABLED" && read.text("DATABASE_SSL_CA") !== null) {
    read.problem(
      "DATABASE_URL",
      "ssl-mode=DISABLED and DATABASE_SSL_CA exclude each other",
      "mysql://...?ssl-mode=VERIFY_CA",
    );
  }
  return url;
}

function readKafka(read: Reader, production: boolean): { kafka: KafkaConfig | null; kafkaSasl: KafkaSasl | null } {
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

function readClients(read: Reader, production: boolean, privateUriSchemes: readonly string[]): ClientsFile | null {
  const file = read.json("CLIENTS_FILE");
  // asked for only where it could be read: a file that cannot be is one problem, not two
  const path = file === null ? null : read.readablePath("CLIENTS_FILE");
  if (file === null || path === null) return null;
  const { json, text } = file;
  const versioned = isVersioned(json) ? json : null;
  const entries = versioned === null ? json : versioned.clients;
  if (!Array.isArray(entries)) {
    const forms = 'a JSON array of client registrations, or { "version": 1, "clients": [...] }';
    read.problem("CLIENTS_FILE", `must hold ${forms}`);
    return null;
  }
  const clients: ClientRegistration[] = [];
  for (const [index, entry] of entries.entries()) {
    const client = readClientRegistration(entry, production, privateUriSchemes);
    if (Array.isArray(client)) {
      for (const wrong of client) read.problem("CLIENTS_FILE", `client ${nameOf(entry, index)}: ${wrong}`);
    } else if (clients.some((other) => other.clientId === client.clientId)) {
      read.problem("CLIENTS_FILE", `client ${index + 1}: duplicate client_id ${client.clientId}`);
    } else clients.push(client);
  }
  const contentHash = createHash("sha256").update(text).digest("hex");
  return { clients, version: versioned?.version ?? null, modifiedAt: Math.floor(statSync(path).mtimeMs), contentHash };
}

/** Its id, or its place in the file where it has none that can be told. */
function nameOf(entry: unknown, index: number): string {
  const id = typeof entry === "object" && entry !== null && "client_id" in entry ? entry.client_id : null;
  return typeof id === "string" && /^[\x21-\x7e]{1,100}$/.test(id) ? id : String(index + 1);
}

function isVersioned(json: unknown): json is { version: number; clients: unknown } {
  if (typeof json !== "object" || json === null || !("version" in json) || !("clients" in json)) return false;
  return Number.isSafeInteger(json.version) && Number(json.version) > 0 && Object.keys(json).length === 2;
}

/** The key printed in .env.example. */
const exampleKey = "cmVwbGFjZSB0aGlzIGV4YW1wbGUga2V5IGJlZm9yZSE=";
const keyFileName = "key-encryption-key";
/** Where the key was whatever DATABASE_URL said: one that is there stays in use. */
const olderKeyFile = `./data/${keyFileName}`;

/** Beside the database, which is worth nothing without it. */
function keyFileOf(databaseUrl: string): string {
  const path = databaseUrl.slice("sqlite:".length).replace(/^\/\/(?=[/.])/, "");
  const beside = path === "" || path === ":memory:" ? olderKeyFile : `${dirname(path)}/${keyFileName}`;
  return !existsSync(beside) && existsSync(olderKeyFile) ? olderKeyFile : beside;
}

function readKeyEncryptionKeys(read: Reader, production: boolean, databaseUrl: string): readonly [Buffer, ...Buffer[]] {
  const text = read.secret("KEY_ENCRYPTION_KEY");
  if (text === null) return [defaultKeyEncryptionKey(read, production, databaseUrl)];
  const [first = "", ...others] = text.split(",").map((each) => each.trim());
  const keyOf = (each: string): Buffer => {
    const key = Buffer.from(each, "base64");
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(each) || key.length !== 32) {
      read.problem("KEY_ENCRYPTION_KEY", "must be 32 bytes in base64, or several of these with commas between them");
    } else if (production && each === exampleKey) {
      read.problem("KEY_ENCRYPTION_KEY", "is the example of .env.example, which everyone knows");
    }
    return key;
  };
  return [keyOf(first), ...others.map(keyOf)];
}

function defaultKeyEncryptionKey(read: Reader, production: boolean, databaseUrl: string): Buffer {
  if (production || !databaseUrl.startsWith("sqlite:")) {
    read.problem(
      "KEY_ENCRYPTION_KEY",
      `is needed ${production ? "in production" : "with MySQL"}, the same on every replica`,
    );
    return Buffer.alloc(32);
  }
  const keyFile = keyFileOf(databaseUrl);
  if (existsSync(keyFile)) return Buffer.from(readFileSync(keyFile, "utf8"), "base64");
  const key = randomBytes(32);
  if (read.problems.length > 0) return key;
  try {
    mkdirSync(dirname(keyFile), { recursive: true, mode: 0o700 });
    writeFileSync(keyFile, `${key.toString("base64")}\n`, { mode: 0o600 });
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    // no directory: the database cannot be there either, and says why
    if (keyFile !== olderKeyFile && ["EEXIST", "ENOTDIR"].includes(code)) return key;
    read.problem("KEY_ENCRYPTION_KEY", `cannot be made in ${keyFile} (${code})`);
  }
  return key;
}

function readBreachUrl(read: Reader): string | null {
  const url = read.text("PASSWORD_BREACH_URL");
  if (url !== null && (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))) {
    read.problem("PASSWORD_BREACH_URL", "must be an https or http URL", "https://api.pwnedpasswords.com/range");
  }
  return url;
}

function readPasskeys(read: Reader, issuer: string): PasskeyParty | null {
  const { hostname, origin } = new URL(URL.canParse(issuer) ? issuer : "http://localhost");
  const rpId = read.text("PASSKEY_RP_ID") ?? hostname;
  const others = read.list("PASSKEY_ORIGINS");
  for (const other of others) {
    const isApp = /^(android|ios):[A-Za-z0-9:._-]+$/.test(other);
    if (!isApp && !(isOrigin(other) && other.startsWith("https:"))) {
      read.problem("PASSKEY_ORIGINS", `${JSON.stringify(other)} is neither an https origin nor one of an app`);
    }
  }
  if (isIP(hostname.replace(/^\[|\]$/g, "")) !== 0) {
    if (rpId !== hostname) read.problem("PASSKEY_RP_ID", "an issuer whose host is an IP address has no passkeys");
    return null;
  }
  const isAbove = rpId.includes(".") && hostname.endsWith(`.${rpId}`);
  if (rpId !== hostname && !isAbove) {
    read.problem("PASSKEY_RP_ID", `${JSON.stringify(rpId)} is neither ${hostname} nor a domain above it`, hostname);
  }
  return { rpId, origins: [origin, ...others] };
}

function readMail(read: Reader, issuer: string): { smtpUrl: string | null; mailFrom: string } {
  const smtpUrl = read.secret("SMTP_URL");
  if (smtpUrl !== null) checkSmtpUrl(read, smtpUrl);
  const host = URL.canParse(issuer) ? new URL(issuer).hostname : "localhost";
  const mailFrom = read.text("MAIL_FROM") ?? `no-reply@${host}`;
  if (!/^([^<>\r\n]*<[^\s<>@]+@[^\s<>@]+>|[^\s<>@]+@[^\s<>@]+)$/.test(mailFrom)) {
    read.problem("MAIL_FROM", "must be an address or `Name <address>`");
  }
  return { smtpUrl, mailFrom };
}

/** The library that sends mails would take options from a query, those that turn TLS off too, and ignore those that it does not know. */
function checkSmtpUrl(read: Reader, smtpUrl: string): void {
  const form = "must be smtp://user:password@host:port or smtps://user:password@host:port";
  if (!URL.canParse(smtpUrl) || !/^smtps?:\/\/[^/]/i.test(smtpUrl)) return void read.problem("SMTP_URL", form);
  const { port, pathname, search, hash, username, password } = new URL(smtpUrl);
  const isPlain = ["", "/"].includes(pathname) && hash === "" && (port === "" || isPort(port));
  if (!isPlain || !isDecodable(username + password)) return void read.problem("SMTP_URL", form);
  if (search === "") return;
  const names = [...new URLSearchParams(search).keys()].map((name) => JSON.stringify(name)).join(", ");
  read.problem("SMTP_URL", `has no parameters, and ${names} is one: smtps: is TLS, smtp: demands STARTTLS`);
}

function isPort(text: string): boolean {
  return Number(text) >= 1 && Number(text) <= 65_535;
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function readCorsOrigins(read: Reader, production: boolean): "loopback" | string[] {
  const origins = read.list("CORS_ORIGINS");
  for (const origin of origins) {
    if (!isOrigin(origin)) read.problem("CORS_ORIGINS", `${JSON.stringify(origin)} is no origin`);
    else if (origin.includes("*")) {
      read.problem("CORS_ORIGINS", `${JSON.stringify(origin)}: origins are compared as they are; name each of them`);
    }
  }
  return origins.length === 0 && !production ? "loopback" : origins;
}

/** Schemes that a browser, or the machine it runs on, acts upon by itself: an answer sent there would run, or be read by others. */
const actedUpon: readonly string[] = [
  ...["http", "https", "ws", "wss", "ftp", "ftps", "sftp", "file", "filesystem", "data", "blob"],
  ...["about", "view-source", "javascript", "vbscript", "livescript", "mocha", "jar", "feed"],
  ...["mailto", "tel", "sms", "callto", "intent", "chrome", "chrome-extension", "moz-extension"],
  ...["safari-extension", "edge", "resource", "devtools", "urn", "cid", "mid", "ssh", "telnet"],
  ...["ldap", "ldaps", "smb", "nfs", "search-ms", "ms-msdt", "ms-appinstaller", "shell", "res"],
  ...["mhtml"],
];

function readPrivateUriSchemes(read: Reader): string[] {
  const schemes = read.list("PRIVATE_URI_SCHEMES").map((scheme) => scheme.toLowerCase());
  for (const scheme of schemes) {
    const problem = schemeProblem(scheme);
    if (problem !== null) read.problem("PRIVATE_URI_SCHEMES", `${JSON.stringify(scheme)} ${problem}`);
  }
  return schemes;
}

function schemeProblem(scheme: string): string | null {
  if (!/^[a-z][a-z0-9+.-]*$/.test(scheme)) return "is no URI scheme: name it without colon and slashes";
  if (scheme.includes(".")) return "has a dot: every client may register it";
  return actedUpon.includes(scheme) ? "is no scheme of an application" : null;
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

/** Besides http and https, apps with an embedded browser send origins with custom schemes, such as `capacitor://localhost`. */
function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { origin, protocol } = new URL(text);
  return origin === text || (!/^https?:$/.test(protocol) && /^[a-z][a-z0-9+.-]*:\/\/[^/?#]+$/.test(text));
}

function readTrustProxy(read: Reader): string[] {
  const networks = read.list("TRUST_PROXY");
  for (const network of networks) {
    if (!isNetwork(network)) read.problem("TRUST_PROXY", `${JSON.stringify(network)} is no address or network`);
  }
  return networks;
}

function isNetwork(text: string): boolean {
  if (/^(loopback|linklocal|uniquelocal)$/.test(text)) return true;
  const [address = "", bits, ...rest] = text.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return false;
  // a network of 0 bits is every address: then anybody could name any address
  return (
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) > 0 && Number(bits) <= (family === 4 ? 32 : 128))
  );
}

/** Each listener needs a port of its own. */
function checkPorts(read: Reader, listeners: readonly (readonly [VariableName, Listener])[]): void {
  const seen = new Map<number, string>();
  for (const [variable, { port }] of listeners) {
    const other = seen.get(port);
    if (other !== undefined) read.problem(variable, `is ${port}, as ${other} is`, String(port + 10));
    seen.set(port, variable);
  }
}

function readEventsFile(read: Reader): string {
  const file = read.text("EVENTS_FILE") ?? "./data/events.ndjson";
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory()) {
    read.problem("EVENTS_FILE", `${file} is a folder: name a file`, "./data/events.ndjson");
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

  const cert = read.readablePath("GRPC_TLS_CERT");
  const key = read.readablePath("GRPC_TLS_KEY");
  const clientCa = read.readablePath("GRPC_TLS_CLIENT_CA");
  if ((cert === null) !== (key === null)) {
    read.problem("GRPC_TLS_CERT", "GRPC_TLS_CERT and GRPC_TLS_KEY belong together");
  }
  if (clientCa !== null && cert === null) {
    read.problem("GRPC_TLS_CLIENT_CA", "needs GRPC_TLS_CERT and GRPC_TLS_KEY");
  }
  const resetUrl = read.text("PASSWORD_RESET_URL") ?? `${issuer}/password-reset`;
  if (!URL.canParse(resetUrl) || !/^https?:$/.test(new URL(resetUrl).protocol)) {
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

  const config: Config = {
    production,
    http,
    grpc,
    internalHttp,
    internalTls: cert !== null && key !== null ? { cert, key, clientCa } : null,
    issuer,
    databaseHasClock: !sqlite,
    databaseSslCa: read.readablePath("DATABASE_SSL_CA"),
    kafka,
    eventsFile: readEventsFile(read),
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
    hstsIncludeSubDomains: read.flag("HSTS_INCLUDE_SUBDOMAINS", production),
    passwordMinLength: read.integer("PASSWORD_MIN_LENGTH"),
    passwordBlocklist: read.flag("PASSWORD_BLOCKLIST", production),
    passwordResetUrl: resetUrl,
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
  };
  // last: it makes a key only where the environment has no problem
  const keyEncryptionKeys = readKeyEncryptionKeys(read, production, databaseUrl);
  if (read.problems.length > 0) throw new ConfigError(read.problems);
  return { config, secrets: { keyEncryptionKeys, databaseUrl, kafkaSasl, smtpUrl, clients } };
}
