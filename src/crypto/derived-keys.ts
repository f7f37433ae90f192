import { hkdfSync } from "node:crypto";

/** Of each key in KEY_ENCRYPTION_KEY one: the first makes, all of them verify. */
export type KeysOfPurpose = readonly [Buffer, ...Buffer[]];

/** Keys of 32 bytes that are derived from KEY_ENCRYPTION_KEY for each purpose: the same on every replica. */
export interface DerivedKeys {
  /** Seals the cookies of browsers in which an account has signed in. */
  readonly knownDevices: KeysOfPurpose;
  /** Makes the nonces for DPoP proofs (RFC 9449 section 8). */
  readonly dpopNonces: KeysOfPurpose;
  /** Seals the page tokens of lists. */
  readonly pageTokens: KeysOfPurpose;
  /** Seals the resume tokens of the revocation feed's watchers. */
  readonly resumeTokens: KeysOfPurpose;
}

/**
 * Derives every key once, at start (HKDF with SHA-256, RFC 5869). A changed purpose makes the values in flight invalid.
 * @param keyEncryptionKeys 32 bytes each
 */
export function deriveKeys(...keyEncryptionKeys: readonly [Uint8Array, ...Uint8Array[]]): DerivedKeys {
  const [first, ...others] = keyEncryptionKeys;
  const derive = (purpose: string): KeysOfPurpose => {
    const of = (key: Uint8Array) => Buffer.from(hkdfSync("sha256", key, "", `auth-service ${purpose} v1`, 32));
    return [of(first), ...others.map(of)];
  };
  return {
    knownDevices: derive("known devices"),
    dpopNonces: derive("dpop nonce"),
    pageTokens: derive("page tokens"),
    resumeTokens: derive("resume tokens"),
  };
}
