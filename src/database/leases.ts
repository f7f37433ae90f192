import type { Lease, LeaseStore } from "../store/leases.ts";
import { isUniqueViolation } from "./faults.ts";
import { type Database, databaseTime, rollback, type Scalar, type Sql } from "./transaction.ts";

export function leaseStore(database: Database): LeaseStore {
  return {
    acquire: (name, owner, ttlMs) => acquireLease(database, name, owner, ttlMs),
    renew: (lease, ttlMs) => renewLease(database, lease, ttlMs),
    renewAll: (leases, ttlMs) => renewLeases(database, leases, ttlMs),
    release: (lease) => releaseLease(database, lease),
    async holders(prefix) {
      const sql = `SELECT name, owner FROM lease WHERE name >= ? AND name < ? AND owner <> '' AND expires_at > ${databaseTime(database)}`;
      return database.rows<{ name: string; owner: string }>(sql, [prefix, `${prefix}\u{10ffff}`]);
    },
  };
}

/** Longer than any lease is taken for (milliseconds). */
const longestMs = 120_000;

/**
 * A lease is free when its time is over, when it was given back, which no clock decides, and when it ends later than any can: then it was
 * written before the database's clock was set back.
 */
export async function acquireLease(
  database: Database,
  name: string,
  owner: string,
  ttlMs: number,
): Promise<Lease | null> {
  const now = databaseTime(database);
  try {
    return await database.transaction(async (sql): Promise<Lease | null> => {
      const taken = await sql.change(
        `UPDATE lease SET owner = ?, epoch = epoch + 1, expires_at = ${now} + ?
         WHERE name = ? AND (expires_at <= ${now} OR expires_at > ${now} + ? OR owner IN ('', ?))`,
        [owner, ttlMs, name, longestMs, owner],
      );
      const [row] = await sql.rows<{ epoch: number }>("SELECT epoch FROM lease WHERE name = ?", [name]);
      if (row === undefined) {
        await sql.change(`INSERT INTO lease (name, owner, epoch, expires_at) VALUES (?, ?, 1, ${now} + ?)`, [
          name,
          owner,
          ttlMs,
        ]);
        return { name, owner, epoch: 1 };
      }
      return taken === 1 ? { name, owner, epoch: Number(row.epoch) } : rollback(null);
    });
  } catch (error) {
    // somebody else made the row first
    if (isUniqueViolation(error)) return null;
    throw error;
  }
}

export async function renewLease(database: Database, lease: Lease, ttlMs: number): Promise<boolean> {
  return (await renewLeases(database, [lease], ttlMs)).size === 1;
}

/** The row stays: its epoch must never be given twice. */
export async function releaseLease(database: Database, { name, owner, epoch }: Lease): Promise<void> {
  const sql = `UPDATE lease SET owner = '', expires_at = ${databaseTime(database)} WHERE name = ? AND owner = ? AND epoch = ?`;
  await database.change(sql, [name, owner, epoch]);
}

async function renewLeases(database: Database, leases: readonly Lease[], ttlMs: number): Promise<ReadonlySet<string>> {
  if (leases.length === 0) return new Set();
  const held = leases.map(() => "(name = ? AND owner = ? AND epoch = ?)").join(" OR ");
  const parameters = leases.flatMap(({ name, owner, epoch }) => [name, owner, epoch]);
  const changed = await database.change(`UPDATE lease SET expires_at = ${databaseTime(database)} + ? WHERE ${held}`, [
    ttlMs,
    ...parameters,
  ]);
  if (changed === leases.length) return new Set(leases.map(({ name }) => name));
  const rows = await database.rows<{ name: string }>(`SELECT name FROM lease WHERE ${held}`, parameters);
  return new Set(rows.map(({ name }) => name));
}

const ownLease = "SELECT 1 AS held FROM lease WHERE name = ? AND owner = ? AND epoch = ?";
/** A condition: the lease is still ours. Its values are those of `leaseValues`. */
export const HOLDS_LEASE = `EXISTS (${ownLease})`;

export function leaseValues({ name, owner, epoch }: Lease): Scalar[] {
  return [name, owner, epoch];
}

/** Whether the lease is still ours. */
export async function holdsLease(sql: Sql, lease: Lease): Promise<boolean> {
  return (await sql.rows(ownLease, leaseValues(lease))).length === 1;
}
