import { hashOf } from "./hashes.ts";

/**
 * A password's generation names the password itself: a better hash of the same password keeps it, any other password has another one. What
 * is bound to a password (known devices, remembered browsers, half a sign-in) is bound to its generation. It is the hash of the first hash;
 * beside a later hash stands `GENERATION.HASH`, with the hash of that later hash: whoever changes the password need not know of it.
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
