import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from "node:crypto";
import type { KeysFor } from "./keys-for.ts";

/**
 * Seals what must be read again but never lie in the clear (AES-256-GCM): private signing keys and outbox payloads in the store, and
 * authorization requests that travel with a browser. Each purpose has keys of its own.
 */
export class Sealer {
  readonly #keys: KeysFor;

  /** @param keys the first one seals, all of them open */
  constructor(keys: KeysFor) {
    this.#keys = keys;
  }

  /** @param context what the plain text belongs to (a kid, an event id); the same must be named to open it */
  seal(plain: string | Uint8Array, context: string): string {
    const iv = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", this.#keys[0], iv).setAAD(Buffer.from(context));
    const sealed = Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    return `v1.${sealed.toString("base64url")}`;
  }

  /** @throws Error when the text was sealed under another key or for another context, or was changed */
  open(sealed: string, context: string): Buffer {
    return this.#open(sealed, context).plain;
  }

  /**
   * The same value under the first key.
   * @returns null: it is sealed under that key already @throws Error as `open`
   */
  reseal(sealed: string, context: string): string | null {
    const { plain, key } = this.#open(sealed, context);
    return key === this.#keys[0] ? null : this.seal(plain, context);
  }

  #open(sealed: string, context: string): { readonly plain: Buffer; readonly key: KeyObject } {
    const bytes = readSealed(sealed);
    let cause: unknown;
    for (const key of this.#keys) {
      try {
        return { plain: openWith(key, bytes, context), key };
      } catch (error) {
        cause ??= error;
      }
    }
    throw new Error(`cannot open the sealed value of ${context}: is KEY_ENCRYPTION_KEY the one it was sealed with?`, {
      cause,
    });
  }
}

function readSealed(sealed: string): Buffer {
  const bytes = Buffer.from(sealed.slice(3), "base64url");
  // one spelling for each value: what decodes to the same bytes is a changed text too
  const isCanonical = sealed === `v1.${bytes.toString("base64url")}`;
  if (!isCanonical || bytes.length < 28) throw new Error("not a sealed value");
  return bytes;
}

function openWith(key: KeyObject, bytes: Buffer, context: string): Buffer {
  const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, 12))
    .setAAD(Buffer.from(context))
    .setAuthTag(bytes.subarray(bytes.length - 16));
  return Buffer.concat([decipher.update(bytes.subarray(12, bytes.length - 16)), decipher.final()]);
}
