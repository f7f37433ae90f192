import type { AuthEvent } from "../events.ts";

/** A credential of WebAuthn. */
export interface Passkey {
  /** As WebAuthn has it, base64url. */
  readonly credentialId: string;
  readonly userId: string;
  /** COSE key, base64url. */
  readonly publicKey: string;
  /** Of the last use; 0 where the authenticator does not count. */
  readonly signCount: number;
  /** How a browser may reach the authenticator. */
  readonly transports: readonly string[];
  /** Copied to other devices of its user. */
  readonly isSynced: boolean;
  readonly name: string;
  readonly createdAt: number;
  readonly lastUsedAt: number | null;
}

/** A right answer of a passkey. */
export interface PasskeyUse {
  readonly credentialId: string;
  /** 0: the authenticator does not count. */
  readonly signCount: number;
  /** SHA-256, hex. */
  readonly challengeHash: string;
  /** When the challenge is no longer answered. */
  readonly expiresAt: number;
  /** SHA-256 of the form's id, hex. */
  readonly attempt: string;
}

/** What a user has beside the password. */
export interface Factors {
  /** Null: no authenticator app. */
  readonly totp: { readonly sealedSecret: string; readonly createdAt: number } | null;
  /** Oldest first. */
  readonly passkeys: readonly Passkey[];
  /** Recovery codes that were not used. */
  readonly recoveryCodes: number;
}

/**
 * Second factors and passkeys. Every change raises the user's `factorsGeneration`, and is written with its event in one transaction.
 * `attempt` names a form: one that is sent twice gets the answer it got, others find a code used.
 */
export interface FactorStore {
  find(userId: string): Promise<Factors>;
  /** @param step of the code that confirmed it, which is used up by that. @returns false: there is one already, or the user is gone */
  addTotp(userId: string, totp: { sealedSecret: string; step: number }, event: AuthEvent): Promise<boolean>;
  /** Uses up a step and all before it. Of N callers one gets true. */
  useTotpStep(userId: string, step: number, attempt: string): Promise<boolean>;
  /** In place of all that were there. @param hashes SHA-256, hex @returns false: the user is gone */
  setRecoveryCodes(userId: string, hashes: readonly string[], now: number): Promise<boolean>;
  /** Of N callers one gets true. */
  useRecoveryCode(userId: string, codeHash: string, attempt: string, event: AuthEvent): Promise<boolean>;
  /** @returns false: the credential is known already, or the user is gone */
  addPasskey(passkey: Passkey, event: AuthEvent): Promise<boolean>;
  findPasskey(credentialId: string): Promise<Passkey | null>;
  /**
   * Uses up the challenge that a passkey answered. Of N callers one gets `used`, and who sends the same form again.
   * `refused`: the counter did not rise, though the authenticator counts, or the passkey is gone; `repeated`: another form brought the answer
   */
  usePasskey(use: PasskeyUse, now: number): Promise<"used" | "refused" | "repeated">;
  /** Recovery codes end with the last other factor. @returns false: there was none */
  removeTotp(userId: string, event: AuthEvent): Promise<boolean>;
  /** As `removeTotp`. */
  removePasskey(userId: string, credentialId: string, event: AuthEvent): Promise<boolean>;
  /** Removes every factor. @returns false: the user is gone */
  reset(userId: string, event: AuthEvent): Promise<boolean>;
}
