import { hkdfSync } from "node:crypto";

/** Keys of 32 bytes that are derived from KEY_ENCRYPTION_KEY, one for each purpose: the same on every replica. */
export interface DerivedKeys {
  /** Seals the cookies of browsers in which an account has signed in. */
  readonly knownDevices: Buffer;
  /** Makes the nonces for DPoP proofs (RFC 9449 section 8). */
  readonly dpopNonces: Buffer;
  /** Seals the page tokens of lists. */
  readonly pageTokens: Buffer;
  /** Seals the resume tokens of the revocation feed's watchers. */
  readonly resumeTokens: Buffer;
}

/**
 * Derives every key once, at start (HKDF with SHA-256, RFC 5869). A changed purpose makes the values in flight invalid.
 * @param keyEncryptionKey 32 bytes
 */
export function deriveKeys(keyEncryptionKey: Uint8Array): DerivedKeys {
  const derive = (purpose: string) =>
    Buffer.from(hkdfSync("sha256", keyEncryptionKey, "", `auth-service ${purpose} v1`, 32));
  return {
    knownDevices: derive("known devices"),
    dpopNonces: derive("dpop nonce"),
    pageTokens: derive("page tokens"),
    resumeTokens: derive("resume tokens"),
  };
}
