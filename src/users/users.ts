import type { Context } from "../context.ts";
import { hashOf } from "../crypto/hashes.ts";
import { type PagedList, type PageRequest, readPage } from "../crypto/page-tokens.ts";
import { generationOf } from "../crypto/password-generation.ts";
import { AuthError } from "../errors.ts";
import { type Asker, passwordChanged, UNKNOWN_ASKER, userSecurity } from "../events.ts";
import { networkOf } from "../limits.ts";
import type { ActingSession } from "../store/session.ts";
import type { StandardClaims, User, UserChange, UserToSignIn, UserWithPassword } from "../store/users.ts";
import { securityEvent } from "../telemetry/security-events.ts";
import { currentPassword, normaliseEmail, readClaims, readNewPassword, readNickname, readRoles } from "./input.ts";

const unknownUser = () => new AuthError("not_found", "no such user");
const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** From where a password comes. */
export interface PasswordSource {
  /** Id of a device that this account signed in with since it has its password; null: any other. */
  readonly device: string | null;
  readonly network: string;
}

/**
 * Is this the account's password? Ten wrong ones within 15 minutes close the account's login until those minutes are over, but not for who
 * others cannot be: each device that it signed in with has ten attempts of its own, and so has, for an hour, the network from which its
 * password was set. Right passwords are not counted. Unknown and disabled accounts get the same response as a wrong password, after the
 * same work; one that its user closed says so where the password is right.
 * @throws AuthError invalid_credentials, account_closed, rate_limited, unavailable
 */
export async function checkPassword(
  ctx: Context,
  email: string,
  password: string,
  { device, network }: PasswordSource,
): Promise<UserToSignIn> {
  // before anything is counted or read, so that a flood of logins costs very little
  ctx.passwords.refuseWhenFull();
  const address = normaliseEmail(email).slice(0, 300);
  const check = (found: UserToSignIn | null) => verify(ctx, found, password);
  const subject = device === null ? address : `${address}\n${device}`;
  try {
    return await counted(ctx, "wrong_password", subject, { email: address }, check);
  } catch (error) {
    const isClosed = error instanceof AuthError && error.code === "rate_limited" && device === null;
    const ofOwner = `${address}\n${network}`;
    if (!isClosed || !(await ctx.limits.takeOpened("login_after_new_password", ofOwner))) {
      // no account is looked up for it: a flood of logins costs the database nothing
      if (isThrottled(error)) securityEvent(ctx, "login_throttled", { account: hashOf(address).slice(0, 16) });
      throw error;
    }
    const user = await check(await ctx.store.users.findByEmail(address));
    await ctx.limits.giveBack("login_after_new_password", ofOwner);
    return user;
  }
}

function isThrottled(error: unknown): boolean {
  return error instanceof AuthError && error.code === "rate_limited";
}

/**
 * Is this the password of an account that was proven otherwise, by a session or a reset link? Counted by the account's id, apart from the
 * login: strangers who know its address cannot use these up. Where the account has no password the refusal says so, and nothing is counted.
 * @throws AuthError invalid_credentials, rate_limited, unavailable
 */
export async function checkCurrentPassword(ctx: Context, uuid: string, password: string): Promise<UserToSignIn> {
  ctx.passwords.refuseWhenFull();
  return counted(ctx, "wrong_current_password", uuid, { uuid }, async (found) => {
    if (found?.hasPassword === false && found.disabledAt === null) throw new NoPassword();
    return verify(ctx, found, password);
  });
}

class NoPassword extends AuthError {
  constructor() {
    super("invalid_credentials", "this account has no password: the link of a password reset sets one");
  }
}

/**
 * Is it really the user of a session who asks? Who has a password gives it again; who has none has just signed in again.
 * @throws AuthError as `checkCurrentPassword`
 */
export async function checkOwner(
  ctx: Context,
  uuid: string,
  proof: { readonly currentPassword: string; readonly isFreshSignIn?: boolean },
): Promise<UserToSignIn> {
  if (proof.isFreshSignIn === true) {
    const user = await getUserToSignIn(ctx, uuid);
    if (!user.hasPassword) return user;
  }
  return checkCurrentPassword(ctx, uuid, proof.currentPassword);
}

