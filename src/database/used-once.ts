import type { UsedOnceStore } from "../store/used-once.ts";
import { insertIfAbsent } from "./authorization-records.ts";
import type { Database } from "./transaction.ts";

/** The primary key decides who was first. */
export function usedOnceStore(database: Database): UsedOnceStore {
  return {
    use: (valueHash, expiresAt) =>
      insertIfAbsent(database, "used_once", { value_hash: valueHash, expires_at: expiresAt }),
  };
}
