import type { AuthEvent } from "../events.ts";
import type { User } from "./users.ts";

/** A pending authorization code (RFC 6749 section 4.1.2), known by the SHA-256 of what the browser carries. */
export interface AuthorizationCode {
  readonly codeHash: string;
  readonly clientId: string;
  readonly userId: string;
  readonly sessionHash: string;
  readonly redirectUri: string;
  readonly scope: string;
  readonly nonce: string | null;
  /** The `claims` parameter (OpenID Connect Core section 5.5), JSON. */
  readonly claims: string | null;
  /** Thumbprint of the DPoP key that may redeem it (RFC 9449 section 10). */
  readonly dpopJkt: string | null;
  /** Empty: the client asked without one. */
  readonly codeChallenge: string;
  /** Resources that its tokens may be for (RFC 8707), space-separated; null: the client itself. */
  readonly resource: string | null;
  readonly authTime: number;
  /** How its user signed in (`amr`), and the class of that which the client gets to see; null: the strongest. */
  readonly methods: readonly string[];
  readonly acr: string | null;
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly redeemedAt: number | null;
  readonly revokedAt: number | null;
  /** What its redemption gave. */
  readonly authorizationId: string | null;
  /** The epoch that its client had; null: written by a release that did not keep it. */
  readonly clientEpoch: number | null;
}

export type NewAuthorizationCode = Omit<AuthorizationCode, "redeemedAt" | "revokedAt" | "authorizationId">;

/** What names the current refresh token of an authorization: enough to sign it again byte for byte. */
export interface RefreshTokenState {
  readonly jti: string;
  /** Seconds. */
  readonly iat: number;
  /** Seconds. */
  readonly exp: number;
  readonly kid: string;
}

/** What a subject allowed a client; its `id` is the `sid` of every token that came of it. */
export interface Authorization {
  readonly id: string;
  readonly grantType: "authorization_code" | "client_credentials" | "device_code";
  readonly clientId: string;
  /** User UUID, or the client id where a client acts for itself. */
  readonly subject: string;
  /** The browser's session it came from. */
  readonly sessionHash: string | null;
  readonly scope: string;
  /** Resources that its tokens may be for (RFC 8707), space-separated; null: the client itself. */
  readonly resource: string | null;
  readonly nonce: string | null;
  /** The `claims` parameter, JSON. */
  readonly claims: string | null;
  /** Thumbprint of the DPoP key its refresh tokens are bound to; null where they are not, as a confidential client's. */
  readonly dpopJkt: string | null;
  readonly authTime: number | null;
  /** How its user signed in, as with its code; none where a client acts for itself. */
  readonly methods: readonly string[];
  readonly acr: string | null;
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly createdAt: number;
  /** Absolute end; no refresh moves it. */
  readonly expiresAt: number;
  /** Of the newest refresh, where the client has an idle limit. */
  readonly lastUsedAt: number | null;
  /** The user's epoch that it was given at; null: of a client's own tokens, or written by a release without epochs. */
  readonly userEpoch: number | null;
  /** The epoch that its client had; null: written by a release that did not keep it. */
  readonly clientEpoch: number | null;
  /** Null while it is live. Set too where the user's epoch has passed `userEpoch`. */
  readonly revokedAt: number | null;
  /** Null where no refresh token was issued. */
  readonly refresh: RefreshTokenState | null;
  /** Number of the current refresh token, from 0. */
  readonly generation: number;
  /** When recent generations were replaced: `[generation, epoch ms]`, newest last. */
  readonly rotations: readonly (readonly [number, number])[];
}

/** What takes the place of a code. */
export interface Redemption {
  /** Names the call: repeated after a connection lost at COMMIT it finds its own result. */
  readonly attemptId: string;
  readonly authorization: Authorization;
  readonly event: AuthEvent;
}

/**
 * Does an authorization end when its user signs out? One with `offline_access` was allowed to go on without the user (OpenID Connect
 * Back-Channel Logout 1.0 section 2.7).
 * @param scope space-separated
 */
export function endsWithSession(scope: string): boolean {
  return !scope.split(" ").includes("offline_access");
}

