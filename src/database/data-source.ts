import { chmodSync, closeSync, existsSync, openSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type Sqlite from "better-sqlite3";
import { DataSource } from "typeorm";
import { within } from "../deadline.ts";
import { StartRefused } from "../errors.ts";
import { readMysqlUrl } from "../net/mysql-url.ts";
import { makePrivateFolder } from "../private-folder.ts";
import { databaseTls } from "./database-tls.ts";
import { type HostLog, Hosts } from "./hosts.ts";
import { Initial1790000000000 } from "./migrations/1790000000000-initial.ts";
import { Protocols1790100000000 } from "./migrations/1790100000000-protocols.ts";
import { Epochs1790200000000 } from "./migrations/1790200000000-epochs.ts";
import { OutboxQueues1790300000000 } from "./migrations/1790300000000-outbox-queues.ts";
import { SessionApplications1790400000000 } from "./migrations/1790400000000-session-applications.ts";
import { ClientsFile1790500000000 } from "./migrations/1790500000000-clients-file.ts";
import { AuthenticationMethods1790500500000 } from "./migrations/1790500500000-authentication-methods.ts";
import { ClientSource1790500600000 } from "./migrations/1790500600000-client-source.ts";
import { Factors1790600000000 } from "./migrations/1790600000000-factors.ts";
import { Accounts1790700000000 } from "./migrations/1790700000000-accounts.ts";
import { UserLanguage1790800000000 } from "./migrations/1790800000000-user-language.ts";
import { WaitingEvents1790900000000 } from "./migrations/1790900000000-waiting-events.ts";
import { IdleLimit1791000000000 } from "./migrations/1791000000000-idle-limit.ts";
import { Issuer1791100000000 } from "./migrations/1791100000000-issuer.ts";
import { ClientEpochs1791200000000 } from "./migrations/1791200000000-client-epochs.ts";
import { PasswordGeneration1791300000000 } from "./migrations/1791300000000-password-generation.ts";
import { GivenToClients1791400000000 } from "./migrations/1791400000000-given-to-clients.ts";
import { PasskeyParty1791500000000 } from "./migrations/1791500000000-passkey-party.ts";
import { ConsentsByClient1791600000000 } from "./migrations/1791600000000-consents-by-client.ts";
import { type Dialect, entities } from "./schema.ts";
import { SqliteConnection } from "./sqlite-connection.ts";

export interface DatabaseLocation {
  /** `sqlite:./path`, `sqlite::memory:` or `mysql://user:password@host:port,host:port/database`. */
  readonly url: string;
  /** PEM text, or the path of a PEM file, which is read again for each connection: TLS to the database, verified. */
  readonly sslCa?: string | undefined;
  /** Told when the connections move to another server. */
  readonly log?: HostLog | undefined;
}

/** Statements that may wait for a connection; beyond that a caller is told to come back at once. */
export const POOL_SIZE = 16;
export const POOL_QUEUE = 512;
export const CONNECT_TIMEOUT_MS = 2_000;

export const MIGRATIONS = [
  Initial1790000000000,
  Protocols1790100000000,
  Epochs1790200000000,
  OutboxQueues1790300000000,
  SessionApplications1790400000000,
  ClientsFile1790500000000,
  AuthenticationMethods1790500500000,
  ClientSource1790500600000,
  Factors1790600000000,
  Accounts1790700000000,
  UserLanguage1790800000000,
  WaitingEvents1790900000000,
  IdleLimit1791000000000,
  Issuer1791100000000,
  ClientEpochs1791200000000,
  PasswordGeneration1791300000000,
  GivenToClients1791400000000,
  PasskeyParty1791500000000,
  ConsentsByClient1791600000000,
];
export const MIGRATIONS_TABLE = "auth_migrations";

export interface OpenedDataSource {
  readonly dataSource: DataSource;
  readonly dialect: Dialect;
  /** What a fresh connection is told before anything else. */
  readonly sessionSql: readonly string[];
  readonly poolSize: number;
  /** The servers of MySQL. */
  readonly hosts?: Hosts;
  readonly sqlite?: SqliteConnection;
}

/** @param shared of another pool to the same servers: both are always on the same one */
export async function openDataSource(
  location: DatabaseLocation,
  poolSize: number,
  shared?: Hosts,
): Promise<OpenedDataSource> {
  return /^(mysql|mariadb):/.test(location.url) ? openMysql(location, poolSize, shared) : openSqlite(location.url);
}

const common = {
  migrations: MIGRATIONS,
  migrationsTableName: MIGRATIONS_TABLE,
  synchronize: false,
  logging: false,
} as const;

async function openSqlite(url: string): Promise<OpenedDataSource> {
  if (!url.startsWith("sqlite:")) throw new Error("a database URL starts with sqlite: or mysql://");
  const path = url.slice("sqlite:".length).replace(/^\/\/(?=[/.])/, "");
  if (path === "") throw new Error("a SQLite URL names a file, as in sqlite:./data/auth.sqlite");
  const database = path === ":memory:" ? path : resolve(path);
  if (database !== ":memory:") prepareFile(database);
  let sqlite: SqliteConnection | undefined;
  const dataSource = new DataSource({
    ...common,
    type: "better-sqlite3",
    database,
    entities: entities("sqlite"),
    enableWAL: database !== ":memory:",
    // The wait blocks the event loop, so it is short; the whole transaction is tried again instead.
    timeout: 100,
    prepareDatabase: (connection: Sqlite) => {
      // with WAL a commit survives the end of the process; only a power cut may take the last ones
      connection.pragma("synchronous = NORMAL");
      connection.pragma("temp_store = MEMORY");
      sqlite = new SqliteConnection(connection);
    },
  });
  try {
    await dataSource.initialize();
  } catch (error) {
    throw fileProblem(database, error) ?? error;
  }
  if (sqlite === undefined) throw new Error("SQLite gave no connection");
  return { dataSource, dialect: "sqlite", sessionSql: [], poolSize: 1, sqlite };
}

function prepareFile(file: string): void {
  try {
    makePrivateFile(file);
  } catch (error) {
    throw fileProblem(file, error) ?? error;
  }
}

/** What an operator can do about a file that cannot be opened; null: that is not the problem. */
function fileProblem(file: string, error: unknown): StartRefused | null {
  const { code = "" } = error as { code?: string };
  const reasons: Record<string, string> = {
    EACCES: "this process may not write there",
    EPERM: "this process may not write there",
    EROFS: "the file system is read-only",
    ENOENT: "its directory cannot be made",
    ENOTDIR: "a part of the path is a file, not a directory",
    EEXIST: "a part of the path is a file, not a directory",
    EISDIR: "it is a directory",
    ENOSPC: "the disk is full",
    SQLITE_CANTOPEN: "it cannot be opened for reading and writing",
    SQLITE_READONLY: "it is read-only",
    SQLITE_NOTADB: "it is no SQLite database",
  };
  const reason = reasons[code];
  if (reason === undefined) return null;
  const advice = "Choose another path (DATABASE_URL=sqlite:./data/auth.sqlite) or give this process access";
  return new StartRefused(`DATABASE_URL: cannot use the file ${file}: ${reason}. ${advice}`, { cause: error });
}

/** SQLite gives `-wal` and `-shm` the mode of the database file. A directory that was there keeps its mode. */
function makePrivateFile(file: string): void {
  makePrivateFolder(dirname(resolve(file)));
  closeSync(openSync(file, "a", 0o600));
  for (const name of [file, `${file}-wal`, `${file}-shm`]) if (existsSync(name)) chmodSync(name, 0o600);
}

/** @param shared of a pool to the same servers, which this one joins */
async function openMysql(
  { url, sslCa, log = silent }: DatabaseLocation,
  poolSize: number,
  shared: Hosts | undefined,
): Promise<OpenedDataSource> {
  const location = readMysqlUrl(url);
  if (location === null) throw new Error("a MySQL URL names a database, as in mysql://user:password@host:3306/auth");
  const { user, password, database } = location;
  const ssl = shared === undefined ? databaseTls(location.sslMode, sslCa, log) : shared.ssl;
  const access = {
    password,
    database,
    charset: "utf8mb4_bin",
    connectTimeout: CONNECT_TIMEOUT_MS,
    ...(ssl === undefined ? {} : { ssl }),
  };
  const hosts = shared ?? (await Hosts.open(location.hosts, { ...access, user }, log));
  const { kind } = hosts;
  const dataSource = new DataSource({
    ...common,
    ...access,
    ...hosts.current,
    type: kind.mariadb ? "mariadb" : "mysql",
    username: user,
    entities: entities("mysql"),
    timezone: "Z",
    bigNumberStrings: false,
    poolSize,
    extra: {
      stream: hosts.connect,
      queueLimit: POOL_QUEUE,
      // a reset on release would cost a round trip and forget the session's settings
      resetOnRelease: false,
      maxIdle: poolSize,
      idleTimeout: 60_000,
    },
  });
  try {
    await within(8_000, dataSource.initialize());
  } catch (error) {
    if (shared === undefined) hosts.close();
    throw error;
  }
  return { dataSource, dialect: "mysql", sessionSql: sessionSql(kind), poolSize, hosts };
}

const silent = { warn: () => undefined, error: () => undefined };

function sessionSql({ mariadb, galera }: Hosts["kind"]): string[] {
  const settings = [
    "time_zone = '+00:00'",
    // explicit: under NO_BACKSLASH_ESCAPES the driver's escaping would not hold, and without strict mode values are cut silently
    "sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    // who waits for a row that stays locked is answered with 503 after this (seconds)
    "innodb_lock_wait_timeout = 2",
  ];
  // the server's own bounds, for a client that froze inside a transaction
  if (mariadb) settings.push("max_statement_time = 5", "idle_transaction_timeout = 5");
  // a node may lag behind the one that another replica wrote to
  if (galera) settings.push("wsrep_sync_wait = 7");
  return ["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", `SET SESSION ${settings.join(", ")}`];
}
