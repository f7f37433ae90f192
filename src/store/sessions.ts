import type { AuthEvent } from "../events.ts";
import type { AnsweredPush, NewAuthorizationCode } from "./authorizations.ts";
import type { PasskeyUse } from "./factors.ts";
import type { Session } from "./session.ts";

/** A signed-in session ends after this time whatever happens in it (milliseconds). */
export const LONGEST_SESSION_MS = 14 * 24 * 3_600_000;

/** Sessions of one user, or a few more. Who signs in again and again ends those used longest ago. */
export const KEPT_SESSIONS = 1_000;

/**
 * An authorization request that waits for its user as the previous release keeps it: with the anonymous session of its browser. This
 * release does so only beside replicas of that one (`oauth/authorization/pending-request.ts`).
 */
export interface StoredRequest {
  /** What the pages carry as a hidden field; no secret, valid only with its session. */
  readonly id: string;
  readonly sessionHash: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** SHA-256 of the request_uri it came by (RFC 9126). */
  readonly pushedHash: string | null;
  readonly createdAt: number;
  readonly expiresAt: number;
}

/** What a login rests on. */
export interface LoginProof {
  /** The browser's session before; null: it had none. */
  readonly replaces: string | null;
  /** That the password was checked against. */
  readonly passwordHash: string;
  /** Of the user's factors when they were checked (`UserToSignIn`); absent: they were not looked at. */
  readonly factorsGeneration?: number;
  /** Stood for a part of the proof: a session that is new takes its place only if it lives still. Absent: none did. */
  readonly raises?: string;
  /** The language of the browser, which is the user's from now on; absent: that stays as it is. */
  readonly language?: string;
  /** Written with a session that is new. */
  readonly notice?: AuthEvent;
  /** Used up by this login, and not before, but by the one whose session this is. Absent: no passkey's answer is, or it was used up already. */
  readonly passkey?: PasskeyUse;
}

/**
 * `without_code`: signed in, but the pushed request of its code was used before. `refused`: the user is gone, disabled, or has another password
 * or other factors by now. `passkey_refused`: the answer of the proof's passkey cannot be used up, for which `FactorStore.usePasskey` has the reason.
 */
export type SignedIn = "signed_in" | "without_code" | "refused" | "passkey_refused";

/** A code that a new session gives a client at once. */
export interface FirstCode {
  readonly code: NewAuthorizationCode;
  readonly pushed: AnsweredPush | null;
}

export interface SessionStore {
  create(session: Session): Promise<void>;
  /** Unexpired ones only. */
  find(idHash: string, now: number): Promise<Session | null>;
  touch(idHash: string, now: number): Promise<void>;
  /**
   * Signs in: the new session takes over the old one's pending requests and the old one is gone, in one transaction. A session that this
   * user has already stays as it is. A user keeps `KEPT_SESSIONS` of them: at every twentieth sign-in those beyond that end as by `end`.
   * @throws AuthError login_required: the session that stood for a part of the proof has ended
   */
  signIn(session: Session, proof: LoginProof, first?: FirstCode | null): Promise<SignedIn>;
  /** Logs out: the session, its requests and codes go, every authorization that came of it is revoked. */
  end(idHash: string, now: number): Promise<void>;
  /** Signed-in, unexpired ones, newest first. */
  listOfUser(userId: string, now: number): Promise<Session[]>;
  /** Logs out everywhere: every session, request, code and authorization of the user. */
  endAllOf(userId: string, now: number): Promise<void>;
  /** Keeps at most `keep` requests a session, dropping the oldest. */
  saveRequest(request: StoredRequest, keep: number): Promise<void>;
  findRequest(id: string, sessionHash: string, now: number): Promise<StoredRequest | null>;
  latestRequest(sessionHash: string, now: number): Promise<StoredRequest | null>;
}
