import { type QueryRunner, type Table, TableIndex } from "typeorm";
import { Query } from "typeorm/driver/Query.js";
import { type Dialect, type TableShape, tableOf } from "../schema.ts";
import { INITIAL_TABLES } from "./1790000000000-initial.ts";

/** Columns that a migration adds, by table. */
export type AddedColumns = Readonly<Record<string, TableShape["columns"]>>;

/** Runners that only write down what they would run. */
const planning = new WeakSet<QueryRunner>();

/** Runs `work` with a runner that writes statements down instead of running them. @returns the statements */
export async function planOf(queryRunner: QueryRunner, work: () => Promise<void>): Promise<string[]> {
  queryRunner.enableSqlMemory();
  planning.add(queryRunner);
  try {
    await work();
    return queryRunner.getMemorySql().upQueries.map(({ query }) => query);
  } finally {
    planning.delete(queryRunner);
    queryRunner.disableSqlMemory();
  }
}

/** Changes rows, which TypeORM would do though only a plan is asked for. */
export async function changeRows(queryRunner: QueryRunner, sql: string): Promise<void> {
  if (planning.has(queryRunner)) queryRunner.getMemorySql().upQueries.push(new Query(sql));
  else await queryRunner.query(sql);
}

export function dialectOf(queryRunner: QueryRunner): Dialect {
  return queryRunner.dataSource.options.type === "better-sqlite3" ? "sqlite" : "mysql";
}

/** A table as it is; where only a plan is asked for, it may not be there yet: then as the first migration makes it. */
export async function tableNow(queryRunner: QueryRunner, name: string): Promise<Table> {
  const initial = INITIAL_TABLES[name] ?? { columns: {} };
  return (await queryRunner.getTable(name)) ?? tableOf(name, initial, dialectOf(queryRunner));
}

/** Adds those that are missing: a migration that was killed runs again. */
export async function addColumns(queryRunner: QueryRunner, added: AddedColumns): Promise<void> {
  const dialect = dialectOf(queryRunner);
  for (const [name, columns] of Object.entries(added)) {
    const table = await tableNow(queryRunner, name);
    const missing = tableOf(name, { columns }, dialect).columns.filter(({ name }) => !table.findColumnByName(name));
    await queryRunner.addColumns(table, missing);
  }
}

export async function dropColumns(queryRunner: QueryRunner, added: AddedColumns): Promise<void> {
  for (const [name, columns] of Object.entries(added)) {
    const table = await queryRunner.getTable(name);
    const present = Object.keys(columns).filter((column) => table?.findColumnByName(column));
    if (table !== undefined && present.length > 0) await queryRunner.dropColumns(table, present);
  }
}

/** Columns of indexes that a migration adds or removes, by the index's name. */
type Indexes = Readonly<Record<string, string[]>>;

/** Adds those that are missing: a migration that was killed runs again. */
export async function addIndexes(queryRunner: QueryRunner, table: string, indexes: Indexes): Promise<void> {
  const found = await tableNow(queryRunner, table);
  for (const [name, columnNames] of Object.entries(indexes)) {
    if (found.indices.some((index) => index.name === name)) continue;
    await queryRunner.createIndex(found, new TableIndex({ name, columnNames }));
  }
}

export async function dropIndexes(queryRunner: QueryRunner, table: string, indexes: Indexes): Promise<void> {
  const found = await tableNow(queryRunner, table);
  for (const name of Object.keys(indexes)) {
    if (found.indices.some((index) => index.name === name)) await queryRunner.dropIndex(found, name);
  }
}
