import Sqlite from "better-sqlite3";
import { createPool, type Pool, type PoolConnection, type ResultSetHeader, type RowDataPacket } from "mysql2/promise";

/** Of a column that is not there: undefined. */
export type Value = string | number | null | undefined;
export type Row = Record<string, Value>;

/** The statements of the bare program, on either engine and by its driver alone. */
export interface Statements {
  row(sql: string, values: readonly Value[]): Promise<Row | undefined>;
  change(sql: string, values: readonly Value[]): Promise<void>;
  /** Adds one to a number of a row. @returns the new one */
  next(table: string, column: string, condition: string, values: readonly Value[]): Promise<number>;
}

export interface BareDatabase extends Statements {
  /** An expression: the end of a text and what a value adds to it, at most 1,000 characters. */
  endOf(column: string): string;
  transaction(work: (sql: Statements) => Promise<void>): Promise<void>;
}

/** @param url as the service's DATABASE_URL */
export function openBareDatabase(url: string): BareDatabase {
  return url.startsWith("sqlite:") ? sqliteDatabase(url.slice("sqlite:".length)) : mysqlDatabase(url);
}

export function insert(sql: Statements, table: string, row: Row): Promise<void> {
  const columns = Object.keys(row);
  const places = columns.map(() => "?").join(", ");
  return sql.change(`INSERT INTO ${table} (${columns.join(", ")}) VALUES (${places})`, Object.values(row));
}

function mysqlDatabase(url: string): BareDatabase {
  const pool = createPool({ uri: url, connectionLimit: 10 });
  return {
    ...mysqlStatements(pool),
    endOf: (column) => `RIGHT(CONCAT(${column}, ?), 1000)`,
    async transaction(work) {
      const connection = await pool.getConnection();
      try {
        await connection.query("START TRANSACTION");
        await work(mysqlStatements(connection));
        await connection.query("COMMIT");
      } finally {
        connection.release();
      }
    },
  };
}

function mysqlStatements(connection: Pool | PoolConnection): Statements {
  return {
    row: async (sql, values) => (await connection.query<(Row & RowDataPacket)[]>(sql, [...values]))[0][0],
    change: async (sql, values) => {
      await connection.query(sql, [...values]);
    },
    next: async (table, column, condition, values) => {
      const sql = `UPDATE ${table} SET ${column} = LAST_INSERT_ID(${column} + 1) WHERE ${condition}`;
      return (await connection.query<ResultSetHeader>(sql, [...values]))[0].insertId;
    },
  };
}

/** One connection: transactions take turns, and no statement comes between those of another's. */
function sqliteDatabase(file: string): BareDatabase {
  const connection = new Sqlite(file, { timeout: 5_000 });
  connection.pragma("journal_mode = WAL");
  connection.pragma("synchronous = NORMAL");
  const prepared = new Map<string, ReturnType<typeof connection.prepare>>();
  const statement = (sql: string) => {
    const known = prepared.get(sql) ?? connection.prepare(sql);
    prepared.set(sql, known);
    return known;
  };
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
  const statements: Statements = {
    row: async (sql, values) => statement(sql).get(...values) as Row | undefined,
    change: async (sql, values) => {
      statement(sql).run(...values);
    },
    next: async (table, column, condition, values) => {
      const sql = `UPDATE ${table} SET ${column} = ${column} + 1 WHERE ${condition} RETURNING ${column} AS number`;
      return (statement(sql).get(...values) as { number: number }).number;
    },
  };
  return {
    row: (sql, values) => inTurn(() => statements.row(sql, values)),
    change: (sql, values) => inTurn(() => statements.change(sql, values)),
    next: (...next) => inTurn(() => statements.next(...next)),
    endOf: (column) => `substr(${column} || ?, -1000)`,
    transaction: (work) =>
      inTurn(async () => {
        statement("BEGIN IMMEDIATE").run();
        await work(statements);
        statement("COMMIT").run();
      }),
  };
}
