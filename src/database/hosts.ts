import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type Connection, type ConnectionOptions, createConnection } from "mysql2";
import { within } from "../deadline.ts";
import { messageOf, StartRefused } from "../errors.ts";
import { addressOf } from "../net/address.ts";
import type { MysqlHost } from "../net/mysql-url.ts";
import { INSTALLATION_KEYS, type InstallationKey, isOtherInstallation } from "./copies.ts";

/** What one server says of itself. */
export interface ServerState {
  readonly mariadb: boolean;
  readonly galera: boolean;
  /** Neither read-only nor, in a cluster, apart from its majority. */
  readonly writable: boolean;
}

/** How a server is asked: everything but host, port and socket. */
export type Access = Omit<ConnectionOptions, "host" | "port" | "stream">;

/** Between two looks at the server in use, and what its answer may take (milliseconds). */
const lookMs = 500;
const answerMs = 750;
/** So long the server in use comes first when all are asked anew, then the first that takes writes. With the two above: within about 1.5 s. */
const headStartMs = 300;
/** At the start, where nothing is lost by waiting. */
const firstAnswerMs = 4_000;
/** Between two reads of the signing keys that tell a copy of our data from other data. New ones are rare. */
const keysEveryMs = 30_000;

/** Errors of MySQL: no such database, no such table. */
const absent = new Set([1049, 1146]);
/** This user has no access to the database, the password is wrong, there is no such database. */
const refusals = new Set([1044, 1045, 1049]);

export interface HostLog {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/**
 * The servers that DATABASE_URL names. All connections go to one of them; where there are several, it is looked at twice a second. Once
 * it does not answer or has become read-only, and another one takes writes, its connections are cut and new ones go to the other, if that
 * holds a copy of the same data. Which server is promoted is decided elsewhere; there is no way back by itself to a server that returns.
 */
export class Hosts {
  readonly #hosts: readonly MysqlHost[];
  readonly #access: Access;
  readonly #log: HostLog;
  readonly #sockets = new Set<Socket>();
  /** Servers of other data that were said. */
  readonly #foreign = new Set<MysqlHost>();
  /** Of the server in use, as last read. */
  #keys: readonly InstallationKey[] = [];
  #keysReadAt = Number.NEGATIVE_INFINITY;
  /** What the server chosen at the start is: the others are of its kind. */
  readonly kind: Omit<ServerState, "writable">;
  #current: MysqlHost;
  #watch: Connection | null = null;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(hosts: readonly MysqlHost[], current: Found, kind: ServerState, access: Access, log: HostLog) {
    this.#hosts = hosts;
    this.#access = access;
    this.#log = log;
    this.#current = current.host;
    this.kind = kind;
    if (hosts.length > 1) this.#lookLater();
  }

  /**
   * Chooses the first server that takes writes; if none does, the first that answers.
   * @throws the first server's error: none answers; StartRefused: all refuse the user, the password or the database
   */
  static async open(hosts: readonly MysqlHost[], access: Access, log: HostLog): Promise<Hosts> {
    const found = await Promise.all(hosts.map((host) => ask(host, access, firstAnswerMs)));
    const chosen = found.find(({ state }) => state?.writable) ?? found.find(({ state }) => state !== null);
    if (chosen?.state == null) throw refusalOf(found) ?? found[0]?.error;
    return new Hosts(hosts, chosen, chosen.state, access, log);
  }

  get several(): boolean {
    return this.#hosts.length > 1;
  }

  /** As every connection to them has it. */
  get ssl(): Access["ssl"] {
    return this.#access.ssl;
  }

  get current(): MysqlHost {
    return this.#current;
  }

  /**
   * Compares the servers that answer; one that does not is compared when it is needed.
   * @throws StartRefused: they hold the data of different installations
   */
  async requireCopies(): Promise<void> {
    const asked = this.#hosts.map((host) =>
      withConnection(host, this.#access, (connection) => keysOf(connection, firstAnswerMs)).catch(() => null),
    );
    const keys = await Promise.all(asked);
    const ours = keys[this.#hosts.indexOf(this.#current)];
    if (ours == null) return;
    this.#keep(ours);
    const others = this.#hosts.filter((_, index) => isOtherInstallation(ours, keys[index] ?? ours));
    if (others.length === 0) return;
    throw new StartRefused(
      `DATABASE_URL: ${others.map(addressOf).join(", ")} and ${addressOf(this.#current)} hold different data: they have no signing ` +
        "key in common. Nothing was changed. Name only servers that are copies of one another: a primary and its replicas, or the " +
        "nodes of a Galera cluster",
    );
  }

  /** A socket to the server in use, for mysql2's `stream` option. */
  readonly connect = ({ config }: { readonly config: { host?: string; port?: number } }): Socket => {
    const { host, port } = this.#current;
    // what TLS verifies, and keeps its sessions by
    config.host = host;
    config.port = port;
    const socket = connect(port, host);
    socket.setNoDelay(true);
    socket.on("connect", () => socket.setKeepAlive(true, 1_000));
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    return socket;
  };

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stopWatching();
  }

  #stopWatching(): void {
    if (this.#watch !== null) cut(this.#watch);
    this.#watch = null;
  }

