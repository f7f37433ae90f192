import { createConnection, type RowDataPacket } from "mysql2/promise";
import { type MariaDb, startMariaDb } from "./mariadb.ts";

/** What one connection did at once: a transaction from START TRANSACTION to COMMIT, or a single statement. */
export type Unit = readonly string[];

export interface LoggingMariaDb extends MariaDb {
  /** What the database was asked during `work`, in order, without what replicas ask by themselves. */
  unitsOf(work: () => Promise<unknown>): Promise<Unit[]>;
  /** How many statements it was asked during `work`, on all connections. */
  countDuring(work: () => Promise<unknown>): Promise<number>;
}

/** What a replica asks though nothing is asked of it: the feed, leases, the outbox's relay, the clock, keys, jobs. */
const background = [
  /FROM revocation WHERE id >/,
  /\blease\b/,
  /^SELECT CAST\(ROUND\(UNIX_TIMESTAMP/,
  /\b(FROM|UPDATE) outbox\b/,
  // half a minute after the start, and then every half a minute
  /FROM mail WHERE status IN/,
  /WHERE u\.closed_at <=/,
  /FROM signing_key ORDER BY/,
  /FROM logout_notice/,
  /oauth2_client_secret s JOIN/,
  /^DELETE FROM \w+ WHERE (expires_at|window_ends_at|sent_at) </,
  /^SET SESSION/,
  // clients are read again when one changed, as the first token for its own use changes it
  /FROM oauth2_registered_client c/,
];

interface Logged {
  readonly thread: number;
  readonly sql: string;
}

/** A private MariaDB that writes down every statement. */
export async function startLoggingMariaDb(): Promise<LoggingMariaDb> {
  const database = await startMariaDb(["--general-log=1", "--log-output=TABLE"]);
  const logOf = async (work: () => Promise<unknown>): Promise<Logged[]> => {
    const connection = await createConnection(database.url);
    try {
      await connection.query("TRUNCATE mysql.general_log");
      await work();
      const [rows] = await connection.query<RowDataPacket[]>(
        `SELECT thread_id, CONVERT(argument USING utf8mb4) AS statement FROM mysql.general_log
         WHERE command_type IN ('Query', 'Execute') AND thread_id <> CONNECTION_ID()`,
      );
      return rows.map((row) => ({
        thread: Number(row["thread_id"]),
        sql: String(row["statement"]).replaceAll(/\s+/g, " "),
      }));
    } finally {
      connection.destroy();
    }
  };
  return {
    ...database,
    unitsOf: async (work) => unitsIn(await logOf(work)),
    countDuring: async (work) => (await logOf(work)).length,
  };
}

function unitsIn(log: readonly Logged[]): Unit[] {
  const units: string[][] = [];
  const open = new Map<number, string[]>();
  for (const { thread, sql } of log) {
    const unit = open.get(thread) ?? [];
    if (unit.length === 0) units.push(unit);
    unit.push(sql);
    const goesOn = unit[0]?.startsWith("START TRANSACTION") === true && !/^(COMMIT|ROLLBACK)/.test(sql);
    if (goesOn) open.set(thread, unit);
    else open.delete(thread);
  }
  // what began before or ends after the work is a replica's own
  const isWhole = (unit: Unit) =>
    !/^(COMMIT|ROLLBACK)/.test(unit[0] ?? "") && ![...open.values()].includes(unit as string[]);
  return units.filter((unit) => isWhole(unit) && !unit.some((sql) => background.some((pattern) => pattern.test(sql))));
}
