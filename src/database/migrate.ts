import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { MigrationExecutor, type MigrationInterface, type QueryRunner, Table } from "typeorm";
import { AuthError, StartRefused } from "../errors.ts";
import { type DatabaseLocation, MIGRATIONS, MIGRATIONS_TABLE, openDataSource, POOL_SIZE } from "./data-source.ts";
import { isAway, isConflict, isLockWait, toUnavailable } from "./faults.ts";
import { acquireLease, releaseLease, renewLease } from "./leases.ts";
import { INITIAL_TABLES } from "./migrations/1790000000000-initial.ts";
import { planOf } from "./migrations/steps.ts";
import { SCHEMA, tableOf } from "./schema.ts";
import { Database } from "./transaction.ts";

/** The database holds tables of our names that another program made. Nothing was changed. */
export class ForeignSchemaError extends StartRefused {
  readonly tables: readonly string[];

  constructor(tables: readonly string[]) {
    super(
      `the database already has tables that this service did not make: ${tables.join(", ")}. ` +
        "Nothing was changed. Give the service a database of its own (DATABASE_URL), or rename those tables first.",
    );
    this.name = "ForeignSchemaError";
    this.tables = tables;
  }
}

/** A table stays locked by another transaction: nothing was changed, and a later attempt may succeed. */
export class MigrationsWait extends AuthError {}

/** The schema is older than this program and it was not allowed to change it. */
export class PendingMigrationsError extends Error {
  readonly names: readonly string[];

  constructor(names: readonly string[]) {
    super(`the database waits for migrations: ${names.join(", ")}. Run the migrate command first.`);
    this.name = "PendingMigrationsError";
    this.names = names;
  }
}

export interface PlannedMigration {
  readonly name: string;
  /** What will run, in order; steps that were done already are left out. */
  readonly sql: readonly string[];
}

const leaseName = "migrations";
const leaseMs = 15_000;
const leaseWaitMs = 120_000;

/**
 * @param poolSize connections to a database server; SQLite has one
 * @param sharing another pool to the same servers: both are always on the same one
 * @throws StartRefused: DATABASE_URL names servers with different data
 */
export async function openDatabase(
  location: DatabaseLocation,
  poolSize: number = POOL_SIZE,
  sharing?: Database,
): Promise<Database> {
  try {
    const opened = await openDataSource(location, poolSize, sharing?.hosts);
    const database = new Database(opened);
    if (sharing === undefined && opened.hosts?.several) {
      await opened.hosts.requireCopies().catch((error) => database.close().finally(() => Promise.reject(error)));
    }
    return database;
  } catch (error) {
    throw isAway(error) ? toUnavailable(error) : error;
  }
}

/** Pending migrations and their SQL; changes nothing. @throws ForeignSchemaError */
export async function planMigrations(location: DatabaseLocation): Promise<PlannedMigration[]> {
  return withDatabase(location, async (database) => {
    await refuseForeignSchema(database);
    const plan: PlannedMigration[] = [];
    for (const migration of await pendingMigrations(database)) {
      const sql = database.dataSource.createQueryRunner();
      try {
        plan.push({ name: nameOf(migration), sql: await planOf(sql, () => migration.up(sql)) });
      } finally {
        await sql.release();
      }
    }
    return plan;
  });
}

/** SQL that would bring the database to what the program expects: empty unless it was changed by hand. */
export async function schemaDrift(location: DatabaseLocation): Promise<string[]> {
  return withDatabase(location, async ({ dataSource }) => {
    const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
    return upQueries.map(({ query }) => query);
  });
}

/** Brings the schema up to date; several processes may call it at once. @throws ForeignSchemaError */
export async function runMigrations(location: DatabaseLocation): Promise<readonly string[]> {
  return withDatabase(location, migrate);
}

async function withDatabase<T>(location: DatabaseLocation, work: (database: Database) => Promise<T>): Promise<T> {
  const database = await openDatabase(location);
  try {
    return await work(database);
  } catch (error) {
    throw isAway(error) ? toUnavailable(error) : error;
  } finally {
    await database.close();
  }
}

