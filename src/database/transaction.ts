import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { DataSource, QueryRunner } from "typeorm";
import { afterCall, checkCall } from "../call.ts";
import { within } from "../deadline.ts";
import { AuthError } from "../errors.ts";
import { LONGEST_TRANSACTION_MS } from "../store/revocations.ts";
import type { StoreLoad } from "../store/store.ts";
import { type OpenedDataSource, POOL_QUEUE } from "./data-source.ts";
import { isAway, isConflict, isConnectionLost, isLockWait, toUnavailable, withoutValues } from "./faults.ts";
import type { Hosts } from "./hosts.ts";
import { IdleConnections, type PooledConnection } from "./idle-connections.ts";
import type { Dialect } from "./schema.ts";
import type { Answer, SqliteConnection } from "./sqlite-connection.ts";
import { Turns } from "./turns.ts";

export type Scalar = string | number | null;

/** Plain parameterised SQL. */
export interface Sql {
  readonly dialect: Dialect;
  rows<Row>(sql: string, parameters?: readonly Scalar[]): Promise<Row[]>;
  /** @returns how many rows the condition found, whether or not their values changed */
  change(sql: string, parameters?: readonly Scalar[]): Promise<number>;
}

/** Plain SQL inside a transaction. */
export interface TransactionSql extends Sql {
  /**
   * Adds one to a whole-number column of at most one row; null counts as 0.
   * @param condition of the row, with `parameters`
   * @param also what else is assigned, as `column = ?`
   * @returns the new number; null: no row was found
   */
  count(
    table: string,
    column: string,
    condition: string,
    parameters: readonly Scalar[],
    also?: Readonly<Record<string, Scalar>>,
  ): Promise<number | null>;
  /** Runs once the transaction is committed for sure, before its caller gets the result, and whether its call has ended or not. */
  afterCommit(listener: () => void): void;
}

/** From the call to the end of COMMIT. Readers of the revocation feed rely on this bound. */
const transactionMs = LONGEST_TRANSACTION_MS;
/** COMMIT is not sent later than this. */
const lastCommitMs = 4_500;
const maxAttempts = 6;

/** Thrown inside a transaction: it is rolled back and its caller gets the value. */
class Rollback {
  readonly value: unknown;
  constructor(value: unknown) {
    this.value = value;
  }
}

export function rollback<T>(value: T): never {
  throw new Rollback(value);
}

/** The commit may or may not have happened. */
class CommitUnknown extends Error {}

/**
 * The one way to the database: deadlines, retries and faults are settled here.
 *
 * SQLite under TypeORM is one connection, and whatever runs while a transaction is open is inside it: there every call is a turn in
 * one queue. On MySQL a call takes one of POOL_SIZE connections. What is called from inside a transaction joins it.
 */
export class Database {
  readonly dialect: Dialect;
  readonly dataSource: DataSource;
  readonly hosts: Hosts | undefined;
  readonly #sessionSql: readonly string[];
  readonly #prepared = new WeakSet<object>();
  readonly #idle = new IdleConnections();
  readonly #turns: Turns;
  readonly #sqlite: SqliteConnection | undefined;
  readonly #current = new AsyncLocalStorage<Session>();
  #closed = false;

  constructor({ dataSource, dialect, sessionSql, poolSize, hosts, sqlite }: OpenedDataSource) {
    this.hosts = hosts;
    this.#sqlite = sqlite;
    this.dataSource = dataSource;
    this.dialect = dialect;
    this.#sessionSql = sessionSql;
    this.#turns = new Turns(dialect === "sqlite" ? 1 : poolSize, dialect === "sqlite" ? 10_000 : POOL_QUEUE);
  }

  rows<Row>(sql: string, parameters: readonly Scalar[] = []): Promise<Row[]> {
    return this.#run((session) => session.rows<Row>(sql, parameters), { kind: "read", repeatable: true });
  }

  /** Runs one statement. Outside a transaction it does not begin once the current call has ended (`duringCall`). */
  change(sql: string, parameters: readonly Scalar[] = []): Promise<number> {
    return this.#run((session) => session.change(sql, parameters), { kind: "write", repeatable: false });
  }

  /**
   * Runs `work` in a transaction, again from its start when it met another one. `work` has no effect but through `sql`.
   * Does not begin once the current call has ended (`duringCall`).
   * @param options.repeatable a second run after an unknown COMMIT finds the first one's result and answers the same
   */
  transaction<T>(work: (sql: TransactionSql) => Promise<T>, options: { repeatable?: boolean } = {}): Promise<T> {
    return this.#run(work, { kind: "transaction", repeatable: options.repeatable ?? false });
  }

  get load(): StoreLoad {
    return this.#turns.load;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.hosts?.close();
    // a frozen server does not answer the goodbye
    await within(2_000, this.dataSource.destroy()).catch(() => undefined);
  }

