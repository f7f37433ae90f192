import type { AuthorizationStore } from "./authorizations.ts";
import type { ClientStore } from "./clients.ts";
import type { DeviceCodeStore } from "./device-codes.ts";
import type { EmailVerificationStore } from "./email-verifications.ts";
import type { FactorStore } from "./factors.ts";
import type { IssuerStore } from "./issuer.ts";
import type { KeyStore } from "./keys.ts";
import type { LeaseStore } from "./leases.ts";
import type { LimitStore } from "./limits.ts";
import type { LogoutNoticeStore } from "./logout-notices.ts";
import type { MailStore } from "./mail.ts";
import type { OutboxStore } from "./outbox.ts";
import type { PushedRequestStore } from "./pushed-requests.ts";
import type { RevocationStore } from "./revocations.ts";
import type { SessionStore } from "./sessions.ts";
import type { UsedOnceStore } from "./used-once.ts";
import type { UserStore } from "./users.ts";

/** What calls waited for a connection to the database since the start. */
export interface StoreLoad {
  /** Calls that wait now. */
  readonly waiting: number;
  readonly calls: number;
  readonly waitedMs: number;
}

/**
 * What the domain keeps. Each verb is atomic and decided by the database alone: one-time state changes by one conditional
 * statement, never by read-then-write. Times are epoch milliseconds of the service clock, passed in as `now`.
 * Every verb throws AuthError("unavailable") when the database is away, overloaded or past its deadline, having changed nothing
 * or having been retried as a whole.
 */
export interface Store {
  readonly users: UserStore;
  readonly emailVerifications: EmailVerificationStore;
  readonly factors: FactorStore;
  readonly clients: ClientStore;
  readonly authorizations: AuthorizationStore;
  readonly sessions: SessionStore;
  readonly revocations: RevocationStore;
  readonly issuer: IssuerStore;
  readonly keys: KeyStore;
  readonly pushedRequests: PushedRequestStore;
  readonly deviceCodes: DeviceCodeStore;
  readonly usedOnce: UsedOnceStore;
  readonly outbox: OutboxStore;
  readonly logoutNotices: LogoutNoticeStore;
  readonly mail: MailStore;
  readonly limits: LimitStore;
  readonly leases: LeaseStore;
  /** The database's clock. Also the readiness probe: it throws while the database is away. */
  time(): Promise<number>;
  /**
   * Deletes up to `batch` expired rows of each kind; returns how many went. Call again while the answer is not 0.
   * @param broken tables that are left out, with what went wrong: one that cannot be cleared, as it is locked, is added, and keeps no other
   * from it. Without this, what goes wrong is thrown
   */
  cleanUp(now: number, batch: number, broken?: Map<string, unknown>): Promise<number>;
  /**
   * Deletes up to `batch` sessions, requests, codes, reset links and tokens for registrations of each kind, whatever their age; returns how
   * many went. Call again while that is a batch or more. Tokens end with their keys.
   */
  deleteIssued(batch: number): Promise<number>;
  load(): StoreLoad;
  close(): Promise<void>;
}
