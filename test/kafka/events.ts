import type {
  AuthEvent,
  EmailVerification,
  PasswordChanged,
  PasswordReset,
  UserDeleted,
  UserLogin,
  UserSecurity,
  UserSignup,
} from "../../src/events.ts";
import { passwordReset, UNKNOWN_ASKER, userLogin, userSignup } from "../../src/events.ts";
import type { Logger } from "../../src/kafka/event-publisher.ts";

export const UUID = "123e4567-e89b-42d3-a456-426614174000";
const HAPPENED = Date.UTC(2026, 0, 18, 12, 34, 56);

export const SIGNUP: UserSignup = {
  eventId: "evt-20260118-001",
  eventType: "USER_SIGNUP",
  timestamp: HAPPENED,
  payload: {
    uuid: UUID,
    email: "user@example.com",
    nickname: "nick",
    signupMethod: "EMAIL",
    createdAt: HAPPENED,
    locale: "",
  },
};

export const LOGIN: UserLogin = {
  eventId: "evt-20260118-002",
  eventType: "USER_LOGIN",
  timestamp: HAPPENED + 250,
  payload: {
    uuid: UUID,
    email: "user@example.com",
    loginMethod: "OAUTH2",
    ipAddress: "192.0.2.1",
    userAgent: "Mozilla/5.0",
    locale: "ko",
  },
};

export const RESET: PasswordReset = {
  eventId: "evt-20260118-003",
  eventType: "PASSWORD_RESET",
  timestamp: HAPPENED,
  payload: {
    uuid: UUID,
    email: "user@example.com",
    resetToken: "reset-token-secret",
    resetUrl: "https://auth.example.com/reset?token=reset-token-secret",
    expiresAt: HAPPENED + 3_600_000,
    ipAddress: "192.0.2.1",
    locale: "de-AT",
  },
};

const ABOUT = { uuid: UUID, email: "user@example.com", locale: "fr" };
const FROM = { ipAddress: "192.0.2.1", userAgent: "Mozilla/5.0" };

export const VERIFICATION: EmailVerification = {
  eventId: "evt-20260118-004",
  eventType: "USER_EMAIL_VERIFICATION",
  timestamp: HAPPENED,
  payload: {
    ...ABOUT,
    verificationToken: "verification-token-secret",
    verificationUrl: "https://auth.example.com/verify-email?token=verification-token-secret",
    expiresAt: HAPPENED + 3_600_000,
    ipAddress: "192.0.2.1",
  },
};

export const CHANGED: PasswordChanged = {
  eventId: "evt-20260118-005",
  eventType: "USER_PASSWORD_CHANGED",
  timestamp: HAPPENED,
  payload: { ...ABOUT, change: "CHANGED", ...FROM },
};

export const DELETED: UserDeleted = {
  eventId: "evt-20260118-006",
  eventType: "USER_DELETED",
  timestamp: HAPPENED,
  payload: { ...ABOUT, deletedAt: HAPPENED },
};

export const SECURITY: UserSecurity = {
  eventId: "evt-20260118-007",
  eventType: "USER_SECURITY",
  timestamp: HAPPENED,
  payload: { ...ABOUT, kind: "FACTOR_ADDED", detail: "TOTP", ...FROM },
};

/** A user's `index`th event: sign-up first, then logins and resets in turn. */
export function eventOf(uuid: string, index: number, now = Date.now()): AuthEvent {
  const user = { uuid, email: `${uuid}@example.com`, nickname: `event ${index}`, createdAt: now, claims: {} };
  if (index === 0) return userSignup(user);
  if (index % 2 === 1) return userLogin(user, { ipAddress: "192.0.2.1", userAgent: `browser ${index}` }, now);
  const link = { token: "t", url: "https://auth.example.com/reset?token=t", expiresAt: now + 60_000 };
  return passwordReset(user, link, { ...UNKNOWN_ASKER, ipAddress: "192.0.2.1" }, now);
}

export interface LogLine {
  readonly level: keyof Logger;
  readonly message: string;
  readonly fields: object;
}

export function captureLog(): Logger & { readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const at = (level: keyof Logger) => (fields: object, message: string) => void lines.push({ level, message, fields });
  return { lines, debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

export function countingMetrics() {
  const counts = { sent: 0, failed: 0, parked: 0 };
  return {
    counts,
    sent(count: number) {
      counts.sent += count;
    },
    failed(count: number) {
      counts.failed += count;
    },
    parked(count: number) {
      counts.parked += count;
    },
  };
}

/** @param withinMs longer than a client of Kafka waits for an answer that was lost: kafkajs gives a join 65 s */
export async function until(condition: () => boolean | Promise<boolean>, withinMs = 150_000): Promise<void> {
  for (const giveUpAt = Date.now() + withinMs; !(await condition()); ) {
    if (Date.now() > giveUpAt) throw new Error(`not within ${withinMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
