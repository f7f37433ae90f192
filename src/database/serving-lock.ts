import { chmodSync } from "node:fs";
import Sqlite from "better-sqlite3";
import { StartRefused } from "../errors.ts";
import type { Database } from "./transaction.ts";

/**
 * Holds a lock beside a SQLite file as long as this process serves it: a second one would not see what the first has in memory. The
 * operating system lets go of it when the process ends, however it ends.
 * @throws StartRefused: another process serves the file
 */
export function holdServingLock({ dialect, dataSource }: Database): () => void {
  const file = String(dataSource.options.database);
  if (dialect !== "sqlite" || file === ":memory:") return () => {};
  const lock = new Sqlite(`${file}.lock`, { timeout: 0 });
  chmodSync(`${file}.lock`, 0o600);
  try {
    lock.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    if ((error as { code?: string }).code !== "SQLITE_BUSY") throw error;
    throw new StartRefused(
      `DATABASE_URL: another process serves ${file}. Stop it first; several processes need MySQL (DATABASE_URL=mysql://...)`,
    );
  }
  return () => lock.close();
}