  async #run<T>(
    work: (session: Session) => Promise<T>,
    { kind, repeatable }: { kind: "read" | "write" | "transaction"; repeatable: boolean },
  ): Promise<T> {
    const joined = this.#current.getStore();
    if (joined?.open) return work(joined);
    if (kind !== "read") checkCall();

    const start = performance.now();
    let lost = 0;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#turn(work, kind === "transaction", start);
      } catch (error) {
        if (error instanceof AuthError) throw error;
        const left = start + lastCommitMs - performance.now();
        const unknown = error instanceof CommitUnknown || kind === "write";
        const again =
          isConflict(error) ||
          (isConnectionLost(error instanceof CommitUnknown ? error.cause : error) &&
            (!unknown || repeatable) &&
            ++lost <= 2);
        const pause = Math.random() * 10 * 2 ** attempt;
        if (again && attempt < maxAttempts && left > pause + 100) {
          await sleep(pause);
          continue;
        }
        if (error instanceof CommitUnknown) throw toUnavailable(error.cause);
        if (again || isConflict(error) || isLockWait(error) || isAway(error) || this.#closed)
          throw toUnavailable(error);
        throw error instanceof Error ? withoutValues(error) : error;
      }
    }
  }

  async #turn<T>(work: (session: Session) => Promise<T>, transaction: boolean, start: number): Promise<T> {
    const giveTurn = await this.#turns.take(start + transactionMs - performance.now());
    try {
      const session = await this.#session(start);
      try {
        return await this.#current.run(session, () =>
          transaction ? session.transaction(() => work(session)) : work(session),
        );
      } finally {
        if (session.connection !== undefined) this.#idle.used(session.connection);
        await session.end();
      }
    } finally {
      giveTurn();
    }
  }

  async #session(start: number): Promise<Session> {
    for (;;) {
      const runner = this.dataSource.createQueryRunner();
      const session = new Session(this.dialect, runner, start, this.#sqlite);
      if (this.#sqlite !== undefined) return session;
      const connecting: Promise<PooledConnection> = runner.connect();
      try {
        const connection = await within(session.left(), connecting);
        session.connection = connection;
        if (!(await within(session.left(), this.#idle.works(connection)))) {
          connection.destroy();
          continue;
        }
        if (!this.#prepared.has(connection)) {
          for (const sql of this.#sessionSql) await session.rows(sql, []);
          this.#prepared.add(connection);
        }
        return session;
      } catch (error) {
        if (session.connection === undefined) connecting.then((late) => late.destroy()).catch(() => undefined);
        else session.connection.destroy();
        throw error;
      }
    }
  }
}

/** One connection for one call. */
class Session implements TransactionSql {
  readonly dialect: Dialect;
  connection: PooledConnection | undefined;
  open = true;
  readonly #runner: QueryRunner;
  readonly #start: number;
  readonly #sqlite: SqliteConnection | undefined;
  #broken = false;
  #committed: (() => void)[] = [];

  constructor(dialect: Dialect, runner: QueryRunner, start: number, sqlite: SqliteConnection | undefined) {
    this.dialect = dialect;
    this.#runner = runner;
    this.#start = start;
    this.#sqlite = sqlite;
  }

  left(): number {
    return this.#start + transactionMs - performance.now();
  }

  async rows<Row>(sql: string, parameters: readonly Scalar[] = []): Promise<Row[]> {
    const { records } = await this.#query(sql, parameters);
    return (records ?? []) as Row[];
  }

  async change(sql: string, parameters: readonly Scalar[] = []): Promise<number> {
    const { affected } = await this.#query(sql, parameters);
    return affected ?? 0;
  }

  async count(
    table: string,
    column: string,
    condition: string,
    parameters: readonly Scalar[],
    also: Readonly<Record<string, Scalar>> = {},
  ): Promise<number | null> {
    const next = `COALESCE(${column}, 0) + 1`;
    const others = Object.keys(also).map((name) => `, ${name} = ?`);
    const values = [...Object.values(also), ...parameters];
    if (this.dialect === "sqlite") {
      const counted = `UPDATE ${table} SET ${column} = ${next}${others.join("")} WHERE ${condition} RETURNING ${column} AS number`;
      const [row] = await this.rows<{ number: number }>(counted, values);
      return row?.number ?? null;
    }
    // what LAST_INSERT_ID is given comes back with the answer
    const counted = `UPDATE ${table} SET ${column} = LAST_INSERT_ID(${next})${others.join("")} WHERE ${condition}`;
    const { affected, id } = await this.#query(counted, values);
    return affected === 1 ? (id ?? null) : null;
  }

  async transaction<T>(work: () => Promise<T>): Promise<T> {
    // IMMEDIATE: a transaction that reads first and writes later would fail where another process wrote in between
    await this.#query(this.dialect === "sqlite" ? "BEGIN IMMEDIATE" : "START TRANSACTION", []);
    let result: T;
    try {
      result = await work();
      if (performance.now() - this.#start > lastCommitMs) throw new Late();
    } catch (error) {
      await this.#rollBack();
      if (error instanceof Rollback) return error.value as T;
      throw error;
    }
    try {
      await this.#query("COMMIT", []);
    } catch (error) {
      if (this.dialect === "sqlite") await this.#rollBack();
      // a certification conflict is a clean refusal; anything else at this point says nothing of what the server did
      if (this.dialect === "sqlite" || isConflict(error)) throw error;
      this.#broken = true;
      throw new CommitUnknown("lost at COMMIT", { cause: error });
    }
    // what the commit sets off is no part of the call that wrote
    for (const listener of this.#committed) afterCall(listener);
    return result;
  }

  afterCommit(listener: () => void): void {
    this.#committed.push(listener);
  }

  async end(): Promise<void> {
    this.open = false;
    if (this.dialect === "sqlite") return;
    if (this.#broken) this.connection?.destroy();
    await this.#runner.release();
  }

  async #rollBack(): Promise<void> {
    if (this.#broken) return;
    try {
      await within(Math.max(200, this.left()), this.#send("ROLLBACK", []));
    } catch {
      // on SQLite a failed statement may have rolled back already; elsewhere the server does it when the connection goes
      this.#broken = true;
    }
  }

  async #query(sql: string, parameters: readonly Scalar[]): Promise<Answer> {
    if (!this.open) throw new Error("a statement came after the end of its transaction");
    assertScalars(parameters);
    if (this.dialect === "sqlite") return this.#send(sql, parameters);
    try {
      return await within(this.left(), this.#send(sql, parameters));
    } catch (error) {
      // its answer may still come, to the next user of the connection
      if (isAway(error)) this.#broken = true;
      // the driver's error knows nothing of who asked; this one has the stack
      throw error instanceof Error ? Object.assign(new Error(error.message), { driverError: error }) : error;
    }
  }

  /** By the driver itself: TypeORM adds a tenth to a statement's cost, a stack trace for each one above all. */
  async #send(sql: string, parameters: readonly Scalar[]): Promise<Answer> {
    const { dataSource } = this.#runner;
    dataSource.logger.logQuery(sql, parameters as Scalar[], this.#runner);
    if (this.#sqlite !== undefined) return this.#sqlite.ask(sql, parameters);
    const { connection } = this;
    if (connection === undefined) throw new Error("a statement came before its connection");
    return new Promise((resolve, reject) => {
      connection.query(sql, parameters, (error, result) => {
        if (error !== null) reject(error);
        else if (Array.isArray(result)) resolve({ records: result });
        else {
          const { affectedRows: affected, insertId: id } = result as { affectedRows: number; insertId: number };
          resolve({ affected, id });
        }
      });
    });
  }
}

class Late extends Error {
  readonly code = "PROTOCOL_DEADLINE";
}

/** mysql2 expands arrays and objects into SQL, so nothing but scalars ever reaches it. */
function assertScalars(parameters: readonly unknown[]): void {
  for (const value of parameters) {
    const fine = value === null || typeof value === "string" || (typeof value === "number" && Number.isFinite(value));
    if (!fine) throw new TypeError(`a parameter of a statement is ${value === undefined ? "undefined" : typeof value}`);
  }
}

/** `(?, ?, ?)` for so many values. */
export function placeholders(count: number): string {
  return `(${Array.from({ length: count }, () => "?").join(", ")})`;
}

/**
 * A DELETE or UPDATE of some rows at a time, where SQLite knows no LIMIT.
 * @param change all before WHERE: `DELETE FROM mail`
 * @param which of the rows, and in which order: `WHERE ... ORDER BY ... LIMIT ?`
 */
export function changeSome(
  { dialect }: { dialect: Dialect },
  change: string,
  { table, key, which }: { table: string; key: string; which: string },
): string {
  return dialect === "mysql"
    ? `${change} ${which}`
    : `${change} WHERE ${key} IN (SELECT ${key} FROM ${table} ${which})`;
}

/** As `changeSome`. */
export function deleteSome(database: { dialect: Dialect }, table: string, key: string, which: string): string {
  return changeSome(database, `DELETE FROM ${table}`, { table, key, which });
}

/** Holds the row against other transactions until the end of this one. SQLite has one writer anyway. */
export function forUpdate({ dialect }: Sql): string {
  return dialect === "mysql" ? " FOR UPDATE" : "";
}

/** Epoch milliseconds by the database's clock, as an SQL expression. */
export function databaseTime({ dialect }: { dialect: Dialect }): string {
  return dialect === "mysql"
    ? "CAST(ROUND(UNIX_TIMESTAMP(NOW(3)) * 1000) AS SIGNED)"
    : "CAST(ROUND(unixepoch('now', 'subsec') * 1000) AS INTEGER)";
}
