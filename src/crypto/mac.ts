import { createHmac, type KeyObject } from "node:crypto";
import { isSameSecret } from "./hashes.ts";
import type { KeysFor } from "./keys-for.ts";

/** Authenticates texts that this service gives out and gets back (HMAC with SHA-256), by keys that stay inside. */
export class Mac {
  readonly #keys: KeysFor;

  /** @param keys the first one makes, all of them verify */
  constructor(keys: KeysFor) {
    this.#keys = keys;
  }

  /** @returns base64url, 43 characters */
  of(text: string): string {
    return macOf(this.#keys[0], text);
  }

  /** Is this the MAC of the text under one of the keys? */
  verifies(text: string, mac: string): boolean {
    return this.#keys.some((key) => isSameSecret(mac, macOf(key, text)));
  }

  /** The MAC of the text under each of the keys; the first is the one of `of`. */
  ofAll(text: string): readonly [string, ...string[]] {
    const [first, ...others] = this.#keys;
    return [macOf(first, text), ...others.map((key) => macOf(key, text))];
  }
}

function macOf(key: KeyObject, text: string): string {
  return createHmac("sha256", key).update(text).digest("base64url");
}