  #lookLater(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(async () => {
      if (!(await this.#isWritable()) && !this.#closed) await this.#findAnother();
      this.#lookLater();
    }, lookMs);
    this.#timer.unref();
  }

  async #isWritable(): Promise<boolean> {
    try {
      this.#watch ??= open(this.#current, this.#access);
      const { writable } = await stateOf(this.#watch, answerMs);
      if (performance.now() - this.#keysReadAt > keysEveryMs) this.#keep(await keysOf(this.#watch, answerMs));
      return writable;
    } catch {
      this.#stopWatching();
      return false;
    }
  }

  async #findAnother(): Promise<void> {
    const asked = this.#hosts.map(async (host) => {
      await withConnection(host, this.#access, async (connection) => {
        if (!(await stateOf(connection, answerMs)).writable) throw new Error("takes no writes");
        if (host !== this.#current) this.#requireCopy(host, await keysOf(connection, answerMs));
      });
      return host;
    });
    const current = asked[this.#hosts.indexOf(this.#current)];
    const stays = current?.then(
      () => true,
      () => false,
    );
    const first = Promise.any(asked).catch(() => null);
    if (await Promise.race([stays, sleep(headStartMs, false, { ref: false })])) return;
    const next = await first;
    if (this.#closed || next === null || next === this.#current) return;
    this.#moveTo(next);
  }

  #keep(keys: readonly InstallationKey[]): void {
    this.#keys = keys;
    this.#keysReadAt = performance.now();
  }

  #requireCopy(host: MysqlHost, keys: readonly InstallationKey[]): void {
    // at the start a replica may be empty for a moment; nothing is moved to one that still is
    if (keys.length > 0 && !isOtherInstallation(this.#keys, keys)) return void this.#foreign.delete(host);
    if (!this.#foreign.has(host)) {
      this.#log.error(
        { host: addressOf(host) },
        "this server of DATABASE_URL is not used: it holds different data, without a signing key in common with the one in use",
      );
    }
    this.#foreign.add(host);
    throw new Error("holds different data");
  }

  #moveTo(next: MysqlHost): void {
    this.#log.warn({ from: addressOf(this.#current), to: addressOf(next) }, "the database moved to another server");
    this.#current = next;
    this.#stopWatching();
    const left = Object.assign(new Error("the database moved to another server"), { code: "ECONNRESET" });
    for (const socket of this.#sockets) socket.destroy(left);
  }
}

interface Found {
  readonly host: MysqlHost;
  /** Null: it did not answer. */
  readonly state: ServerState | null;
  readonly error?: unknown;
}

function refusalOf(found: readonly Found[]): StartRefused | null {
  const [first] = found;
  if (first === undefined || !found.every(({ error }) => refusals.has((error as { errno?: number }).errno ?? 0)))
    return null;
  const names = found.map(({ host }) => addressOf(host)).join(", ");
  return new StartRefused(
    `DATABASE_URL: ${names} refuses the user, the password or the database: ${messageOf(first.error)}`,
    { cause: first.error },
  );
}

async function ask(host: MysqlHost, access: Access, ms: number): Promise<Found> {
  return withConnection<Found>(host, access, async (connection) => ({
    host,
    state: await stateOf(connection, ms),
  })).catch((error: unknown) => ({ host, state: null, error }));
}

async function withConnection<T>(
  host: MysqlHost,
  access: Access,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  const connection = open(host, access);
  try {
    return await work(connection);
  } finally {
    cut(connection);
  }
}

function open({ host, port }: MysqlHost, access: Access): Connection {
  const connection = createConnection({ ...access, host, port });
  // said by the statement that waits too
  connection.on("error", () => undefined);
  return connection;
}

/** mysql2's `destroy` only ends the stream, which a frozen server never answers. */
function cut(connection: Connection): void {
  connection.destroy();
  (connection as unknown as { readonly stream: Socket }).stream.destroy();
}

const variables = "'version', 'version_comment', 'wsrep_on', 'read_only', 'super_read_only', 'innodb_read_only'";

async function stateOf(connection: Connection, ms: number): Promise<ServerState> {
  const values = await askPairs(connection, ms, `SHOW GLOBAL VARIABLES WHERE variable_name IN (${variables})`);
  const isOn = (name: string) => /^(ON|1)$/.test(values.get(name) ?? "");
  const galera = isOn("wsrep_on");
  const ready =
    !galera || (await askPairs(connection, ms, "SHOW GLOBAL STATUS LIKE 'wsrep_ready'")).get("wsrep_ready") === "ON";
  return {
    mariadb: /mariadb/i.test(`${values.get("version")} ${values.get("version_comment")}`),
    galera,
    writable: ready && !isOn("read_only") && !isOn("super_read_only") && !isOn("innodb_read_only"),
  };
}

/** None where there is no such database or table yet. */
async function keysOf(connection: Connection, ms: number): Promise<InstallationKey[]> {
  try {
    return await askRows<InstallationKey>(connection, ms, INSTALLATION_KEYS);
  } catch (error) {
    if (absent.has((error as { errno?: number }).errno ?? 0)) return [];
    throw error;
  }
}

async function askPairs(connection: Connection, ms: number, sql: string): Promise<Map<string, string>> {
  const rows = await askRows<{ Variable_name: string; Value: string }>(connection, ms, sql);
  return new Map(rows.map((row) => [row.Variable_name, row.Value]));
}

function askRows<Row>(connection: Connection, ms: number, sql: string): Promise<Row[]> {
  const answer = new Promise<Row[]>((done, fail) => {
    connection.once("error", fail);
    connection.query(sql, (error, rows) => {
      connection.off("error", fail);
      if (error !== null) return fail(error);
      done(rows as unknown as Row[]);
    });
  });
  return within(ms, answer);
}