/** A right password is not counted, and clears nothing: a stranger's guesses count on, however often the owner signs in meanwhile. */
function counted(
  ctx: Context,
  rule: "wrong_password" | "wrong_current_password",
  subject: string,
  account: { readonly email: string } | { readonly uuid: string },
  check: (found: UserToSignIn | null) => Promise<UserToSignIn>,
): Promise<UserToSignIn> {
  return ctx.limits.guess(rule, subject, check, {
    isWrong: (error) =>
      error instanceof AuthError && error.code === "invalid_credentials" && !(error instanceof NoPassword),
    look: (limit) => ctx.store.users.findToCheck(account, limit),
  });
}

async function verify(ctx: Context, found: UserToSignIn | null, password: string): Promise<UserToSignIn> {
  const closed = isClosed(found);
  const active = found !== null && (found.disabledAt === null || closed);
  const right =
    password.length <= 512 &&
    (await ctx.passwords.verify(active && found.hasPassword ? found.passwordHash : null, password));
  if (!active || !right) {
    const reason = found === null ? "unknown_account" : active ? "wrong_password" : "disabled_account";
    securityEvent(ctx, "login_failed", { sub: found?.uuid, reason });
    throw new AuthError("invalid_credentials", "the e-mail address or the password is wrong");
  }
  if (closed) throw new AuthError("account_closed", "the user closed this account");
  if (!ctx.passwords.isOutdated(found.passwordHash)) return found;
  const passwordHash = await ctx.passwords.hash(password);
  if (await ctx.store.users.rehash(found, passwordHash)) return { ...found, passwordHash };
  // another login at the same moment did that, or the password was changed
  return verify(ctx, await ctx.store.users.findWithPassword(found.uuid), password);
}

/**
 * Does what the store does only while the password's hash is the one that was checked: again with the next hash, where a login gave the
 * same password a better one meanwhile.
 * @param act null: the hash is another one
 */
export async function whilePasswordIs<Result>(
  ctx: Context,
  checked: Pick<UserWithPassword, "uuid" | "passwordHash" | "passwordGeneration">,
  act: (passwordHash: string) => Promise<Result | null>,
): Promise<Result | null> {
  const done = await act(checked.passwordHash);
  if (done !== null) return done;
  const user = await ctx.store.users.findWithPassword(checked.uuid);
  if (user === null || user.passwordHash === checked.passwordHash) return null;
  return user.passwordGeneration === checked.passwordGeneration ? act(user.passwordHash) : null;
}

/** Did its user close it, and no operator disable it since? */
export function isClosed(user: UserWithPassword | null): boolean {
  return user !== null && user.closedAt !== null && user.closedAt === user.disabledAt;
}

/** @param at when a sign-in began (epoch milliseconds); null: unknown */
export function hasSignedInSince({ signedInAt }: UserWithPassword, at: number | null): boolean {
  return at !== null && signedInAt !== null && signedInAt >= at;
}

/** Gives the network from which the account's owner set its password ten logins that others cannot use up. */
export async function openLoginFrom(ctx: Context, email: string, network: string | null): Promise<void> {
  if (network !== null) await ctx.limits.open("login_after_new_password", `${email}\n${network}`);
}

/** The network of a browser; null where there is none. */
export function networkOrNull({ ipAddress }: Asker): string | null {
  return ipAddress === "" ? null : networkOf(ipAddress);
}

/** @throws AuthError not_found */
export async function getUser(ctx: Context, uuid: string): Promise<User> {
  const user = uuidForm.test(uuid) ? await ctx.store.users.find(uuid) : null;
  if (user === null) throw unknownUser();
  return user;
}

/** @throws AuthError not_found */
export async function getUserToSignIn(ctx: Context, uuid: string): Promise<UserToSignIn> {
  const user = await ctx.store.users.findWithPassword(uuid);
  if (user === null) throw unknownUser();
  return user;
}

/** @throws AuthError not_found */
export async function getUserByEmail(ctx: Context, email: string): Promise<User> {
  const user = email.length > 1000 ? null : await ctx.store.users.findByEmail(normaliseEmail(email));
  if (user === null) throw unknownUser();
  return user;
}

