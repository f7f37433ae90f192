import type Sqlite from "better-sqlite3";
import type { Statement } from "better-sqlite3";
import { LRUCache } from "lru-cache";

/** What a statement found or changed. */
export interface Answer {
  readonly records?: unknown[];
  readonly affected?: number;
  /** What `LAST_INSERT_ID` was given, on MySQL. */
  readonly id?: number;
}

/** The one connection to a SQLite file, asked by its driver itself: TypeORM passes each statement through eight promises. */
export class SqliteConnection {
  readonly #driver: Sqlite;
  readonly #statements = new LRUCache<string, Statement>({ max: 400 });

  constructor(driver: Sqlite) {
    this.#driver = driver;
  }

  /** @throws Error with the driver's own as `driverError` */
  ask(sql: string, parameters: readonly unknown[]): Answer {
    try {
      const statement = this.#statementOf(sql);
      if (statement.reader) return { records: statement.all(...parameters) };
      return { affected: statement.run(...parameters).changes };
    } catch (error) {
      throw error instanceof Error ? Object.assign(new Error(error.message), { driverError: error }) : error;
    }
  }

  #statementOf(sql: string): Statement {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#driver.prepare(plannedOnce(sql));
    this.#statements.set(sql, statement);
    return statement;
  }
}

/** SQLite can choose between plans for these: reads of several tables, and of the first of many rows. */
const hasPlans = /^SELECT.*( JOIN | ORDER BY |\bMIN\()/s;

/**
 * Keeps SQLite from planning a read at each call. Where it can choose between plans, it chooses again whenever a value is bound, and
 * better-sqlite3 then compiles the function again that makes objects of the rows: six to twelve times the work of the statement. SQLite does
 * not choose again for a value in a subquery.
 */
export function plannedOnce(sql: string): string {
  return hasPlans.test(sql) ? sql.replaceAll("?", "(SELECT ?)") : sql;
}
