import { randomBytes } from "node:crypto";

/** What other services learn of. Field names are those of the protobuf messages in camelCase; times are epoch milliseconds. */
export type AuthEvent =
  | UserSignup
  | UserLogin
  | PasswordReset
  | EmailVerification
  | PasswordChanged
  | UserDeleted
  | UserSecurity;

export const EVENT_TYPES = [
  ...(["USER_SIGNUP", "USER_LOGIN", "PASSWORD_RESET", "USER_EMAIL_VERIFICATION"] as const),
  ...(["USER_PASSWORD_CHANGED", "USER_DELETED", "USER_SECURITY"] as const),
] satisfies AuthEvent["eventType"][];

interface EventHead<Type extends string> {
  /** `evt-YYYYMMDD-` and a unique part. */
  readonly eventId: string;
  readonly eventType: Type;
  readonly timestamp: number;
}

/** Whom an event is about. */
export interface EventUser {
  readonly uuid: string;
  readonly email: string;
  readonly claims: { readonly locale?: string | undefined };
  /** That is kept of the user; null or absent: none. */
  readonly language?: string | null | undefined;
}

/** Who asks, from a browser. Each member is empty where it is not known, as for calls of other services. */
export interface Asker {
  readonly ipAddress: string;
  readonly userAgent: string;
  /** The language tag that the browser prefers. */
  readonly language: string;
}

export const UNKNOWN_ASKER: Asker = { ipAddress: "", userAgent: "", language: "" };

/** What every payload has. */
interface Whom {
  readonly uuid: string;
  readonly email: string;
  /** The language to write in; empty: it is not known. */
  readonly locale: string;
}

export interface UserSignup extends EventHead<"USER_SIGNUP"> {
  readonly payload: Whom & {
    readonly nickname: string;
    readonly signupMethod: "EMAIL";
    readonly createdAt: number;
  };
}

export interface UserLogin extends EventHead<"USER_LOGIN"> {
  readonly payload: Whom & {
    readonly loginMethod: "OAUTH2";
    readonly ipAddress: string;
    readonly userAgent: string;
  };
}

export interface PasswordReset extends EventHead<"PASSWORD_RESET"> {
  readonly payload: Whom & {
    readonly resetToken: string;
    readonly resetUrl: string;
    readonly expiresAt: number;
    readonly ipAddress: string;
  };
}

export interface EmailVerification extends EventHead<"USER_EMAIL_VERIFICATION"> {
  /** `email` is the address to verify: a new one is not the account's yet. */
  readonly payload: Whom & {
    readonly verificationToken: string;
    readonly verificationUrl: string;
    readonly expiresAt: number;
    readonly ipAddress: string;
  };
}

/** How a password came to be another one. */
export type PasswordChange = "CHANGED" | "RESET" | "SET_BY_OPERATOR";

export interface PasswordChanged extends EventHead<"USER_PASSWORD_CHANGED"> {
  readonly payload: Whom & {
    readonly change: PasswordChange;
    readonly ipAddress: string;
    readonly userAgent: string;
  };
}

export interface UserDeleted extends EventHead<"USER_DELETED"> {
  /** `email` is the address that the account had. */
  readonly payload: Whom & { readonly deletedAt: number };
}

/** What the owner of an account should hear of. */
export type SecurityKind =
  | "NEW_DEVICE"
  | "FACTOR_ADDED"
  | "FACTOR_REMOVED"
  | "FACTORS_RESET"
  | "RECOVERY_CODES_MADE"
  | "RECOVERY_CODE_USED"
  | "EMAIL_CHANGED"
  | "DELETION_REQUESTED"
  | "DELETION_CANCELLED";

export interface UserSecurity extends EventHead<"USER_SECURITY"> {
  readonly payload: Whom & {
    readonly kind: SecurityKind;
    /** What the kind is about, in words of no language: the factor, the new address, the time. May be empty. */
    readonly detail: string;
    readonly ipAddress: string;
    readonly userAgent: string;
  };
}

function head<Type extends string>(eventType: Type, now: number): EventHead<Type> {
  const day = new Date(now).toISOString().slice(0, 10).replaceAll("-", "");
  return { eventId: `evt-${day}-${randomBytes(12).toString("hex")}`, eventType, timestamp: now };
}

/** For events that tell an owner about the account: their language comes before that of the browser that caused the event. */
function owner({ uuid, email, claims, language }: EventUser, asker = ""): Whom {
  return { uuid, email, locale: claims.locale ?? language ?? asker };
}

/** For mails that somebody just asked for: the language in which they asked comes before the one that the account keeps. */
function whoAsked({ uuid, email, claims, language }: EventUser, asker: string): Whom {
  return { uuid, email, locale: claims.locale ?? (asker || (language ?? "")) };
}

export function userSignup(user: EventUser & { readonly nickname: string; readonly createdAt: number }): UserSignup {
  const { nickname, createdAt } = user;
  return {
    ...head("USER_SIGNUP", createdAt),
    payload: { ...owner(user), nickname, signupMethod: "EMAIL", createdAt },
  };
}

export function userLogin(
  user: EventUser,
  browser: { readonly ipAddress: string; readonly userAgent: string },
  now: number,
): UserLogin {
  const { ipAddress, userAgent } = browser;
  return { ...head("USER_LOGIN", now), payload: { ...owner(user), loginMethod: "OAUTH2", ipAddress, userAgent } };
}

/** A link that was made for a user, and until when it works. */
export interface MailedLink {
  readonly token: string;
  /** With the token. */
  readonly url: string;
  readonly expiresAt: number;
}

export function passwordReset(user: EventUser, link: MailedLink, asker: Asker, now: number): PasswordReset {
  const { token: resetToken, url: resetUrl, expiresAt } = link;
  const { ipAddress, language } = asker;
  return {
    ...head("PASSWORD_RESET", now),
    payload: { ...whoAsked(user, language), resetToken, resetUrl, expiresAt, ipAddress },
  };
}

/** @param user with the address to verify */
export function emailVerification(user: EventUser, link: MailedLink, asker: Asker, now: number): EmailVerification {
  const { token: verificationToken, url: verificationUrl, expiresAt } = link;
  const { ipAddress, language } = asker;
  return {
    ...head("USER_EMAIL_VERIFICATION", now),
    payload: { ...whoAsked(user, language), verificationToken, verificationUrl, expiresAt, ipAddress },
  };
}

export function passwordChanged(
  user: EventUser,
  change: PasswordChange,
  { ipAddress, userAgent, language }: Asker,
  now: number,
): PasswordChanged {
  return {
    ...head("USER_PASSWORD_CHANGED", now),
    payload: { ...owner(user, language), change, ipAddress, userAgent },
  };
}

export function userDeleted(user: EventUser, { language }: Asker, now: number): UserDeleted {
  return { ...head("USER_DELETED", now), payload: { ...owner(user, language), deletedAt: now } };
}

/** @param notice detail: what the kind is about, in words of no language */
export function userSecurity(
  user: EventUser,
  notice: { readonly kind: SecurityKind; readonly detail: string },
  { ipAddress, userAgent, language }: Asker,
  now: number,
): UserSecurity {
  const { kind, detail } = notice;
  return { ...head("USER_SECURITY", now), payload: { ...owner(user, language), kind, detail, ipAddress, userAgent } };
}