/** Live authorizations of one user that one client may have, or a few more. A client that signs its user in again and again ends the oldest. */
export const KEPT_PER_CLIENT = 2_000;

/** The pushed request (RFC 9126) that a code answers. */
export interface AnsweredPush {
  /** SHA-256 of its request_uri. */
  readonly hash: string;
  /** A form may be sent twice: within seconds the same user gets another code for the same challenge. */
  readonly mayRepeat: boolean;
}

/** What a user allows a client, in a browser's session. */
export interface NewConsent {
  readonly userId: string;
  readonly sessionHash: string;
  readonly client: { readonly clientId: string; readonly epoch: number };
  readonly scopes: readonly string[];
}

export interface AuthorizationStore {
  /**
   * `session_ended`: the session was logged out or its user lost it since it was read. A pushed request is used up with it;
   * `request_used`: it was before.
   */
  createCode(
    code: NewAuthorizationCode,
    pushed?: AnsweredPush | null,
  ): Promise<"created" | "session_ended" | "request_used">;
  findCode(codeHash: string): Promise<AuthorizationCode | null>;
  /** The code with its user, who is null once deleted. */
  findCodeWithUser(codeHash: string): Promise<{ readonly code: AuthorizationCode; readonly user: User | null } | null>;
  /**
   * Uses the code up and writes the authorization and its event, in one transaction under the user's lock.
   * One of N callers gets `redeemed`. `attemptId` names the call: repeated after a connection lost at COMMIT it gets
   * `redeemed` again. `refused`: expired, revoked, or the user is gone, disabled, or at another epoch than the authorization.
   * A user keeps `KEPT_PER_CLIENT` live authorizations of a client: the oldest beyond that are revoked.
   */
  redeemCode(codeHash: string, redemption: Redemption, now: number): Promise<"redeemed" | "replayed" | "refused">;
  /** Counts a wrong code verifier, even if the call that sent it has ended; at the third the code is revoked. */
  countWrongVerifier(codeHash: string, now: number): Promise<void>;
  find(sid: string): Promise<Authorization | null>;
  /** The authorization with its user, who is null once deleted, or where a client acts for itself. */
  findWithUser(sid: string): Promise<{ readonly authorization: Authorization; readonly user: User | null } | null>;
  /** Live ones of a user, newest first, after the given position. */
  listOfUser(
    userId: string,
    after: { createdAt: number; id: string } | null,
    limit: number,
    now: number,
  ): Promise<Authorization[]>;
  /** Replaces refresh token number `generation` by `next`. `lost`: it is no longer the current one, or the authorization ended. */
  rotateRefreshToken(
    sid: string,
    generation: number,
    next: RefreshTokenState,
    now: number,
  ): Promise<"rotated" | "lost">;
  /** Notes a use of the refresh token, for the idle limit. */
  touch(sid: string, now: number): Promise<void>;
  /**
   * Runs even if the call has ended: a client that replays something and hangs up cannot stop it.
   * @returns false: there is none, or it was revoked before
   */
  revoke(sid: string, reason: string, now: number): Promise<boolean>;
  /** Revokes one access token. @param expiresAt epoch milliseconds of its `exp` */
  revokeAccessToken(jti: string, expiresAt: number, now: number): Promise<void>;
  /** The scopes that the user allowed the client, space-separated; null: never asked. What an earlier client of the id was allowed does not count. */
  findConsent(userId: string, clientId: string): Promise<string | null>;
  /**
   * Adds these scopes to what the user allowed the client, in a session that lives: what ends every session of the user either finds the
   * consent or keeps it from being saved. What is allowed to a client that was removed since is not kept.
   */
  addConsent(consent: NewConsent, now: number): Promise<"saved" | "session_ended">;
  listConsents(userId: string): Promise<{ clientId: string; scope: string; updatedAt: number }[]>;
  /** What the user's live authorizations are for: one entry a client and scope, since the oldest of them. */
  listGrants(userId: string, now: number): Promise<{ clientId: string; scope: string; since: number }[]>;
  /** Forgets the consent and ends what it gave: pending codes and authorizations of this user and client. False: there was nothing. */
  withdrawConsent(userId: string, clientId: string, now: number): Promise<boolean>;
}
