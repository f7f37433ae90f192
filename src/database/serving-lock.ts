import { chmodSync, realpathSync } from "node:fs";
import Sqlite from "better-sqlite3";
import { StartRefused } from "../errors.ts";
import type { Database } from "./transaction.ts";

/**
 * Locks `FILE.lock` next to a SQLite file as long as this process serves it: a second process would not see what the first has in
 * memory. The operating system releases the lock when the process ends, even after a crash.
 * @throws StartRefused: another process serves the file
 */
export function holdServingLock({ dialect, dataSource }: Database): () => void {
  const file = String(dataSource.options.database);
  if (dialect !== "sqlite" || file === ":memory:") return () => {};
  // by whatever name it is opened
  const lockFile = `${realpathSync(file)}.lock`;
  const lock = new Sqlite(lockFile, { timeout: 0 });
  chmodSync(lockFile, 0o600);
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
