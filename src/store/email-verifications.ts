import type { AuthEvent } from "../events.ts";
import type { ActingSession } from "./session.ts";
import type { User, VerificationLink } from "./users.ts";

/**
 * What a link is worth.
 * - `verified`: the account has the address already, and it is verified;
 * - `replaced`: a newer link was made, or the account has another address since.
 */
export type LinkState = "open" | "verified" | "replaced" | "expired";

export interface FoundVerification {
  readonly user: User;
  readonly email: string;
  readonly state: LinkState;
}

export interface EmailVerificationStore {
  /**
   * The newest link takes the place of older ones; link and event in one transaction.
   * @param event null: no mail is sent
   * @param acting the browser's session in which the user asked for it
   * @returns false: the user is gone or disabled @throws AuthError login_required: that session has ended
   */
  create(verification: VerificationLink, event: AuthEvent | null, acting?: ActingSession): Promise<boolean>;
  /** Null: unknown, or the user is gone or disabled. */
  find(tokenHash: string, now: number): Promise<FoundVerification | null>;
  /** The address that a user's newest link is for, if that is another than the account's. */
  pendingOf(userId: string, now: number): Promise<string | null>;
  /**
   * Uses the link up: its address becomes the account's, and is verified. Reset links that went to another address end. One of N callers
   * gets `now_verified`.
   * @param notice makes the event for the address that the account had, where that is another
   * @returns `email_taken`: another account has the address; null: as `find`
   */
  redeem(
    tokenHash: string,
    notice: (before: User) => AuthEvent,
    now: number,
  ): Promise<"now_verified" | "email_taken" | Exclude<LinkState, "open"> | null>;
}
