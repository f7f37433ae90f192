import type { AuthEvent } from "../events.ts";
import type { ActingSession } from "./session.ts";

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

/**
 * What became of a passkey's answer. `used`: now; `again`: within the last minute, by the same form; `repeated`: before that, or by another form;
 * `refused`: the counter did not rise, though the authenticator counts; `gone`: there is no such passkey.
 */
export type PasskeyOutcome = "used" | "again" | "repeated" | "refused" | "gone";

/**
 * What became of a code. The first half of an attempt names what is sent, the second one its form: `used`: now; `again`: before, by the same
 * attempt; `repeated`: by the same thing sent with another form; `refused`: by another one, or there is no such code.
 */
export type CodeUse = "used" | "again" | "repeated" | "refused";

/** Characters of the half of an attempt that names what is sent. */
export const HALF_OF_ATTEMPT = 32;

/** Recovery codes that a form makes. */
export interface NewRecoveryCodes {
  /** SHA-256, hex. */
  readonly hashes: readonly string[];
  /** SHA-256 of what names the user's form, hex. */
  readonly attempt: string;
  /** When nothing can bring the form any more. */
  readonly expiresAt: number;
}

/** Of one user. */
export const MAX_PASSKEYS = 20;

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
 * `attempt` names what is sent: what is sent twice gets the answer it got, others find a code used. `acting` is the browser's session of the user
 * who asks for a change; it throws AuthError login_required where that has ended.
 */
export interface FactorStore {
  find(userId: string): Promise<Factors>;
  /** @param step of the code that confirmed it, which is used up by that. @returns false: there is one already, or the user is gone */
  addTotp(
    userId: string,
    totp: { sealedSecret: string; step: number },
    event: AuthEvent,
    acting?: ActingSession,
  ): Promise<boolean>;
  /** Has anybody a passkey? */
  hasPasskeys(): Promise<boolean>;
  /** Of all users. Reads them all, page by page. */
  countPasskeys(): Promise<number>;
  /** Every authenticator app, by user. @param after the last user of the page before; null: from the first on */
  listTotp(after: string | null, limit: number): Promise<{ userId: string; sealedSecret: string }[]>;
  /** The same secret under another key. @returns false: it is no longer what it was */
  resealTotp(userId: string, sealed: { readonly from: string; readonly to: string }): Promise<boolean>;
  /** Uses up a step and all before it. Of N callers with different attempts one gets `used`. */
  useTotpStep(userId: string, step: number, attempt: string): Promise<CodeUse>;
  /**
   * In place of all that were there. Of N callers with the same attempt one gets `made`, the others `repeated` for a minute, and as long as these
   * are the user's codes; after that they get `used`. `none`: the user is gone, or has no factor that a code could stand in for.
   */
  setRecoveryCodes(
    userId: string,
    codes: NewRecoveryCodes,
    event: AuthEvent,
    acting?: ActingSession,
  ): Promise<"made" | "repeated" | "used" | "none">;
  /** Of N callers with different attempts one gets `used`; its attempt is known for a minute. */
  useRecoveryCode(userId: string, codeHash: string, attempt: string, event: AuthEvent): Promise<CodeUse>;
  /** @returns false: the credential is known already, the user has `MAX_PASSKEYS`, or is gone */
  addPasskey(passkey: Passkey, event: AuthEvent, acting?: ActingSession): Promise<boolean>;
  findPasskey(credentialId: string): Promise<Passkey | null>;
  /** Gives a passkey another name, which changes no factor. @returns false: the user has no such passkey */
  renamePasskey(
    userId: string,
    passkey: { readonly credentialId: string; readonly name: string },
    now: number,
    acting?: ActingSession,
  ): Promise<boolean>;
  /** Uses up the challenge that a passkey answered. Of N callers one gets `used`. */
  usePasskey(use: PasskeyUse, now: number): Promise<PasskeyOutcome>;
  /** Recovery codes end with the last other factor. @returns false: there was none */
  removeTotp(userId: string, event: AuthEvent, acting?: ActingSession): Promise<boolean>;
  /** As `removeTotp`; false as well: the account has no password and no other passkey. */
  removePasskey(userId: string, credentialId: string, event: AuthEvent, acting?: ActingSession): Promise<boolean>;
  /** Removes every factor. @returns false: the user is gone */
  reset(userId: string, event: AuthEvent): Promise<boolean>;
}