/** @throws PendingMigrationsError ForeignSchemaError */
export async function requireMigrated(database: Database): Promise<void> {
  await refuseForeignSchema(database);
  const names = (await pendingMigrations(database)).map(nameOf);
  if (names.length > 0) throw new PendingMigrationsError(names);
}

/** @returns names of the migrations that ran here */
export async function migrate(database: Database): Promise<readonly string[]> {
  await refuseForeignSchema(database);
  if ((await pendingMigrations(database)).length === 0) return [];
  await againOnConflict(() => makeBookkeeping(database));

  const owner = randomUUID();
  const giveUp = performance.now() + leaseWaitMs;
  for (;;) {
    const lease = await acquireLease(database, leaseName, owner, leaseMs);
    if (lease !== null) {
      let renewal: NodeJS.Timeout | undefined;
      const lost = new Promise<never>((_, fail) => {
        const renew = () =>
          renewLease(database, lease, leaseMs).then(
            (ours) => ours || fail(new MigrationsWait("unavailable", "another process took over the migrations")),
            fail,
          );
        renewal = setInterval(renew, leaseMs / 3);
      });
      try {
        return await Promise.race([runPatiently(database), lost]);
      } finally {
        clearInterval(renewal);
        await releaseLease(database, lease).catch(() => undefined);
      }
    }
    if ((await pendingMigrations(database)).length === 0) return [];
    if (performance.now() > giveUp)
      throw new MigrationsWait("unavailable", "another process has held the migrations for two minutes");
    await sleep(100 + Math.random() * 200);
  }
}

/** SQLite's file may be another process's for a moment; every step can be taken again. */
async function againOnConflict<T>(work: () => Promise<T>, { attempts = 20, pauseMs = 20 } = {}): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!(isConflict(error) || isLockWait(error)) || attempt === attempts) throw error;
      await sleep(pauseMs + Math.random() * 100);
    }
  }
}

/**
 * A table that another transaction has read stays locked for changes, and a change that waits holds back every later read. So each
 * attempt waits a second at the most, then lets the others pass.
 * @throws AuthError unavailable: the table stayed locked
 */
async function runPatiently(database: Database): Promise<string[]> {
  try {
    return await againOnConflict(() => runPending(database), { attempts: 5, pauseMs: 1_000 });
  } catch (error) {
    if (!(isConflict(error) || isLockWait(error))) throw error;
    const reason = "the migrations wait: a transaction that stays open (a backup?) keeps a table locked";
    throw new MigrationsWait("unavailable", reason, { cause: error, retryAfter: 5 });
  }
}

async function runPending({ dataSource, dialect }: Database): Promise<string[]> {
  const runner = dataSource.createQueryRunner();
  const executor = new MigrationExecutor(dataSource, runner);
  // DDL on MySQL commits by itself, so there a transaction would only pretend
  executor.transaction = dialect === "sqlite" ? "each" : "none";
  // on MariaDB the connection may have been told the service's limit, which a change of a large table passes
  if (dataSource.options.type === "mariadb") await runner.query("SET SESSION max_statement_time = 0");
  if (dialect === "mysql") await runner.query("SET SESSION lock_wait_timeout = 1");
  try {
    return (await executor.executePendingMigrations()).map(({ name }) => name);
  } finally {
    if (dialect === "mysql") (await runner.connect()).destroy();
    await runner.release();
  }
}

