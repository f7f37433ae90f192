import { createSecretKey, hkdfSync, type KeyObject } from "node:crypto";

/**
 * Keys of 32 bytes for one purpose, one for each key in KEY_ENCRYPTION_KEY and in its order. The first one is used, all of them are accepted.
 * Key objects: node:crypto takes six times as long to begin with a key of plain bytes.
 */
export type KeysFor = readonly [KeyObject, ...KeyObject[]];

/**
 * Derives them (HKDF with SHA-256, RFC 5869).
 * @param keyEncryptionKeys 32 bytes each
 */
export function keysFor(purpose: string, keyEncryptionKeys: readonly [Uint8Array, ...Uint8Array[]]): KeysFor {
  const derive = (key: Uint8Array) =>
    createSecretKey(Buffer.from(hkdfSync("sha256", key, "", `auth-service ${purpose} v1`, 32)));
  const [first, ...others] = keyEncryptionKeys;
  return [derive(first), ...others.map(derive)];
}
