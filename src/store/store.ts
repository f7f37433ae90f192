import type { AuthEvent } from "../events.ts";

/**
 * What the domain keeps. Each verb is atomic and decided by the database alone: one-time state changes by one conditional
 * statement, never by read-then-write. Times are epoch milliseconds of the service clock, passed in as `now`.
 * Every verb throws AuthError("unavailable") when the database is away, overloaded or past its deadline, having changed nothing
 * or having been retried as a whole.
 */
export interface Store {
  readonly users: UserStore;
  readonly clients: ClientStore;
  readonly authorizations: AuthorizationStore;
  readonly sessions: SessionStore;
  readonly revocations: RevocationStore;
  readonly keys: KeyStore;
  readonly pushedRequests: PushedRequestStore;
  readonly deviceCodes: DeviceCodeStore;
  readonly usedOnce: UsedOnceStore;
  readonly outbox: OutboxStore;
  readonly logoutNotices: LogoutNoticeStore;
  readonly limits: LimitStore;
  readonly leases: LeaseStore;
  /** The database's clock. Also the readiness probe: it throws while the database is away. */
  time(): Promise<number>;
  /** Deletes up to `batch` expired rows of each kind; returns how many went. Call again while the answer is not 0. */
  cleanUp(now: number, batch: number): Promise<number>;
  close(): Promise<void>;
}

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
  readonly disabledAt: number | null;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** Claims of OpenID Connect Core section 5.1 that a user may hold beside e-mail address and nickname. */
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
}

export interface UserChange {
  readonly nickname?: string;
  readonly roles?: readonly string[];
  /** In place of all that were there. */
  readonly claims?: StandardClaims;
  readonly emailVerified?: boolean;
}

export interface UserStore {
  /** Account, profile and event in one transaction. */
  create(user: User, passwordHash: string, event: AuthEvent): Promise<"created" | "email_taken">;
  find(uuid: string): Promise<User | null>;
  findByEmail(email: string): Promise<UserWithPassword | null>;
  findWithPassword(uuid: string): Promise<UserWithPassword | null>;
  /** Those that exist, in no order. */
  findMany(uuids: readonly string[]): Promise<User[]>;
  /** By creation, oldest first, after the given position. */
  list(after: { createdAt: number; uuid: string } | null, limit: number): Promise<User[]>;
  update(uuid: string, change: UserChange, now: number): Promise<boolean>;
  /** A better hash of the same password; does nothing when the password was changed meanwhile. */
  rehash(uuid: string, from: string, to: string): Promise<void>;
  /** Ends every session, pending code, reset token and authorization of the user. `lost`: no longer the password it was. */
  changePassword(uuid: string, from: string, to: string, now: number): Promise<"changed" | "lost">;
  /** Disabling ends every session, pending code, reset token and authorization. False: no such user. */
  setDisabled(uuid: string, disabled: boolean, now: number): Promise<boolean>;
  /** Deletes account, profile, consents, sessions and codes, revokes every authorization. False: no such user. */
  delete(uuid: string, now: number): Promise<boolean>;
  /** The newest reset token takes the place of older ones; token and event in one transaction. */
  createPasswordReset(
    reset: { tokenHash: string; userId: string; createdAt: number; expiresAt: number },
    event: AuthEvent,
  ): Promise<void>;
  /** The user whose unused, unexpired, newest reset token this is; a disabled user's is not found. */
  findPasswordReset(tokenHash: string, now: number): Promise<User | null>;
  /** Uses the token up, sets the password and takes the address as proven: the token was mailed there. Ends everything as `changePassword` does. One of N callers gets `reset`. */
  redeemPasswordReset(tokenHash: string, passwordHash: string, now: number): Promise<"reset" | "invalid">;
}

/** What signs client assertions and DPoP proofs here: no RSA with PKCS #1 padding in FAPI's sense, no shared secrets. */
export type ClientAssertionAlg = "ES256" | "PS256" | "EdDSA" | "RS256";

