import { describe, expect, it } from "@jest/globals";
import type { Language } from "../../src/config/languages.ts";
import {
  type AuthEvent,
  emailVerification,
  passwordChanged,
  passwordReset,
  UNKNOWN_ASKER,
  userDeleted,
  userSecurity,
} from "../../src/events.ts";
import { MESSAGES } from "../../src/http/pages/messages.ts";
import { eventToJson } from "../../src/kafka/encode.ts";
import { eventOfJson } from "../../src/mail/event-of-json.ts";
import { mailOf } from "../../src/mail/mail.ts";
import { MAIL_MESSAGES } from "../../src/mail/messages/messages.ts";
import { CHANGED, DELETED, LOGIN, RESET, SECURITY, SIGNUP, VERIFICATION } from "../kafka/events.ts";

const issuer = "https://auth.example.com";
const now = Date.UTC(2026, 0, 18, 12);
const user = { uuid: "u", email: "ann@example.com", claims: {} };
const link = { token: "t", url: "https://auth.example.com/verify-email?token=t&x=1", expiresAt: now + 60_000 };
const asker = { ipAddress: "192.0.2.1", userAgent: "Mozilla/5.0 <b>bold</b>", language: "" };

describe("a mail", () => {
  it.each(Object.keys(MAIL_MESSAGES) as Language[])(
    "says in %s, in text and in HTML, what its event tells",
    (language) => {
      const speaking = { ...user, claims: { locale: `${language}-XX` } };
      const t = MAIL_MESSAGES[language];
      const verify = mailOf(emailVerification(speaking, link, asker, now), issuer, now);
      expect(verify).toMatchObject({ to: user.email, language, subject: t.verify.subject });
      expect(verify?.text).toContain(link.url);
      expect(verify?.html).toContain(`<html lang="${language}">`);
      expect(verify?.html).toContain('href="https://auth.example.com/verify-email?token=t&amp;x=1"');
      expect(mailOf(passwordReset(speaking, link, asker, now), issuer, now)?.text).toContain(t.reset.text);
      const notice = userSecurity(speaking, { kind: "NEW_DEVICE", detail: "" }, asker, now);
      const added = mailOf(
        userSecurity(speaking, { kind: "FACTOR_ADDED", detail: "passkey Phone" }, asker, now),
        issuer,
        now,
      );
      expect(added?.text).toContain(`${t.factors.passkey}: Phone`);
      expect(added?.text).toContain(t.notYourFactor);
      expect(added?.text).toContain("https://auth.example.com/account/security");
      const made = userSecurity(speaking, { kind: "RECOVERY_CODES_MADE", detail: "" }, asker, now);
      expect(mailOf(made, issuer, now)).toMatchObject({
        subject: t.security.RECOVERY_CODES_MADE.subject,
        text: expect.stringContaining(`${t.notYourCodes}\n\n${t.openSecurity}:`),
      });
      const mail = mailOf(notice, issuer, now);
      expect(mail?.subject).toBe(t.security.NEW_DEVICE.subject);
      expect(mail?.text).toContain("192.0.2.1");
      expect(mail?.html).not.toContain("<b>bold");
      expect(mailOf(userDeleted(speaking, asker, now), issuer, now)?.text).toContain(t.deleted.text);
    },
  );

  it.each(Object.keys(MAIL_MESSAGES) as Language[])(
    "names in %s a browser as the pages do, and when an account is erased",
    (language) => {
      const speaking = { ...user, claims: { locale: language } };
      const t = MAIL_MESSAGES[language];
      const safari =
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15";
      const by = (userAgent: string) => {
        const detail = new Date(Date.UTC(2026, 0, 25, 12)).toISOString();
        const event = userSecurity(speaking, { kind: "DELETION_REQUESTED", detail }, { ...asker, userAgent }, now);
        return mailOf(event, issuer, now);
      };
      const named = MESSAGES[language].browserOn("Safari", "macOS");
      const mail = by(safari);
      expect(mail?.text).toContain(`${t.facts.browser}: ${named}\n`);
      expect(mail?.html).toContain(named);
      expect(mail?.text).not.toContain("Mozilla");
      const day = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" }).format;
      expect(mail?.text).toContain(`${t.facts.erased}: ${day(Date.UTC(2026, 0, 25))}`);
      expect(mail?.text).not.toContain(t.facts.detail);
      expect(by("curl/8.5.0")?.text).toContain(`${t.facts.browser}: curl/8.5.0\n`);
      expect(by("")?.text).not.toContain(`${t.facts.browser}:`);
    },
  );

  it.each(Object.keys(MAIL_MESSAGES) as Language[])(
    "advises in %s what helps whose password or address a stranger has changed",
    (language) => {
      const speaking = { ...user, claims: { locale: language } };
      const t = MAIL_MESSAGES[language];
      for (const change of ["CHANGED", "RESET", "SET_BY_OPERATOR"] as const) {
        const mail = mailOf(passwordChanged(speaking, change, asker, now), issuer, now);
        expect(mail?.text).toContain(`${t.notYourPassword}\n\n${t.reset.button}:\n${issuer}/password-reset\n`);
        expect(mail?.html).toContain(`href="${issuer}/password-reset"`);
      }
      const moved = userSecurity(speaking, { kind: "EMAIL_CHANGED", detail: "eve@example.com" }, asker, now);
      expect(mailOf(moved, issuer, now)?.text).toContain(t.notYourAddress);
    },
  );

  it("is in English where the language is not known", () => {
    for (const locale of ["", "tlh", "constructor", "EN_us"]) {
      const event = emailVerification({ ...user, claims: { locale } }, link, UNKNOWN_ASKER, now);
      expect(mailOf(event, issuer, now)?.language).toBe("en");
    }
  });

  it("is not sent of a sign-up, a login, and a link that works no longer", () => {
    expect([mailOf(SIGNUP, issuer, now), mailOf(LOGIN, issuer, now)]).toEqual([null, null]);
    expect(mailOf(RESET, issuer, RESET.payload.expiresAt)).toBeNull();
  });

  it("keeps what a person chose from turning the text around it", () => {
    const detail = "\u202eexample.com@evil";
    const mail = mailOf(userSecurity(user, { kind: "EMAIL_CHANGED", detail }, asker, now), issuer, now);
    expect(mail?.text).toContain(`\u2068${detail}\u2069`);
    expect(mail?.html).toContain(`<bdi>${detail}</bdi>`);
  });

  it("tells of a security event that this version has no text for", () => {
    const event = { ...SECURITY, payload: { ...SECURITY.payload, kind: "SOMETHING_NEW" } } as unknown as AuthEvent;
    expect(mailOf(event, issuer, now)?.subject).toBe(MAIL_MESSAGES.fr.security.OTHER.subject);
  });

  it("is the same for an event that a consumer read as JSON", () => {
    for (const event of [RESET, VERIFICATION, CHANGED, DELETED, SECURITY]) {
      expect(mailOf(eventOfJson(eventToJson(event)), issuer, now)).toEqual(mailOf(event, issuer, now));
    }
  });
});
