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

/** What SQLite has several plans for: of several tables, or the first ones of many rows. */
const hasPlans = /^SELECT.*( JOIN | ORDER BY |\bMIN\()/s;

/**
 * A read whose plan stays. Where SQLite has several plans it makes one anew whenever values are bound, because another one might suit these
 * better, and the driver then makes the function anew that builds its rows: together six to twelve times the work of the statement. Values in
 * subqueries it leaves alone.
 */
export function plannedOnce(sql: string): string {
  return hasPlans.test(sql) ? sql.replaceAll("?", "(SELECT ?)") : sql;
}