/** Metadata of RFC 7591 section 2 and this service's extensions, complete with defaults. */
export interface ClientMetadata {
  readonly client_name?: string | undefined;
  readonly redirect_uris: readonly string[];
  readonly post_logout_redirect_uris: readonly string[];
  readonly grant_types: readonly string[];
  readonly response_types: readonly string[];
  /** Space-separated scopes it may ask for. */
  readonly scope: string;
  readonly token_endpoint_auth_method: "none" | "client_secret_basic" | "client_secret_post" | "private_key_jwt";
  /** The one algorithm of its assertions; absent: any that is supported. */
  readonly token_endpoint_auth_signing_alg?: ClientAssertionAlg | undefined;
  /** Public keys of its assertions (RFC 7517), here or at `jwks_uri`, not both. */
  readonly jwks?: { readonly keys: readonly Readonly<Record<string, unknown>>[] } | undefined;
  readonly jwks_uri?: string | undefined;
  readonly application_type: "web" | "native";
  readonly contacts?: readonly string[] | undefined;
  readonly client_uri?: string | undefined;
  readonly logo_uri?: string | undefined;
  readonly policy_uri?: string | undefined;
  readonly tos_uri?: string | undefined;
  readonly id_token_signed_response_alg: "RS256" | "ES256";
  /** RFC 9701: signs introspection answers to this client when it asks for a JWT. */
  readonly introspection_signed_response_alg: "RS256" | "ES256";
  /** Seconds; a request without `max_age` has this one. */
  readonly default_max_age?: number | undefined;
  readonly require_auth_time: boolean;
  /** OpenID Connect Back-Channel Logout 1.0 section 2.2. */
  readonly backchannel_logout_uri?: string | undefined;
  readonly backchannel_logout_session_required: boolean;
  /** False only by an operator, for a confidential client that knows no PKCE; every other request needs a challenge. */
  readonly require_pkce: boolean;
  /** RFC 9126 section 6. */
  readonly require_pushed_authorization_requests: boolean;
  /** RFC 9449 section 5.2. */
  readonly dpop_bound_access_tokens: boolean;
  /** `fapi2`: FAPI 2.0 Security Profile, which sets and demands a good part of the above. */
  readonly profile: "default" | "fapi2";
  /** Audiences it may exchange tokens for (RFC 8693); none unless named. */
  readonly token_exchange_audiences: readonly string[];
  /** Seconds after which an unused refresh token ends; absent: only the absolute end counts. */
  readonly refresh_token_idle_ttl?: number | undefined;
  readonly access_token_signed_response_alg: "RS256" | "ES256";
  readonly access_token_typ: "at+jwt" | "JWT";
  readonly first_party: boolean;
  readonly refresh_token_rotation: boolean;
  /** Seconds. */
  readonly refresh_token_reuse_window: number;
  readonly resources: readonly string[];
  readonly resource_server_for: readonly string[];
  /** Subject of the TLS certificate (RFC 8705 section 2.1.2) that authenticates it on the internal listeners. */
  readonly tls_client_auth_subject_dn?: string | undefined;
}

export type ClientSource = "development" | "file" | "command" | "registration";

export interface ClientSecret {
  readonly id: string;
  /** SHA-256, hex. */
  readonly hash: string;
  readonly createdAt: number;
  /** Null: until rotated. */
  readonly expiresAt: number | null;
  /** `sid` of the standing authorization of the client's own tokens; null before the first. */
  readonly authorizationId: string | null;
}

export interface Client {
  readonly clientId: string;
  readonly metadata: ClientMetadata;
  readonly source: ClientSource;
  readonly createdAt: number;
  readonly disabledAt: number | null;
  /** `file`: it went from the clients file; `command`: somebody disabled it, which the file never undoes. */
  readonly disabledBy: "file" | "command" | null;
  /** SHA-256 of the secret the clients file last named: tells a changed file from a rotated secret. */
  readonly fileSecretHash: string | null;
  /** Newest first, expired ones included until they are cleaned up. */
  readonly secrets: readonly ClientSecret[];
}

