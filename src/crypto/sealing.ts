import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

/** Seals what must be read again but never lie in the clear: private signing keys and outbox payloads (AES-256-GCM). */
export class Sealer {
  readonly #key: Buffer;

  /** @param keyEncryptionKey 32 bytes */
  constructor(keyEncryptionKey: Uint8Array) {
    this.#key = Buffer.from(hkdfSync("sha256", keyEncryptionKey, "", "auth-service sealing v1", 32));
  }

  /** @param context what the plain text belongs to (a kid, an event id); the same must be named to open it */
  seal(plain: string | Uint8Array, context: string): string {
    const iv = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", this.#key, iv).setAAD(Buffer.from(context));
    const sealed = Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    return `v1.${sealed.toString("base64url")}`;
  }

  /** @throws Error when the text was sealed under another key or for another context, or was changed */
  open(sealed: string, context: string): Buffer {
    const bytes = Buffer.from(sealed.slice(3), "base64url");
    if (!sealed.startsWith("v1.") || bytes.length < 28) throw new Error("not a sealed value");
    const decipher = createDecipheriv("aes-256-gcm", this.#key, bytes.subarray(0, 12))
      .setAAD(Buffer.from(context))
      .setAuthTag(bytes.subarray(bytes.length - 16));
    try {
      return Buffer.concat([decipher.update(bytes.subarray(12, bytes.length - 16)), decipher.final()]);
    } catch (cause) {
      throw new Error(`cannot open the sealed value of ${context}: is KEY_ENCRYPTION_KEY the one it was sealed with?`, {
        cause,
      });
    }
  }
}
