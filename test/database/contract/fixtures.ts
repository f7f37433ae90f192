import { createHash, randomUUID } from "node:crypto";
import { expect } from "@jest/globals";
import { keysFor } from "../../../src/crypto/keys-for.ts";
import { Sealer } from "../../../src/crypto/sealing.ts";
import type { Database } from "../../../src/database/transaction.ts";
import {
  passwordChanged,
  passwordReset,
  UNKNOWN_ASKER,
  userDeleted,
  userLogin,
  userSecurity,
  userSignup,
} from "../../../src/events.ts";
import type { Authorization, NewAuthorizationCode, NewConsent } from "../../../src/store/authorizations.ts";
import type { Client } from "../../../src/store/clients.ts";
import type { NewDeviceCode } from "../../../src/store/device-codes.ts";
import type { PushedRequest } from "../../../src/store/pushed-requests.ts";
import type { Session } from "../../../src/store/session.ts";
import type { Store } from "../../../src/store/store.ts";
import type { User } from "../../../src/store/users.ts";

export const sealer = new Sealer(keysFor("sealing", [Buffer.alloc(32, 7)]));
export const NOW = 1_800_000_000_000;
export const DAY = 86_400_000;

export function hash(text: string = randomUUID()): string {
  return createHash("sha256").update(text).digest("hex");
}

export function makeUser(over: Partial<User> = {}): User {
  const uuid = randomUUID();
  return {
    uuid,
    email: `${uuid}@example.com`,
    nickname: "Ann",
    roles: ["ROLE_USER"],
    emailVerified: false,
    claims: {},
    epoch: 0,
    language: null,
    disabledAt: null,
    createdAt: NOW,
    updatedAt: NOW,
    ...over,
  };
}

export function makeSession(userId: string | null, over: Partial<Session> = {}): Session {
  return {
    idHash: hash(),
    userId,
    authTime: userId === null ? null : NOW,
    methods: userId === null ? [] : ["pwd"],
    ipAddress: "127.0.0.1",
    userAgent: "Test",
    createdAt: NOW,
    lastSeenAt: NOW,
    expiresAt: NOW + DAY,
    ...over,
  };
}

export function makeCode(session: Session, over: Partial<NewAuthorizationCode> = {}): NewAuthorizationCode {
  return {
    codeHash: hash(),
    clientId: "portal",
    userId: session.userId ?? "",
    sessionHash: session.idHash,
    redirectUri: "http://localhost/cb",
    scope: "openid",
    nonce: null,
    claims: null,
    dpopJkt: null,
    codeChallenge: "c".repeat(43),
    resource: null,
    authTime: NOW,
    methods: ["pwd", "otp", "mfa"],
    acr: "urn:auth-service:acr:two-factor",
    ipAddress: "127.0.0.1",
    userAgent: "Test",
    createdAt: NOW,
    expiresAt: NOW + 60_000,
    clientEpoch: 0,
    ...over,
  };
}

/** Clients with these ids, registered long ago; one that is there stays. */
export async function register(store: Store, ...clientIds: string[]): Promise<void> {
  for (const clientId of clientIds) {
    const client = { clientId, metadata, source: "command", createdAt: 0, fileSecretHash: null } as const;
    await store.clients.create(client, null);
  }
}

export function consentIn(session: Session, clientId: string, scope: string, epoch = 0): NewConsent {
  const client = { clientId, epoch };
  return { userId: session.userId ?? "", sessionHash: session.idHash, client, scopes: scope.split(" ") };
}

export function makePushedRequest(over: Partial<PushedRequest> = {}): PushedRequest {
  return {
    uriHash: hash(),
    clientId: "portal",
    parameters: {},
    createdAt: NOW,
    expiresAt: NOW + 60_000,
    clientEpoch: 0,
    ...over,
  };
}

export function makeDeviceCode(over: Partial<NewDeviceCode> = {}): NewDeviceCode {
  return {
    deviceCodeHash: hash(),
    userCodeHash: hash(),
    clientId: "tv",
    scope: "openid",
    resource: null,
    dpopJkt: null,
    ipAddress: "127.0.0.1",
    userAgent: "Test",
    createdAt: NOW,
    expiresAt: NOW + 600_000,
    clientEpoch: 0,
    ...over,
  };
}

export function makeAuthorization(subject: string, over: Partial<Authorization> = {}): Authorization {
  return {
    id: randomUUID(),
    grantType: "authorization_code",
    clientId: "portal",
    subject,
    sessionHash: null,
    scope: "openid",
    resource: null,
    nonce: null,
    claims: null,
    dpopJkt: null,
    authTime: NOW,
    methods: ["pwd", "otp", "mfa"],
    acr: "urn:auth-service:acr:two-factor",
    ipAddress: "127.0.0.1",
    userAgent: "Test",
    createdAt: NOW,
    expiresAt: NOW + 30 * DAY,
    lastUsedAt: null,
    userEpoch: 0,
    clientEpoch: 0,
    revokedAt: null,
    refresh: { jti: randomUUID(), iat: NOW / 1000, exp: NOW / 1000 + 1000, kid: "k1" },
    generation: 0,
    rotations: [],
    ...over,
  };
}