export interface ClientStore {
  find(clientId: string): Promise<Client | null>;
  list(): Promise<Client[]>;
  create(
    client: Pick<Client, "clientId" | "metadata" | "source" | "createdAt" | "fileSecretHash">,
    secretHash: string | null,
  ): Promise<"created" | "exists">;
  /** A token that lets clients register themselves (RFC 7591 section 3), known by its SHA-256. */
  saveInitialAccessToken(token: {
    tokenHash: string;
    uses: number;
    createdAt: number;
    expiresAt: number;
  }): Promise<void>;
  /** Is it unexpired, with a use left? */
  hasInitialAccessToken(tokenHash: string, now: number): Promise<boolean>;
  /** Registers a client for one use of an initial access token: both or neither. */
  register(
    client: Pick<Client, "clientId" | "metadata" | "createdAt">,
    hashes: { initialToken: string; registrationToken: string; secret: string | null },
  ): Promise<"registered" | "token_refused">;
  /** The client that registered itself and got this token for it (RFC 7592); null: no such pair, or disabled. */
  findRegistered(clientId: string, registrationTokenHash: string): Promise<Client | null>;
  /** `source` changes too, when given: a file may take over a client of the development set. */
  replaceMetadata(clientId: string, metadata: ClientMetadata, source: ClientSource, now: number): Promise<void>;
  disable(clientId: string, by: "file" | "command", now: number): Promise<boolean>;
  /** Undoes what `by` did and nothing else. */
  enable(clientId: string, by: "file" | "command", now: number): Promise<boolean>;
  /**
   * A new secret; every older one ends at `olderEndAt` at the latest, and what ended by `now` takes its standing authorization
   * with it (revoked in the same transaction). `fileSecretHash` is recorded when given.
   */
  addSecret(
    clientId: string,
    secretHash: string,
    options: { now: number; olderEndAt: number; fileSecretHash?: string | null },
  ): Promise<void>;
  /** Revokes the standing authorizations of secrets whose overlap is over. */
  endSecrets(now: number): Promise<void>;
  /**
   * The standing authorization of a secret: the current one when it is live, else `fresh` is recorded and returned.
   * Of N callers at once all get the same.
   * @param secretId null: of a client without one, which authenticates with its key
   */
  standingAuthorization(secretId: string | null, fresh: Authorization, now: number): Promise<string>;
}

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
  readonly resource: string | null;
  readonly authTime: number;
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly redeemedAt: number | null;
  readonly revokedAt: number | null;
  /** What its redemption gave. */
  readonly authorizationId: string | null;
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
  readonly resource: string | null;
  readonly nonce: string | null;
  /** The `claims` parameter, JSON. */
  readonly claims: string | null;
  /** Thumbprint of the DPoP key its refresh tokens are bound to; null where they are not, as a confidential client's. */
  readonly dpopJkt: string | null;
  readonly authTime: number | null;
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly createdAt: number;
  /** Absolute end; no refresh moves it. */
  readonly expiresAt: number;
  /** Of the newest refresh, where the client has an idle limit. */
  readonly lastUsedAt: number | null;
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