/** The users that exist of these. @throws AuthError invalid_request */
export async function batchGetUsers(ctx: Context, uuids: readonly string[]): Promise<User[]> {
  if (uuids.length < 1 || uuids.length > 1000)
    throw new AuthError("invalid_request", "uuids must name 1 to 1,000 users");
  const wanted = [...new Set(uuids)].filter((uuid) => uuidForm.test(uuid));
  return wanted.length === 0 ? [] : ctx.store.users.findMany(wanted);
}

/** Oldest first. @param page size 0: 100; emailPart: only addresses that contain it. @throws AuthError invalid_request */
export async function listUsers(
  ctx: Context,
  page: PageRequest & { readonly emailPart?: string },
): Promise<{ users: User[]; nextPageToken: string }> {
  const { emailPart } = page;
  const list: PagedList<User> = {
    name: "users",
    usualSize: 100,
    maxSize: 1_000,
    read: (after, limit) =>
      ctx.store.users.list(
        after === null ? null : { createdAt: after[0], uuid: after[1] },
        limit,
        ...(emailPart === undefined ? [] : [emailPart.trim().toLowerCase()]),
      ),
    positionOf: ({ createdAt, uuid }) => [createdAt, uuid],
  };
  const { entries, nextPageToken } = await readPage(ctx.derivedKeys.pageTokens, list, page);
  return { users: entries, nextPageToken };
}

/** Changes a user. Tokens have the new roles from the next refresh on. @throws AuthError invalid_input, not_found */
export async function updateUser(
  ctx: Context,
  uuid: string,
  change: {
    readonly nickname?: unknown;
    readonly roles?: unknown;
    /** Replaces all earlier claims. */
    readonly claims?: unknown;
    /** Of these claims alone, by name; an empty text removes one. Not together with `claims`. */
    readonly someClaims?: Readonly<Record<string, string>>;
    readonly emailVerified?: boolean;
  },
): Promise<User> {
  const { nickname, roles, claims, someClaims, emailVerified } = change;
  const some = someClaims === undefined ? undefined : readSomeClaims(someClaims);
  const checked: UserChange = {
    ...(nickname === undefined ? {} : { nickname: readNickname(nickname) }),
    ...(roles === undefined ? {} : { roles: readRoles(roles) }),
    ...(claims === undefined ? {} : { claims: readClaims(claims) }),
    ...(emailVerified === undefined ? {} : { emailVerified }),
  };
  return update(ctx, uuid, (user) => ({
    ...checked,
    ...(some === undefined ? {} : { claims: mergedClaims(user.claims, some) }),
  }));
}

/** Grants roles to a user and takes others away; those that are not named stay. @throws AuthError invalid_input: no role would be left; not_found */
export async function changeRoles(
  ctx: Context,
  uuid: string,
  { granted, revoked }: { readonly granted: readonly string[]; readonly revoked: readonly string[] },
): Promise<User> {
  return update(ctx, uuid, ({ roles }) => ({
    roles: readRoles([...roles, ...granted].filter((role) => !revoked.includes(role))),
  }));
}

async function update(ctx: Context, uuid: string, change: (user: User) => UserChange): Promise<User> {
  let changed: UserChange = {};
  const user = await ctx.store.users.update(
    uuid,
    (before) => {
      changed = change(before);
      return changed;
    },
    ctx.clock.now(),
  );
  if (user === null) throw unknownUser();
  securityEvent(ctx, "user_changed", { sub: uuid, members: Object.keys(changed), roles: changed.roles });
  return user;
}

interface SomeClaims {
  readonly set: StandardClaims;
  readonly removed: readonly string[];
}

function readSomeClaims(change: Readonly<Record<string, string>>): SomeClaims {
  const isSet = ([, value]: readonly [string, string]) => value !== "";
  const entries = Object.entries(change);
  const removed = entries.filter((entry) => !isSet(entry)).map(([name]) => name);
  return { set: readClaims(Object.fromEntries(entries.filter(isSet))), removed };
}

