import type { UsedOnceStore } from "../store/used-once.ts";
import { insert } from "./authorization-records.ts";
import { isUniqueViolation } from "./faults.ts";
import type { Database } from "./transaction.ts";

/** The primary key decides who was first. */
export function usedOnceStore(database: Database): UsedOnceStore {
  return {
    async use(valueHash, expiresAt) {
      try {
        await insert(database, "used_once", { value_hash: valueHash, expires_at: expiresAt });
        return true;
      } catch (error) {
        if (isUniqueViolation(error)) return false;
        throw error;
      }
    },
  };
}