export interface AuthorizationStore {
  /**
   * `session_ended`: the session was logged out or its user lost it since it was read. A pushed request is used up with it;
   * `request_used`: it was before.
   * @param pushedHash of the pushed request it answers, if any
   */
  createCode(
    code: NewAuthorizationCode,
    pushedHash?: string | null,
  ): Promise<"created" | "session_ended" | "request_used">;
  findCode(codeHash: string): Promise<AuthorizationCode | null>;
  /**
   * Uses the code up and writes the authorization and its event, in one transaction under the user's lock.
   * One of N callers gets `redeemed`. `attemptId` names the call: repeated after a connection lost at COMMIT it gets
   * `redeemed` again. `refused`: expired, revoked, or the user is gone or disabled.
   */
  redeemCode(codeHash: string, redemption: Redemption, now: number): Promise<"redeemed" | "replayed" | "refused">;
  /** Counts a wrong code verifier; at the third the code is revoked. */
  countWrongVerifier(codeHash: string, now: number): Promise<void>;
  find(sid: string): Promise<Authorization | null>;
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
  /** False: there is none, or it was revoked before. */
  revoke(sid: string, reason: string, now: number): Promise<boolean>;
  /** Revokes one access token. @param expiresAt epoch milliseconds of its `exp` */
  revokeAccessToken(jti: string, expiresAt: number, now: number): Promise<void>;
  /** The scopes that the user allowed the client, space-separated; null: never asked. */
  findConsent(userId: string, clientId: string): Promise<string | null>;
  saveConsent(userId: string, clientId: string, scope: string, now: number): Promise<void>;
  listConsents(userId: string): Promise<{ clientId: string; scope: string; updatedAt: number }[]>;
  /** What the user's live authorizations are for: one entry a client and scope, since the oldest of them. */
  listGrants(userId: string, now: number): Promise<{ clientId: string; scope: string; since: number }[]>;
  /** Forgets the consent and ends what it gave: pending codes and authorizations of this user and client. False: there was nothing. */
  withdrawConsent(userId: string, clientId: string, now: number): Promise<boolean>;
}

/** A browser's session, known by the SHA-256 of its cookie. */
export interface Session {
  readonly idHash: string;
  /** Null before sign-in. */
  readonly userId: string | null;
  /** When the password was given, epoch milliseconds. */
  readonly authTime: number | null;
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly createdAt: number;
  readonly lastSeenAt: number;
  readonly expiresAt: number;
}

/** An authorization request that waits for its user: the validated parameters of the authorization endpoint. */
export interface PendingRequest {
  /** What the pages carry as a hidden field; no secret, valid only with its session. */
  readonly id: string;
  readonly sessionHash: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** SHA-256 of the request_uri it came by (RFC 9126). */
  readonly pushedHash: string | null;
  readonly createdAt: number;
  readonly expiresAt: number;
}

export interface SessionStore {
  create(session: Session): Promise<void>;
  /** Unexpired ones only. */
  find(idHash: string, now: number): Promise<Session | null>;
  touch(idHash: string, now: number): Promise<void>;
  /**
   * Signs in: the new session takes over the old one's pending requests and the old one is gone, in one transaction.
   * `refused`: the user is gone, disabled, or has another password by now.
   */
  signIn(session: Session, proof: { replaces: string | null; passwordHash: string }): Promise<"signed_in" | "refused">;
  /** Logs out: the session, its requests and codes go, every authorization that came of it is revoked. */
  end(idHash: string, now: number): Promise<void>;
  /** Signed-in, unexpired ones, newest first. */
  listOfUser(userId: string, now: number): Promise<Session[]>;
  /** Logs out everywhere: every session, request, code and authorization of the user. */
  endAllOf(userId: string, now: number): Promise<void>;
  /** Keeps at most `keep` requests a session, dropping the oldest. */
  saveRequest(request: PendingRequest, keep: number): Promise<void>;
  findRequest(id: string, sessionHash: string, now: number): Promise<PendingRequest | null>;
  latestRequest(sessionHash: string, now: number): Promise<PendingRequest | null>;
  deleteRequest(id: string): Promise<void>;
}

/**
 * What a feed row tells of, its `value` being: a `jti`; a `sid`; a `sub` that was deleted; a `client_id` (tokens issued before it
 * was disabled); a distrusted `kid`; a `client_id` of which something else changed, which revokes nothing.
 */
export type RevocationKind = "token" | "authorization" | "subject" | "client" | "key" | "client_changed";

export interface Revocation {
  readonly kind: RevocationKind;
  readonly value: string;
  readonly revokedAt: number;
  /** Nobody needs it any more: every token it applies to has expired everywhere. */
  readonly expiresAt: number;
}

export interface StoredRevocation extends Revocation {
  /** Rises, but becomes visible out of order: up to the longest transaction later than a higher one. */
  readonly id: number;
}