function mergedClaims(before: StandardClaims, { set, removed }: SomeClaims): StandardClaims {
  return Object.fromEntries(Object.entries({ ...before, ...set }).filter(([name]) => !removed.includes(name)));
}

/**
 * Changes a password, given the current one, and ends every session and authorization of the account. Consents stay.
 * @param change asker: the browser of the user who changes it, where there is one; acting: its session
 * @returns the user with the new password
 * @throws AuthError invalid_credentials, invalid_input, not_found, rate_limited, unavailable; login_required: that session has ended
 */
export async function changePassword(
  ctx: Context,
  change: {
    readonly uuid: string;
    readonly currentPassword: unknown;
    readonly newPassword: unknown;
    readonly asker?: Asker;
    readonly acting?: ActingSession;
  },
): Promise<UserWithPassword> {
  const user = await getUser(ctx, change.uuid);
  const newPassword = await readNewPassword(ctx, "newPassword", change.newPassword, [user.email]);
  const current = currentPassword.safeParse(change.currentPassword).data ?? "";
  const checked = await checkCurrentPassword(ctx, user.uuid, current);
  const newHash = await ctx.passwords.hash(newPassword);
  const { asker = UNKNOWN_ASKER, acting } = change;
  const event = passwordChanged(user, "CHANGED", asker, ctx.clock.now());
  const changed = await whilePasswordIs(ctx, checked, async (from) => {
    const outcome = await ctx.store.users.changePassword(user.uuid, { from, to: newHash }, event, acting);
    return outcome === "lost" ? null : outcome;
  });
  if (changed === null) throw new AuthError("invalid_credentials", "the password was changed meanwhile");
  await openLoginFrom(ctx, user.email, networkOrNull(asker));
  securityEvent(ctx, "password_changed", { sub: user.uuid });
  const { signedInAt, closedAt } = checked;
  return { ...user, passwordHash: newHash, passwordGeneration: generationOf(newHash), signedInAt, closedAt };
}

/**
 * Sets a password for an operator, who need not know the current one, and ends every session and authorization of the account. Consents stay.
 * The next login does not wait for wrong passwords of before.
 * @throws AuthError invalid_input, not_found, unavailable
 */
export async function setPassword(ctx: Context, uuid: string, password: string): Promise<void> {
  const user = await getUser(ctx, uuid);
  const newPassword = await readNewPassword(ctx, "password", password, [user.email]);
  const current = await ctx.store.users.findWithPassword(uuid);
  if (current === null) throw unknownUser();
  const hash = await ctx.passwords.hash(newPassword);
  const event = passwordChanged(user, "SET_BY_OPERATOR", UNKNOWN_ASKER, ctx.clock.now());
  const outcome = await ctx.store.users.changePassword(uuid, { from: current.passwordHash, to: hash }, event);
  if (outcome === "lost") throw new AuthError("unavailable", "the password was changed meanwhile: try again");
  await ctx.limits.clear("wrong_password", user.email);
  securityEvent(ctx, "password_changed", { sub: uuid });
}

/**
 * Disables or enables a user. A disabled user loses every session and authorization and cannot sign in. Enabling opens a closed account,
 * which its owner is told.
 * @throws AuthError not_found
 */
export async function setUserDisabled(
  ctx: Context,
  uuid: string,
  disabled: boolean,
  asker: Asker = UNKNOWN_ASKER,
): Promise<void> {
  const user = await getUser(ctx, uuid);
  const now = ctx.clock.now();
  const reopened = userSecurity(user, { kind: "DELETION_CANCELLED", detail: "" }, asker, now);
  if (!(await ctx.store.users.setDisabled(uuid, disabled, now, reopened))) throw unknownUser();
  securityEvent(ctx, disabled ? "user_disabled" : "user_enabled", { sub: uuid });
}

/** Logs the user out everywhere: every session and authorization ends. @throws AuthError not_found */
export async function endSessions(ctx: Context, uuid: string): Promise<void> {
  await getUser(ctx, uuid);
  await ctx.store.sessions.endAllOf(uuid, ctx.clock.now());
  securityEvent(ctx, "logged_out_everywhere", { sub: uuid });
}
