import { hashOf } from "./hashes.ts";

/**
 * A password's generation names the password itself: a better hash of the same password keeps it, any other password has another one. What
 * is bound to a password (known devices, remembered browsers, half a sign-in) is bound to its generation: the SHA-256 of the first hash.
 * A login that replaces the hash stores `GENERATION.HASH` beside it, where HASH is the SHA-256 of the new hash. A stored generation whose
 * HASH does not fit the user's hash is ignored, so that a statement that changes the password need not write that column.
 */
export function generationOf(passwordHash: string, stored: string | null = null): string {
  const ofHash = hashOf(passwordHash);
  const [generation = "", of] = stored?.split(".") ?? [];
  return of === ofHash ? generation : ofHash;
}

/** @param passwordHash a new hash of the same password. @returns what is stored beside it */
export function generationToStore(generation: string, passwordHash: string): string {
  return `${generation}.${hashOf(passwordHash)}`;
}