/** Milliseconds from a feed row's id to its commit, at the most: no transaction may take longer. */
export const LONGEST_TRANSACTION_MS = 5_000;

export interface RevocationStore {
  /** Committed rows above an id, by id, unexpired ones only. */
  after(id: number, limit: number, now: number): Promise<StoredRevocation[]>;
  /** Called after every local commit that wrote rows, before its caller is answered. Returns the way to stop it. */
  onAppend(listener: (revocations: readonly Revocation[]) => void): () => void;
}

/** `access`: in the published key set; `refresh`: in none. */
export type KeyUse = "access" | "refresh";

export interface StoredKey {
  readonly kid: string;
  readonly use: KeyUse;
  readonly alg: "ES256" | "RS256" | "EdDSA";
  /** 1, 2, ... for each use and alg. */
  readonly generation: number;
  /** Public JWK, JSON. */
  readonly publicJwk: string;
  /** Private JWK, sealed for the context `kid`. */
  readonly sealedPrivateJwk: string;
  readonly createdAt: number;
  /** It signs from here until the next generation does. */
  readonly activeFrom: number;
  readonly distrustedAt: number | null;
}

export interface KeyStore {
  list(): Promise<StoredKey[]>;
  /** `conflict`: another replica made that generation first. */
  add(key: StoredKey): Promise<"added" | "conflict">;
  /**
   * Never trusted again, anywhere, with a row in the feed; the replacement is added with it, as the newest generation.
   * False: there is no such key, or it was distrusted before; nothing was done.
   */
  distrust(kid: string, now: number, replacement: StoredKey | null): Promise<boolean>;
  /** Retired keys nobody needs any more. */
  remove(kids: readonly string[]): Promise<void>;
}

/** A pushed authorization request (RFC 9126), known by the SHA-256 of its request_uri. */
export interface PushedRequest {
  readonly uriHash: string;
  readonly clientId: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly createdAt: number;
  readonly expiresAt: number;
}

export interface PushedRequestStore {
  save(request: PushedRequest): Promise<void>;
  /** Unexpired and not used up. */
  find(uriHash: string, now: number): Promise<PushedRequest | null>;
}

/** A device's pending request (RFC 8628), known by the SHA-256 of what the device and its user hold. */
export interface DeviceCode {
  readonly deviceCodeHash: string;
  readonly userCodeHash: string;
  readonly clientId: string;
  readonly scope: string;
  readonly resource: string | null;
  /** Thumbprint of the DPoP key that may redeem it. */
  readonly dpopJkt: string | null;
  /** Of the device, when it asked. */
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** Null until somebody typed the code in. */
  readonly userId: string | null;
  /** The session that opened the code, and alone may decide. */
  readonly sessionHash: string | null;
  readonly authTime: number | null;
  readonly allowedAt: number | null;
  readonly deniedAt: number | null;
  readonly redeemedAt: number | null;
  readonly revokedAt: number | null;
}

export type NewDeviceCode = Omit<
  DeviceCode,
  "userId" | "sessionHash" | "authTime" | "allowedAt" | "deniedAt" | "redeemedAt" | "revokedAt"
>;

export interface DeviceCodeStore {
  /** `user_code_taken`: another request has that user code. */
  save(code: NewDeviceCode, intervalMs: number): Promise<"saved" | "user_code_taken">;
  find(deviceCodeHash: string): Promise<DeviceCode | null>;
  /** Counts a poll. `too_fast`: it came before the interval was over, which grows by `stepMs`. Of N at once one is in time. */
  poll(deviceCodeHash: string, stepMs: number, now: number): Promise<"in_time" | "too_fast">;
  /**
   * Binds a pending code to the session whose user typed it in; again for the same session changes nothing.
   * @returns the code; `opened_elsewhere`; `session_ended`; null: unknown, decided, revoked or expired
   */
  open(
    userCodeHash: string,
    session: { idHash: string; userId: string; authTime: number },
    now: number,
  ): Promise<DeviceCode | "opened_elsewhere" | "session_ended" | null>;
  /** The decision of the session that opened the code, once. */
  decide(
    userCodeHash: string,
    sessionHash: string,
    allowed: boolean,
    now: number,
  ): Promise<"decided" | "opened_elsewhere" | "session_ended" | "over">;
  /** As `redeemCode`: one of N callers gets `redeemed`, and who repeats its `attemptId`. */
  redeem(deviceCodeHash: string, redemption: Redemption, now: number): Promise<"redeemed" | "replayed" | "refused">;
}

