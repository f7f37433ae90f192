import type { AuthEvent } from "../events.ts";
import type { Passkey } from "./factors.ts";
import type { LimitLook, Looked } from "./limits.ts";
import type { ActingSession } from "./session.ts";

export interface User {
  /** UUID version 4, lower case. */
  readonly uuid: string;
  /** Trimmed and lower-cased. */
  readonly email: string;
  readonly nickname: string;
  readonly roles: readonly string[];
  /** Somebody who reads this mailbox proved it, or an administrator vouches for it. */
  readonly emailVerified: boolean;
  readonly claims: StandardClaims;
  /** The language tag of where the user signed up or signs in; null: it is not known. */
  readonly language: string | null;
  /** Rises whenever everything that the user has is ended at once: what was issued at a lower one is revoked. From 0. */
  readonly epoch: number;
  readonly disabledAt: number | null;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** A user who asked for deletion. */
export interface ClosedUser extends User {
  readonly closedAt: number;
}

/** Claims of OpenID Connect Core section 5.1 of a user other than e-mail address and nickname. */
export interface StandardClaims {
  readonly name?: string | undefined;
  readonly given_name?: string | undefined;
  readonly family_name?: string | undefined;
  readonly middle_name?: string | undefined;
  readonly preferred_username?: string | undefined;
  readonly profile?: string | undefined;
  readonly picture?: string | undefined;
  readonly website?: string | undefined;
  readonly gender?: string | undefined;
  /** `YYYY-MM-DD`, `YYYY`, or `0000-MM-DD`. */
  readonly birthdate?: string | undefined;
  readonly zoneinfo?: string | undefined;
  readonly locale?: string | undefined;
  readonly phone_number?: string | undefined;
  readonly phone_number_verified?: boolean | undefined;
  readonly address?: PostalAddress | undefined;
}

/** OpenID Connect Core section 5.1.1. */
export interface PostalAddress {
  readonly formatted?: string | undefined;
  readonly street_address?: string | undefined;
  readonly locality?: string | undefined;
  readonly region?: string | undefined;
  readonly postal_code?: string | undefined;
  readonly country?: string | undefined;
}

export interface UserWithPassword extends User {
  readonly passwordHash: string;
  /** Names the password: what is bound to it outlives a new hash of the same password, but no other password. */
  readonly passwordGeneration: string;
  /** When a browser signed in last; null: never, or before this was stored. */
  readonly signedInAt: number | null;
  /** When the user closed the account, which is disabled since; null: it is not closed. */
  readonly closedAt: number | null;
}

/** What a sign-in looks at. */
export interface UserToSignIn extends UserWithPassword {
  /** False: the user signed up with a passkey, and has set no password since. */
  readonly hasPassword: boolean;
  /** Rises with each change of the user's factors; 0: never had one. */
  readonly factorsGeneration: number;
}

export interface UserChange {
  readonly nickname?: string;
  readonly roles?: readonly string[];
  /** In place of all that were there. */
  readonly claims?: StandardClaims;
  readonly emailVerified?: boolean;
}

/** A link that was made for an address; the store has only the hash of its token. */
export interface VerificationLink {
  readonly tokenHash: string;
  readonly userId: string;
  /** The account's own, or the one that it is to have. */
  readonly email: string;
  readonly createdAt: number;
  readonly expiresAt: number;
}

export interface UserStore {
  /**
   * Account, profile, the link that verifies the address, and events in one transaction.
   * @param passkey of an account without a password, whose hash is then one that no password has
   * @returns `created` for an account of this uuid that is there already, too; `email_taken`: so is another one of this address, or the passkey
   */
  create(
    user: User,
    passwordHash: string,
    event: AuthEvent,
    verification?: { readonly link: VerificationLink; readonly event: AuthEvent },
    passkey?: Passkey,
  ): Promise<"created" | "email_taken">;
  find(uuid: string): Promise<User | null>;
  findByEmail(email: string): Promise<UserToSignIn | null>;
  findWithPassword(uuid: string): Promise<UserToSignIn | null>;
  /** The user whose passkey has this id. */
  findByPasskey(credentialId: string): Promise<{ user: UserToSignIn; passkey: Passkey } | null>;
  /** By e-mail address or id, with a look at a limit: one statement. */
  findToCheck(
    account: { readonly email: string } | { readonly uuid: string },
    limit: LimitLook,
  ): Promise<Looked<UserToSignIn | null>>;
  /** Those that exist, in no order. */
  findMany(uuids: readonly string[]): Promise<User[]>;
  /** By creation, oldest first, after the given position. @param emailPart only addresses that contain this; absent: all */
  list(after: { createdAt: number; uuid: string } | null, limit: number, emailPart?: string): Promise<User[]>;
  /**
   * Changes what is there at that moment.
   * @param change may run several times; what it throws is thrown
   * @returns the user as it is then; null: no such user
   */
  update(uuid: string, change: (user: User) => UserChange, now: number): Promise<User | null>;
  /** A better hash of the same password. @returns false: nothing was done, it is no longer the hash it was */
  rehash(user: UserWithPassword, to: string): Promise<boolean>;
  /**
   * Ends every session, pending code, reset token and authorization of the user; the event is written in the same transaction. It
   * happens at the event's time.
   * @param hash of the password as it was and as it will be
   * @param acting the browser's session in which the user asked for it
   * @returns `lost`: no longer the password it was @throws AuthError login_required: that session has ended
   */
  changePassword(
    uuid: string,
    hash: { readonly from: string; readonly to: string },
    event: AuthEvent,
    acting?: ActingSession,
  ): Promise<"changed" | "lost">;
  /**
   * Disabling ends every session, pending code, reset token and authorization. Enabling opens a closed account too.
   * @param reopened what then is told @returns false: no such user
   */
  setDisabled(uuid: string, disabled: boolean, now: number, reopened?: AuthEvent): Promise<boolean>;
  /**
   * Closes the account at the event's time: it is disabled, everything of it ends. False: no such user, or it is disabled already.
   * @param acting as in `changePassword`
   */
  close(uuid: string, event: AuthEvent, acting?: ActingSession): Promise<boolean>;
  /** Opens a closed account again. False: it is not closed. */
  reopen(uuid: string, event: AuthEvent): Promise<boolean>;
  /** Accounts that were closed up to this time, the longest closed first. @param after the last one of the page before this one */
  listClosed(before: number, after: ClosedUser | null, limit: number): Promise<ClosedUser[]>;
  /** Forgets from where the user's authorizations came, of `batch` of them. Returns of how many; call again while that is a batch. */
  forgetTraces(uuid: string, batch: number): Promise<number>;
  /** Users who were deleted a while ago at most, as long as their tokens would have lived: those whose uuid comes after this one, in that order. */
  listDeleted(after: string, limit: number): Promise<string[]>;
  /** Deletes account, profile, consents, sessions and codes, revokes every authorization, at the event's time. False: no such user.
   * @param closedBefore only if it was closed up to this time, and still is */
  delete(uuid: string, event: AuthEvent, closedBefore?: number): Promise<boolean>;
  /** The newest reset token takes the place of older ones; token and event in one transaction. */
  createPasswordReset(
    reset: { tokenHash: string; userId: string; createdAt: number; expiresAt: number },
    event: AuthEvent,
  ): Promise<void>;
  /** The user whose unused, unexpired, newest reset token this is; that of a user whom an operator disabled is not found. */
  findPasswordReset(tokenHash: string, now: number): Promise<User | null>;
  /** Uses the token up, sets the password and takes the address as proven: the token was mailed there. The first proof removes all passkeys and tells of it, unless `passkeysRemoved` is null. Ends everything as `changePassword` does, and forgets every consent. One of N callers gets `reset`. */
  redeemPasswordReset(
    tokenHash: string,
    passwordHash: string,
    event: AuthEvent,
    passkeysRemoved: AuthEvent | null,
  ): Promise<"reset" | "invalid">;
}
