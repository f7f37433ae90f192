import type { AuthEvent } from "../events.ts";
import type { ResealedPage } from "./outbox.ts";

/** Events of which the service sends a mail itself, where SMTP_URL is set. */
export const MAILED: ReadonlySet<AuthEvent["eventType"]> = new Set([
  ...(["PASSWORD_RESET", "USER_EMAIL_VERIFICATION", "USER_PASSWORD_CHANGED"] as const),
  ...(["USER_DELETED", "USER_SECURITY"] as const),
]);

/** Milliseconds. The longest pause before a mail is tried again: a time further ahead is from before the clock was set back. */
export const LONGEST_MAIL_PAUSE_MS = 15 * 60_000;

/** Milliseconds. What has waited so long is not sent any more: its news is old. */
export const OLDEST_MAIL_MS = 7 * 86_400_000;

/** A mail that waits to be sent. */
export interface QueuedMail {
  readonly eventId: string;
  /** Attempts before this one. */
  readonly attempts: number;
  readonly createdAt: number;
  /** One that cannot be opened comes as the error. */
  readonly event: AuthEvent | Error;
}

/** Mails are written in the transaction of their event, beside the outbox: neither waits for the other. */
export interface MailStore {
  /** Called after every local commit that wrote a mail. Returns the way to stop it. */
  onAppend(listener: () => void): () => void;
  /** Mails whose time has come, those first that were never tried. Until `until` no other replica gets them. */
  claim(now: number, until: number, limit: number): Promise<QueuedMail[]>;
  /** Empties the payload too. */
  sent(eventId: string, now: number): Promise<void>;
  /** @param nextAttemptAt null: there will be none; the row stays, to be looked at */
  failed(eventId: string, reason: string, nextAttemptAt: number | null): Promise<void>;
  /** For a service that sends no mail: deletes what has waited since before this time. @returns how many still wait */
  leave(before: number): Promise<number>;
  /** Nothing waits where the service sends no mail. */
  stats(): Promise<{ readonly pending: number; readonly parked: number }>;
  /** As the outbox's. */
  reseal(after: string | null, limit: number): Promise<ResealedPage>;
}
