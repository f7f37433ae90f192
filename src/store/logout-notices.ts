/** An authorization that ended, of a client that wants to know (OpenID Connect Back-Channel Logout 1.0). */
export interface LogoutNotice {
  readonly id: string;
  readonly clientId: string;
  readonly sid: string;
  readonly sub: string;
  /** Failed attempts so far. */
  readonly attempts: number;
  readonly createdAt: number;
}

/** Milliseconds. The longest pause before a notice is tried again: a time further ahead is from before the clock was set back. */
export const LONGEST_NOTICE_PAUSE_MS = 3_600_000;

/** Written in the transaction that ends the authorization. */
export interface LogoutNoticeStore {
  /** Called after every local commit that wrote notices. Returns the way to stop it. */
  onAppend(listener: () => void): () => void;
  /** Clients that have notices whose time has come, by their id. @param after from the one behind this id on */
  dueClients(now: number, after: string, limit: number): Promise<string[]>;
  /** A client's notices whose time has come, those first that were never tried. */
  due(clientId: string, now: number, limit: number): Promise<LogoutNotice[]>;
  delivered(id: string): Promise<void>;
  /** Counts a failed attempt. @param nextAttemptAt null: there will be none; the row stays, to be looked at */
  failed(id: string, reason: string, nextAttemptAt: number | null): Promise<void>;
}