export const metadata: Client["metadata"] = {
  redirect_uris: ["http://localhost/cb"],
  post_logout_redirect_uris: [],
  grant_types: ["authorization_code"],
  response_types: ["code"],
  scope: "openid",
  token_endpoint_auth_method: "none",
  any_secret_method: false,
  id_token_signed_response_alg: "ES256",
  id_token_claims: false,
  access_token_signed_response_alg: "ES256",
  access_token_typ: "at+jwt",
  first_party: true,
  require_verified_email: false,
  refresh_token_rotation: true,
  refresh_token_reuse_window: 10,
  resources: [],
  resource_server_for: [],
  application_type: "web",
  introspection_signed_response_alg: "RS256",
  require_auth_time: false,
  backchannel_logout_session_required: false,
  require_pkce: true,
  require_pushed_authorization_requests: false,
  dpop_bound_access_tokens: false,
  profile: "default",
  token_exchange_audiences: [],
};

export async function signUp(store: Store, over: Partial<User> = {}): Promise<User> {
  const user = makeUser(over);
  expect(await store.users.create(user, "hash-1", userSignup(user))).toBe("created");
  return user;
}

export async function signIn(store: Store, user: User): Promise<Session> {
  const session = makeSession(user.uuid);
  expect(await store.sessions.signIn(session, { replaces: null, passwordHash: "hash-1" })).toBe("signed_in");
  return session;
}

let logins = 0;

/** A login, later by a millisecond than the one before it. */
export function redemption(user: User, session: Session) {
  return {
    attemptId: randomUUID(),
    authorization: makeAuthorization(user.uuid, { sessionHash: session.idHash }),
    event: userLogin(user, session, NOW + logins++),
  };
}

/** A user with a session, a pending code, a reset token and an authorization. */
export async function busyUser(store: Store) {
  const user = await signUp(store);
  const session = await signIn(store, user);
  const used = makeCode(session);
  const code = makeCode(session);
  await store.authorizations.createCode(used);
  await store.authorizations.createCode(code);
  const redeemed = redemption(user, session);
  expect(await store.authorizations.redeemCode(used.codeHash, redeemed, NOW)).toBe("redeemed");
  const reset = { tokenHash: hash(), userId: user.uuid, createdAt: NOW, expiresAt: NOW + 600_000 };
  await store.users.createPasswordReset(reset, resetEvent(user));
  const request = { id: randomUUID(), sessionHash: session.idHash, parameters: { a: "b" }, pushedHash: null };
  await store.sessions.saveRequest({ ...request, createdAt: NOW, expiresAt: NOW + 1000 }, 5);
  return { user, session, code, reset, request, sid: redeemed.authorization.id };
}

export function resetEvent(user: User) {
  const link = { token: "t", url: "http://localhost/r", expiresAt: NOW };
  return passwordReset(user, link, UNKNOWN_ASKER, NOW);
}

export function changedEvent(user: User, now = NOW) {
  return passwordChanged(user, "CHANGED", UNKNOWN_ASKER, now);
}

/** What `redeemPasswordReset` tells: of the password, and of passkeys that the first proof of the address removed. */
export function resetEvents(user: User, now = NOW) {
  const passkeys = userSecurity(user, { kind: "FACTOR_REMOVED", detail: "passkey" }, UNKNOWN_ASKER, now);
  return [passwordChanged(user, "RESET", UNKNOWN_ASKER, now), passkeys] as const;
}

export function deletedEvent(user: User, now = NOW) {
  return userDeleted(user, UNKNOWN_ASKER, now);
}

export async function expectAllEnded(store: Store, database: Database, busy: Awaited<ReturnType<typeof busyUser>>) {
  const { user, session, code, reset, request, sid } = busy;
  expect(await store.sessions.find(session.idHash, NOW)).toBeNull();
  expect(await store.sessions.findRequest(request.id, session.idHash, NOW)).toBeNull();
  expect(await store.authorizations.redeemCode(code.codeHash, redemption(user, session), NOW)).toBe("refused");
  expect(await store.authorizations.createCode(makeCode(session))).toBe("session_ended");
  expect(await store.users.findPasswordReset(reset.tokenHash, NOW)).toBeNull();
  expect((await store.authorizations.find(sid))?.revokedAt).toBe(NOW + 5);
  const feed = await database.rows("SELECT 1 AS x FROM revocation WHERE kind = 'authorization' AND value = ?", [sid]);
  expect(feed).toHaveLength(1);
}

/** The numbers of a user's pending events. */
export async function seqs(database: Database, user: User): Promise<number[]> {
  const rows = await database.rows<{ seq: number }>("SELECT seq FROM outbox WHERE user_id = ? ORDER BY seq", [
    user.uuid,
  ]);
  return rows.map(({ seq }) => seq);
}

export async function times<T>(count: number, work: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => work(index)));
}

/** The next transaction runs twice, as after a run whose answer to COMMIT was lost. */
export function losesNextCommit(database: Database): void {
  const transaction = database.transaction.bind(database);
  database.transaction = async (work, options) => {
    database.transaction = transaction;
    if (options?.repeatable !== true) throw new Error("it would not run again");
    await transaction(work, options);
    return transaction(work, options);
  };
}

/** A store to test, on a migrated database of its own. */
export interface OpenedStore {
  readonly database: Database;
  readonly store: Store;
  /** @returns the URL of another, empty database of the same kind */
  freshUrl(): Promise<string>;
}
