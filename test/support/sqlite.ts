import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import type { TestApp } from "./app.ts";

/** What stands in a service's own database, read behind its back. Only with SQLite. */
export function rowsOf<Row = Record<string, unknown>>(app: TestApp, sql: string, ...values: SQLInputValue[]): Row[] {
  const database = new DatabaseSync(app.secrets.databaseUrl.slice("sqlite:".length), { readOnly: true });
  try {
    return database.prepare(sql).all(...values) as Row[];
  } finally {
    database.close();
  }
}

export function countOf(app: TestApp, table: string): number {
  return rowsOf<{ count: number }>(app, `SELECT COUNT(*) AS count FROM ${table}`)[0]?.count ?? 0;
}
