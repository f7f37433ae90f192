import { keysFor } from "./keys-for.ts";
import { Mac } from "./mac.ts";
import { Sealer } from "./sealing.ts";

/** One for each purpose, of keys that are derived from those in KEY_ENCRYPTION_KEY: the same on every replica. */
export interface DerivedKeys {
  /** Seals the cookies of browsers in which an account has signed in. */
  readonly knownDevices: Mac;
  /** Makes the nonces for DPoP proofs (RFC 9449 section 8). */
  readonly dpopNonces: Mac;
  /** Seals the page tokens of lists. */
  readonly pageTokens: Mac;
  /** Authenticates the forms of browsers that have not signed in. */
  readonly browserForms: Mac;
  /** Makes the session cookie of a form that is sent twice within seconds: the same one. */
  readonly loginForms: Mac;
  /** Seals the authorization requests that wait in a browser for its login. */
  readonly pendingRequests: Sealer;
  /** Seals the secrets of authenticator apps, in the store and in the form that confirms one. */
  readonly totpSecrets: Sealer;
  /** Makes recovery codes of the names of their forms. */
  readonly recoveryCodes: Mac;
  /** Seals what a second step continues: a password that was right. */
  readonly firstFactors: Sealer;
  /** Seals the cookies of browsers in which the second step is left out. */
  readonly rememberedBrowsers: Mac;
  /** Makes the challenges of passkeys. */
  readonly challenges: Mac;
  /** Seals the resume tokens of the revocation feed's watchers. */
  readonly resumeTokens: Mac;
}

/**
 * Derives every key once, at start (HKDF with SHA-256, RFC 5869). A changed purpose makes the values in flight invalid.
 * @param keyEncryptionKeys 32 bytes each
 */
export function deriveKeys(...keyEncryptionKeys: readonly [Uint8Array, ...Uint8Array[]]): DerivedKeys {
  const derive = (purpose: string) => new Mac(keysFor(purpose, keyEncryptionKeys));
  return {
    knownDevices: derive("known devices"),
    dpopNonces: derive("dpop nonce"),
    pageTokens: derive("page tokens"),
    browserForms: derive("browser forms"),
    loginForms: derive("login forms"),
    pendingRequests: new Sealer(keysFor("pending requests", keyEncryptionKeys)),
    totpSecrets: new Sealer(keysFor("totp secrets", keyEncryptionKeys)),
    recoveryCodes: derive("recovery codes"),
    firstFactors: new Sealer(keysFor("first factors", keyEncryptionKeys)),
    rememberedBrowsers: derive("remembered browsers"),
    challenges: derive("passkey challenges"),
    resumeTokens: derive("resume tokens"),
  };
}