/** Replay protection over all replicas: identifiers of client assertions and DPoP proofs. */
export interface UsedOnceStore {
  /** Of N callers one gets true. @param valueHash SHA-256, hex @param expiresAt when nothing will accept the value any more */
  use(valueHash: string, expiresAt: number): Promise<boolean>;
}

export type OutboxStatus = "pending" | "sent" | "parked";

export interface OutboxEntry {
  readonly eventId: string;
  readonly eventType: AuthEvent["eventType"];
  readonly userId: string;
  /** Number of the event among its user's. */
  readonly seq: number;
  readonly lane: number;
  readonly status: OutboxStatus;
  readonly attempts: number;
  readonly createdAt: number;
  readonly sentAt: number | null;
  /** Why it was parked. */
  readonly reason: string | null;
}

/** Number of lanes: events of one user are always in the same. */
export const OUTBOX_LANES = 16;

export interface OutboxStore {
  /** Called after every local commit that wrote an event. Returns the way to stop it. */
  onAppend(listener: (lane: number) => void): () => void;
  /** Oldest pending events of a lane, in `seq` order for each user with no gap. A payload that cannot be opened comes as the error. */
  pending(lane: number, limit: number): Promise<(OutboxEntry & { readonly event: AuthEvent | Error })[]>;
  /** Empties the payloads too. False: the lease is no longer ours and nothing was marked. */
  markSent(lease: Lease, eventIds: readonly string[], now: number): Promise<boolean>;
  /** Counts a failed attempt. */
  countAttempt(eventIds: readonly string[]): Promise<void>;
  /** Sets an event aside that no attempt will ever deliver. */
  park(lease: Lease, eventId: string, reason: string): Promise<boolean>;
  list(status: OutboxStatus | null, limit: number): Promise<OutboxEntry[]>;
  /** Puts parked events back; all of them without ids. Returns how many. */
  retry(eventIds: readonly string[] | null): Promise<number>;
  stats(): Promise<{ pending: number; parked: number; oldestPendingAt: number | null }>;
}

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

/** Written in the transaction that ends the authorization. */
export interface LogoutNoticeStore {
  /** Called after every local commit that wrote notices. Returns the way to stop it. */
  onAppend(listener: () => void): () => void;
  /** Those whose time has come, oldest first. */
  due(now: number, limit: number): Promise<LogoutNotice[]>;
  delivered(id: string): Promise<void>;
  /** Counts a failed attempt. @param nextAttemptAt null: there will be none; the row stays, to be looked at */
  failed(id: string, reason: string, nextAttemptAt: number | null): Promise<void>;
}

export interface LimitStore {
  /**
   * Counts one use of `key` unless `limit` uses were counted in the current window, atomically over all replicas.
   * @returns null when counted, else when the window ends
   */
  take(key: string, limit: number, windowMs: number, now: number): Promise<number | null>;
  /** Takes one counted use back. */
  giveBack(key: string): Promise<void>;
  clear(key: string): Promise<void>;
}

export interface Lease {
  readonly name: string;
  readonly owner: string;
  readonly epoch: number;
}

/** Single ownership, by the database's clock. */
export interface LeaseStore {
  /** Null: somebody else holds it. */
  acquire(name: string, owner: string, ttlMs: number): Promise<Lease | null>;
  /** False: it was lost. */
  renew(lease: Lease, ttlMs: number): Promise<boolean>;
  release(lease: Lease): Promise<void>;
  /** Live leases by name prefix. */
  holders(prefix: string): Promise<{ name: string; owner: string }[]>;
}
