import { createConnection, type RowDataPacket } from "mysql2/promise";

export interface StatementReads {
  /** Normalised: values are `?`. */
  readonly statement: string;
  readonly calls: number;
  /** Rows that one call read, at the most. */
  readonly most: number;
  /** Rows that all of them changed or deleted. */
  readonly affected: number;
  readonly read: number;
}

/**
 * What every statement on a database reads while `work` runs, from the server's own counters: not the planner's estimate.
 * Needs a server that was started with `STATEMENT_HISTORY`.
 */
export async function readsOf(url: string, work: () => Promise<void>): Promise<StatementReads[]> {
  const connection = await createConnection({ uri: url });
  try {
    const history = "performance_schema.events_statements_history_long";
    const consume = (enabled: string) =>
      connection.query(
        "UPDATE performance_schema.setup_consumers SET enabled = ? WHERE name LIKE 'events_statements%'",
        [enabled],
      );
    await connection.query(`TRUNCATE TABLE ${history}`);
    await consume("YES");
    await work();
    await consume("NO");
    const [rows] = await connection.query<RowDataPacket[]>(
      `SELECT digest_text AS statement, COUNT(*) AS calls, MAX(rows_examined) AS most, SUM(rows_examined) AS sum,
         SUM(rows_affected) AS affected
       FROM ${history}
       WHERE current_schema = ? AND digest_text NOT LIKE '%performance_schema%' GROUP BY digest_text ORDER BY most DESC`,
      [new URL(url).pathname.slice(1)],
    );
    return rows.map(({ statement, calls, most, sum, affected }) => {
      return {
        statement: String(statement),
        calls: Number(calls),
        most: Number(most),
        read: Number(sum),
        affected: Number(affected),
      };
    });
  } finally {
    await connection.end();
  }
}

export const STATEMENT_HISTORY = [
  "--performance-schema=ON",
  "--performance-schema-events-statements-history-long-size=50000",
  "--performance-schema-max-digest-length=4096",
  "--max-digest-length=4096",
];
