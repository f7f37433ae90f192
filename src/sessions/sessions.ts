import { createHmac } from "node:crypto";
import type { Context } from "../context.ts";
import { hashOf, isSameSecret, randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import { type UserSecurity, userSecurity } from "../events.ts";
import { networkOf } from "../limits.ts";
import type { PasskeyUse } from "../store/factors.ts";
import type { Session } from "../store/session.ts";
import { type FirstCode, LONGEST_SESSION_MS, type LoginProof } from "../store/sessions.ts";
import type { UserToSignIn, UserWithPassword } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { normaliseEmail } from "../users/input.ts";
import { checkPassword, whilePasswordIs } from "../users/users.ts";
import { isDeviceProof, knownDevice, rememberDevice } from "./known-devices.ts";

/** An anonymous session expires after this long without a login (milliseconds). */
const anonymousMs = 3_600_000;
/** A signed-in session ends after this long without use (milliseconds), and after `LONGEST_SESSION_MS` in any case. */
const idleMs = 24 * 3_600_000;
/** A form that is sent again in the same of these periods gets the same session (milliseconds). */
const repeatMs = 60_000;
/** How often the use of a session is stored (milliseconds). */
const touchMs = 60_000;

/** The browser behind a request. */
export interface Browser {
  readonly ipAddress: string;
  readonly userAgent: string;
  /** The language tag that it prefers; empty: it names none. */
  readonly language: string;
  /** Its proof of earlier logins (`known-devices.ts`). */
  readonly deviceProof: string | undefined;
}

/** A session with its cookie; the store has only the cookie's hash. */
export interface BrowserSession extends Session {
  readonly cookie: string;
}

/** The live session of a cookie; null for no cookie, an unknown session or one that has ended. */
export async function findSession(ctx: Context, cookie: string | undefined): Promise<BrowserSession | null> {
  if (cookie === undefined || !/^[A-Za-z0-9_-]{43}$/.test(cookie)) return null;
  const now = ctx.clock.now();
  const session = await ctx.store.sessions.find(hashOf(cookie), now);
  if (session === null) return null;
  if (isIdle(session, now)) return null;
  if (session.lastSeenAt + touchMs < now) await ctx.store.sessions.touch(session.idHash, now);
  return { ...session, cookie };
}

/** Starts an anonymous session, which keeps the pending authorization requests of a browser. */
export async function startSession(ctx: Context, browser: Browser): Promise<BrowserSession> {
  const session = newSession(ctx, browser, { userId: null, methods: [], cookie: randomToken() });
  await ctx.store.sessions.create(withoutCookie(session));
  return session;
}

/** A right password, and the session that it opens once `storeLogin` has stored it. */
export interface Login {
  readonly session: BrowserSession;
  /** Whose it is, as they were when they were checked. */
  readonly user: UserWithPassword;
  /** What shows later that the account signed in with this browser. */
  readonly deviceProof: string;
  readonly proof: Omit<LoginProof, "passwordHash">;
  isStored: boolean;
}

/** The answer of the login's passkey cannot be used up, as it was before: nobody is signed in. */
export class PasskeyNotUsed extends AuthError {
  constructor() {
    super("invalid_credentials", "the answer of the passkey was used before");
  }
}

/** The user got or lost a second factor while they signed in: what they have to prove is looked at again at the next try. */
export class FactorsChanged extends AuthError {
  constructor() {
    super("unavailable", "the account's second factors were changed at this moment", { retryAfter: 1 });
  }
}

/** Checks a password at the login. Nothing is stored yet. @throws AuthError invalid_credentials, rate_limited, unavailable */
export async function checkLogin(
  ctx: Context,
  login: {
    readonly email: string;
    readonly password: string;
    readonly browser: Browser;
  },
): Promise<UserToSignIn> {
  const { ipAddress } = login.browser;
  const device = await deviceOf(ctx, login.browser, login.email);
  return checkPassword(ctx, login.email, login.password, { device, network: networkOf(ipAddress) });
}

/**
 * The login of a user who was just checked, or whose password was just set. Nothing is stored yet: the session goes into the store with the
 * code that it is for, in one transaction. A form that is sent again within the same minute, as by a double click, gets the same session, in
 * whatever order the two are answered.
 * @param user where their factors were looked at: with the number these had
 * @param login formId: random, of the form that was sent; null: it names none
 */
export function loginOf(
  ctx: Context,
  user: UserWithPassword & Partial<Pick<UserToSignIn, "factorsGeneration">>,
  login: {
    readonly browser: Browser;
    readonly replaces: Session | null;
    readonly formId: string | null;
    /** Hash of the session that stood for a part of the proof: it must live still when the new one is stored. */
    readonly raises?: string | null;
    /** How the user proved who they are, as `amr` values; a password unless given. */
    readonly methods?: readonly string[];
    /** The answer of the passkey that proved it, which this login uses up. */
    readonly passkey?: PasskeyUse;
    /** True: the user was signed in with this browser already. */
    readonly isKnown?: boolean;
  },
): Login {
  const isKnown = login.isKnown === true || knownDevice(ctx, login.browser.deviceProof, user) !== null;
  const notice = isKnown ? null : newDeviceNotice(ctx, login.browser, user);
  const language = languageToKeep(login.browser, user, { isKnown, notice });
  const { formId, methods = ["pwd"], raises = null, passkey } = login;
  const { factorsGeneration } = user;
  const cookie = formId === null ? randomToken() : cookieOfForm(ctx, minuteOf(ctx), formId, user, methods);
  return {
    session: newSession(ctx, login.browser, { userId: user.uuid, methods, cookie }),
    user,
    deviceProof: rememberDevice(ctx, login.browser.deviceProof, user, methods),
    proof: {
      replaces: login.replaces?.idHash ?? null,
      ...(factorsGeneration === undefined ? {} : { factorsGeneration }),
      ...(raises === null ? {} : { raises }),
      ...(notice === null ? {} : { notice }),
      ...(language === null ? {} : { language }),
      ...(passkey === undefined ? {} : { passkey }),
    },
    isStored: false,
  };
}

/** In place of the methods of a login: what a form's session was raised by. */
const raisedBy = ["raised"];

/**
 * The session that takes the place of one in which its user just proved more. It is stored with what the proof was for (`ActingSession`).
 * @param raise methods: what was proven, as `amr` values; formId: as of `loginOf`
 */
export function raisedSession(
  ctx: Context,
  user: UserWithPassword,
  session: BrowserSession,
  raise: { readonly browser: Browser; readonly formId: string; readonly methods: readonly string[] },
): BrowserSession {
  const methods = [...new Set([...session.methods.filter((method) => method !== "mfa"), ...raise.methods])];
  const cookie = cookieOfForm(ctx, minuteOf(ctx), raise.formId, user, raisedBy);
  return newSession(ctx, raise.browser, { userId: user.uuid, methods, cookie });
}

/** As `findSessionOfForm`, of a form by which a session was raised. */
export function findRaisedSession(
  ctx: Context,
  formId: string,
  user: UserWithPassword,
): Promise<BrowserSession | null> {
  return findSessionOfForm(ctx, formId, user, raisedBy);
}

/** The owner hears of a login from a browser that the account never signed in with, but of the very first login. */
function newDeviceNotice(ctx: Context, browser: Browser, user: UserWithPassword): UserSecurity | null {
  if (user.signedInAt === null) return null;
  const asker = { ...browser, userAgent: browser.userAgent.slice(0, 500) };
  return userSecurity(user, { kind: "NEW_DEVICE", detail: "" }, asker, ctx.clock.now());
}

/**
 * The language in which the owner hears of the account from now on: that of a browser which the account knows, or of the very first login
 * where there is none yet. Who gets in with a stolen password chooses no language that the owner may not read.
 * @returns null: it stays as it is
 */
function languageToKeep(
  { language }: Browser,
  user: UserWithPassword,
  { isKnown, notice }: { readonly isKnown: boolean; readonly notice: UserSecurity | null },
): string | null {
  const may = isKnown || (notice === null && user.language === null);
  return may && language !== "" && language !== user.language ? language : null;
}

/**
 * The session cookie that a form gives to who signs in with it in this minute. Later the same form gives another one, so that no cookie
 * comes back long after a logout; two presses on either side of the minute's end make two sessions.
 */
function cookieOfForm(
  ctx: Context,
  minute: number,
  formId: string,
  { uuid, passwordGeneration }: UserWithPassword,
  methods: readonly string[],
): string {
  return ctx.derivedKeys.loginForms.of(`${minute}\n${formId}\n${uuid}\n${passwordGeneration}\n${methods.join(" ")}`);
}

function minuteOf(ctx: Context): number {
  return Math.floor(ctx.clock.now() / repeatMs);
}

/**
 * The session that a form opened a moment ago: for a form that is sent again though its first press ended the session it came with. What
 * the form brings opens nothing by itself.
 * @returns null: it opened none, or that has ended
 */
export async function findSessionOfForm(
  ctx: Context,
  formId: string,
  user: UserWithPassword,
  methods: readonly string[] = ["pwd"],
): Promise<BrowserSession | null> {
  for (const ago of [0, 1]) {
    const session = await findSession(ctx, cookieOfForm(ctx, minuteOf(ctx) - ago, formId, user, methods));
    if (session !== null) return session;
  }
  return null;
}

/** Is this a live session of the user? */
export async function isSessionOf(ctx: Context, idHash: string, userId: string): Promise<boolean> {
  const now = ctx.clock.now();
  const session = await ctx.store.sessions.find(idHash, now);
  return session !== null && session.userId === userId && !isIdle(session, now);
}

/**
 * Signs in: the new session, with its new cookie, replaces the old one and takes over its pending requests.
 * @param first a code that the session gives a client at once
 * @returns whether the code was stored too; its pushed request may be used up
 * @throws AuthError invalid_credentials: the password was changed since it was checked; login_required: the session that stood for a part of
 * the proof has ended; unavailable; FactorsChanged; PasskeyNotUsed
 */
export async function storeLogin(ctx: Context, login: Login, first: FirstCode | null = null): Promise<boolean> {
  const outcome = await whilePasswordIs(ctx, login.user, async (passwordHash) => {
    const signedIn = await ctx.store.sessions.signIn(
      withoutCookie(login.session),
      { ...login.proof, passwordHash },
      first,
    );
    return signedIn === "refused" ? null : signedIn;
  });
  if (outcome === null) throw await refusalOf(ctx, login);
  if (outcome === "passkey_refused") throw new PasskeyNotUsed();
  login.isStored = true;
  securityEvent(ctx, "login", { sub: login.session.userId ?? undefined, client_id: first?.code.clientId });
  return outcome === "signed_in";
}

async function refusalOf(ctx: Context, { user, proof }: Login): Promise<AuthError> {
  const now = await ctx.store.users.findWithPassword(user.uuid);
  const isSame = now !== null && now.disabledAt === null && now.passwordGeneration === user.passwordGeneration;
  if (isSame && proof.factorsGeneration !== undefined && now.factorsGeneration !== proof.factorsGeneration) {
    return new FactorsChanged();
  }
  return new AuthError("invalid_credentials", "the e-mail address or the password is wrong");
}

/** The account is read for a browser that brings something alone, so that a flood of logins costs little. */
async function deviceOf(ctx: Context, { deviceProof }: Browser, email: string): Promise<string | null> {
  if (!isDeviceProof(deviceProof)) return null;
  const user = await ctx.store.users.findByEmail(normaliseEmail(email).slice(0, 300));
  return user === null ? null : knownDevice(ctx, deviceProof, user);
}

/** A signed-in browser, as its user sees it. */
export interface OwnSession {
  /** Identifies it within the current session only: neither the cookie nor the hash in the store. */
  readonly handle: string;
  readonly isCurrent: boolean;
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly since: number;
}

/** The signed-in browsers of a session's user: that session first, then the newest. */
export async function listOwnSessions(ctx: Context, current: BrowserSession): Promise<OwnSession[]> {
  const own = (await liveSessionsOf(ctx, current)).map((session) => ({
    handle: handleOf(current, session.idHash),
    isCurrent: session.idHash === current.idHash,
    ipAddress: session.ipAddress,
    userAgent: session.userAgent,
    since: session.createdAt,
  }));
  return own.sort((a, b) => Number(b.isCurrent) - Number(a.isCurrent));
}

/** Ends one of the user's own sessions and its authorizations, but offline access. An unknown handle is ignored: that session has ended already. */
export async function endOwnSession(ctx: Context, current: BrowserSession, handle: string): Promise<void> {
  // searches the user's own sessions only: no handle identifies the session of another user
  const found = (await liveSessionsOf(ctx, current)).find(({ idHash }) => handleOf(current, idHash) === handle);
  if (found !== undefined) await endSession(ctx, found);
}

/** The signed-in browsers of a user, the newest first. */
export async function listSessions(ctx: Context, userId: string): Promise<Session[]> {
  const now = ctx.clock.now();
  return (await ctx.store.sessions.listOfUser(userId, now)).filter((session) => !isIdle(session, now));
}

async function liveSessionsOf(ctx: Context, { userId }: BrowserSession): Promise<Session[]> {
  return userId === null ? [] : listSessions(ctx, userId);
}

function handleOf(current: BrowserSession, idHash: string): string {
  return createHmac("sha256", current.cookie).update(`session ${idHash}`).digest("base64url");
}

function isIdle(session: Session, now: number): boolean {
  return session.userId !== null && session.lastSeenAt + idleMs <= now;
}

/** Ends the session and every authorization that was given in it, but offline access. */
export async function endSession(ctx: Context, { idHash, userId }: Session): Promise<void> {
  await ctx.store.sessions.end(idHash, ctx.clock.now());
  securityEvent(ctx, "logout", { sub: userId ?? undefined });
}

/** The CSRF token of a form, bound to the session's cookie and to the purpose of the form. */
export function csrfToken(session: Pick<BrowserSession, "cookie">, purpose: string): string {
  return createHmac("sha256", session.cookie).update(purpose).digest("base64url");
}

export function isCsrfToken(session: Pick<BrowserSession, "cookie">, purpose: string, token: string): boolean {
  return isSameSecret(token, csrfToken(session, purpose));
}

function newSession(
  ctx: Context,
  browser: Browser,
  {
    userId,
    methods,
    cookie,
  }: { readonly userId: string | null; readonly methods: readonly string[]; readonly cookie: string },
): BrowserSession {
  const now = ctx.clock.now();
  return {
    cookie,
    idHash: hashOf(cookie),
    userId,
    authTime: userId === null ? null : now,
    methods,
    ipAddress: browser.ipAddress,
    userAgent: browser.userAgent.slice(0, 500),
    createdAt: now,
    lastSeenAt: now,
    expiresAt: now + (userId === null ? anonymousMs : LONGEST_SESSION_MS),
  };
}

function withoutCookie({ cookie: _, ...session }: BrowserSession): Session {
  return session;
}
