import { createConnection, type RowDataPacket } from "mysql2/promise";
import { type MariaDb, startMariaDb } from "./mariadb.ts";

/** What one connection did at once: a transaction, or a single statement. */
export type Unit = readonly string[];

/** What a replica asks whatever it is asked: the feed, leases, the outbox's relay, the clock, keys, jobs. */
const background = [
  /FROM revocation WHERE id >/,
  /\blease\b/,
  /^SELECT CAST\(ROUND\(UNIX_TIMESTAMP/,
  /FROM outbox\b/,
  /UPDATE outbox\b/,
  /FROM signing_key ORDER BY/,
  /FROM logout_notice/,
  /oauth2_client_secret s JOIN/,
  /^DELETE FROM \w+ WHERE (expires_at|window_ends_at|sent_at) </,
  /^SET SESSION/,
];

/** A MariaDB that writes down every statement, and reads them back. */
export async function startLoggingMariaDb(): Promise<
  MariaDb & { unitsOf(work: () => Promise<unknown>): Promise<Unit[]> }
> {
  const database = await startMariaDb(["--general-log=1", "--log-output=TABLE"]);
  return {
    ...database,
    /** What the database was asked during `work`, without what replicas ask by themselves. */
    async unitsOf(work) {
      const connection = await createConnection(database.url);
      try {
        const [[before]] = await connection.query<RowDataPacket[]>(
          "SELECT MAX(event_time) AS at FROM mysql.general_log",
        );
        await connection.query("TRUNCATE mysql.general_log");
        await work();
        const [rows] = await connection.query<RowDataPacket[]>(
          "SELECT thread_id, command_type, CONVERT(argument USING utf8mb4) AS sql_text FROM mysql.general_log",
        );
        void before;
        return unitsIn(
          rows
            .filter(({ thread_id }) => thread_id !== connection.threadId)
            .map((row) => ({ thread: Number(row["thread_id"]), command: row["command_type"], sql: row["sql_text"] })),
        );
      } finally {
        connection.destroy();
      }
    },
  };
}

function unitsIn(log: readonly { thread: number; command: string; sql: string }[]): Unit[] {
  const units: string[][] = [];
  const open = new Map<number, string[]>();
  for (const { thread, command, sql } of log) {
    if (command !== "Query" && command !== "Execute") continue;
    const text = sql.replaceAll(/\s+/g, " ").trim();
    const unit = open.get(thread) ?? [];
    if (unit.length === 0) units.push(unit);
    unit.push(text);
    if (/^START TRANSACTION/.test(unit[0] ?? "") && !/^(COMMIT|ROLLBACK)/.test(text)) open.set(thread, unit);
    else open.delete(thread);
  }
  return units.filter((unit) => !unit.some((sql) => background.some((pattern) => pattern.test(sql))));
}