/** The migrations table first: its presence says that every later table of our names is ours. */
async function makeBookkeeping({ dataSource, dialect }: Database): Promise<void> {
  const runner = dataSource.createQueryRunner();
  const lease = INITIAL_TABLES["lease"];
  if (lease === undefined) throw new Error("the first migration makes the lease table");
  const bigint = dialect === "sqlite" ? "integer" : "bigint";
  const bookkeeping = new Table({
    name: MIGRATIONS_TABLE,
    // as TypeORM itself would make it
    columns: [
      {
        name: "id",
        type: dialect === "sqlite" ? "integer" : "int",
        isGenerated: true,
        generationStrategy: "increment",
        isPrimary: true,
        isNullable: false,
      },
      { name: "timestamp", type: bigint, isPrimary: false, isNullable: false },
      { name: "name", type: "varchar", length: "255", isNullable: false },
    ],
  });
  try {
    for (const table of [bookkeeping, tableOf("lease", lease, dialect)]) {
      try {
        await createTableAtomically(runner, table);
      } catch (error) {
        // another process made it between our look and our statement
        if (!(await runner.hasTable(table.name))) throw error;
      }
    }
  } finally {
    await runner.release();
  }
}

/** On SQLite the indexes are statements of their own. */
async function createTableAtomically(runner: QueryRunner, table: Table): Promise<void> {
  if (runner.dataSource.options.type !== "better-sqlite3") return runner.createTable(table, true);
  await runner.query("BEGIN IMMEDIATE");
  try {
    await runner.createTable(table, true);
    await runner.query("COMMIT");
  } catch (error) {
    await runner.query("ROLLBACK").catch(() => undefined);
    throw error;
  }
}

async function refuseForeignSchema(database: Database): Promise<void> {
  const ours = new Set([...Object.keys(INITIAL_TABLES), ...Object.keys(SCHEMA), MIGRATIONS_TABLE]);
  const present = (await tableNames(database)).filter((name) => ours.has(name));
  if (present.length === 0) return;
  if (!present.includes(MIGRATIONS_TABLE)) throw new ForeignSchemaError(present);

  const columns = await columnNames(database, MIGRATIONS_TABLE);
  if (columns.join() !== "id,name,timestamp") throw new ForeignSchemaError([MIGRATIONS_TABLE]);
  const done = await database.rows<{ name: string }>(`SELECT name FROM ${MIGRATIONS_TABLE}`);
  const first = MIGRATIONS[0]?.name.toString() ?? "";
  if (done.some(({ name }) => name === first)) return;
  // a row that is not ours, and ours missing: another program's migrations under the same name
  if (done.length > 0) throw new ForeignSchemaError(present);
  // The first migration was interrupted. The tables that it made have its columns; others are not its work.
  const foreign: string[] = [];
  for (const name of present) {
    const shape = INITIAL_TABLES[name];
    if (shape === undefined) continue;
    const expected = Object.keys(shape.columns).sort().join();
    if ((await columnNames(database, name)).join() !== expected) foreign.push(name);
  }
  if (foreign.length > 0) throw new ForeignSchemaError(foreign);
}

async function tableNames(database: Database): Promise<string[]> {
  const sql =
    database.dialect === "sqlite"
      ? "SELECT name AS table_name FROM sqlite_master WHERE type IN ('table', 'view')"
      : "SELECT table_name AS table_name FROM information_schema.tables WHERE table_schema = DATABASE()";
  return (await database.rows<{ table_name: string }>(sql)).map(({ table_name }) => table_name.toLowerCase());
}

async function columnNames(database: Database, table: string): Promise<string[]> {
  const sql =
    database.dialect === "sqlite"
      ? "SELECT name AS column_name FROM pragma_table_info(?)"
      : "SELECT column_name AS column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?";
  return (await database.rows<{ column_name: string }>(sql, [table])).map(({ column_name }) => column_name).sort();
}

async function pendingMigrations(database: Database): Promise<MigrationInterface[]> {
  const all = MIGRATIONS.map((Migration) => new Migration());
  if (!(await tableNames(database)).includes(MIGRATIONS_TABLE)) return all;
  const rows = await database.rows<{ name: string }>(`SELECT name FROM ${MIGRATIONS_TABLE}`);
  const done = new Set(rows.map(({ name }) => name));
  return all.filter((migration) => !done.has(nameOf(migration)));
}

function nameOf(migration: MigrationInterface): string {
  return migration.name ?? migration.constructor.name;
}
