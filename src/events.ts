import { randomBytes } from "node:crypto";

/** What other services learn of. Field names are those of the protobuf messages in camelCase; times are epoch milliseconds. */
export type AuthEvent = UserSignup | UserLogin | PasswordReset;

export const EVENT_TYPES = ["USER_SIGNUP", "USER_LOGIN", "PASSWORD_RESET"] as const satisfies AuthEvent["eventType"][];

interface EventHead<Type extends string> {
  /** `evt-YYYYMMDD-` and a unique part. */
  readonly eventId: string;
  readonly eventType: Type;
  readonly timestamp: number;
}

export interface UserSignup extends EventHead<"USER_SIGNUP"> {
  readonly payload: {
    readonly uuid: string;
    readonly email: string;
    readonly nickname: string;
    readonly signupMethod: "EMAIL";
    readonly createdAt: number;
  };
}

export interface UserLogin extends EventHead<"USER_LOGIN"> {
  readonly payload: {
    readonly uuid: string;
    readonly email: string;
    readonly loginMethod: "OAUTH2";
    readonly ipAddress: string;
    readonly userAgent: string;
  };
}

export interface PasswordReset extends EventHead<"PASSWORD_RESET"> {
  readonly payload: {
    readonly uuid: string;
    readonly email: string;
    readonly resetToken: string;
    readonly resetUrl: string;
    readonly expiresAt: number;
    readonly ipAddress: string;
  };
}

function head<Type extends string>(eventType: Type, now: number): EventHead<Type> {
  const day = new Date(now).toISOString().slice(0, 10).replaceAll("-", "");
  return { eventId: `evt-${day}-${randomBytes(12).toString("hex")}`, eventType, timestamp: now };
}

export function userSignup(user: { uuid: string; email: string; nickname: string; createdAt: number }): UserSignup {
  const { uuid, email, nickname, createdAt } = user;
  return { ...head("USER_SIGNUP", createdAt), payload: { uuid, email, nickname, signupMethod: "EMAIL", createdAt } };
}

export function userLogin(
  user: { uuid: string; email: string },
  browser: { ipAddress: string; userAgent: string },
  now: number,
): UserLogin {
  const { ipAddress, userAgent } = browser;
  return {
    ...head("USER_LOGIN", now),
    payload: { uuid: user.uuid, email: user.email, loginMethod: "OAUTH2", ipAddress, userAgent },
  };
}

export function passwordReset(payload: PasswordReset["payload"], now: number): PasswordReset {
  return { ...head("PASSWORD_RESET", now), payload };
}
