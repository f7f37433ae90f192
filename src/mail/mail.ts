import { Eta } from "eta";
import type { Brand } from "../config/brand.ts";
import type { Language } from "../config/languages.ts";
import type { AuthEvent, SecurityKind, UserSecurity } from "../events.ts";
import { nameBrowser } from "../net/user-agent.ts";
import type { MailMessages } from "./messages/en.ts";
import { MAIL_MESSAGES, mailLanguageOf } from "./messages/messages.ts";

/** A mail as it is sent. */
export interface Mail {
  readonly eventId: string;
  readonly to: string;
  readonly language: Language;
  readonly subject: string;
  readonly text: string;
  readonly html: string;
}

/** What both forms of a mail say. */
interface Content {
  readonly subject: string;
  readonly text: string;
  readonly facts: readonly (readonly [label: string, value: string])[];
  /** Before the link. */
  readonly warning?: string;
  readonly action?: { readonly text: string; readonly url: string };
  readonly notes: readonly string[];
}

const eta = new Eta({ views: import.meta.dirname, cache: true });

/**
 * The mail of an event, in the language of its `locale`.
 * @param issuer the service, as the person knows it: mails lead there
 * @param now a link that works no longer is not mailed (epoch milliseconds)
 * @param brand whose name, colours and legal line it bears (BRAND_FILE)
 * @returns null: no mail is sent for it
 */
export function mailOf(event: AuthEvent, issuer: string, now: number, brand: Brand | null = null): Mail | null {
  const { email, locale } = event.payload;
  const language = mailLanguageOf(locale ?? "");
  const t = MAIL_MESSAGES[language];
  const content = contentOf(event, { t, language, issuer, now });
  if (content === null) return null;
  const legal = brand?.legal?.[language] ?? brand?.legal?.en;
  const footer = [t.footer(new URL(issuer).host), ...(legal === undefined ? [] : [legal])];
  const look = { name: brand?.name ?? null, accent: "#14594b", onAccent: "#ffffff", ...brand?.colours.light };
  const html = eta.render("./mail-html", { warning: null, action: null, ...content, ...look, language, footer });
  return {
    eventId: event.eventId,
    to: email,
    language,
    subject: content.subject,
    text: textOf(content, [...(brand === null ? [] : [brand.name]), ...footer]),
    html,
  };
}

interface Words {
  readonly t: MailMessages;
  readonly language: Language;
  readonly issuer: string;
  readonly now: number;
}

function contentOf(event: AuthEvent, words: Words): Content | null {
  const { t, issuer } = words;
  switch (event.eventType) {
    case "USER_SIGNUP":
    case "USER_LOGIN":
      return null;
    case "PASSWORD_RESET":
      return linkMail(t.reset, event.payload.resetUrl, event.payload.expiresAt, words);
    case "USER_EMAIL_VERIFICATION":
      return linkMail(t.verify, event.payload.verificationUrl, event.payload.expiresAt, words);
    case "USER_PASSWORD_CHANGED": {
      const { subject, ...texts } = t.passwordChanged;
      const facts = factsOf(event, words);
      return { subject, text: texts[event.payload.change] ?? texts.CHANGED, facts, ...notYourPassword(t, issuer) };
    }
    case "USER_DELETED":
      return { ...t.deleted, facts: [], notes: [] };
    case "USER_SECURITY": {
      const { kind } = event.payload;
      const { subject, text } = t.security[kind] ?? t.security.OTHER;
      return { subject, text, facts: factsOf(event, words), ...adviceOn(kind, t, issuer) };
    }
  }
}

function linkMail(
  { subject, text, button, ignore }: MailMessages["reset"],
  url: string,
  expiresAt: number,
  words: Words,
): Content | null {
  if (expiresAt <= words.now) return null;
  const until = words.t.until(timeText(words.language, expiresAt));
  return { subject, text, facts: [], action: { text: button, url }, notes: [until, ignore] };
}

/** A new password alone leaves a stranger's factor and codes in place. */
function adviceOn(kind: SecurityKind, t: MailMessages, issuer: string) {
  if (kind === "FACTOR_ADDED") return onSecurityPage(t.notYourFactor, t, issuer);
  if (kind === "RECOVERY_CODES_MADE") return onSecurityPage(t.notYourCodes, t, issuer);
  if (kind === "EMAIL_CHANGED") return { ...notYou(t, issuer), warning: t.notYourAddress };
  return notYou(t, issuer);
}

function notYou({ notYou, openAccount }: MailMessages, issuer: string) {
  return { warning: notYou, action: { text: openAccount, url: `${issuer}/` }, notes: [] };
}

/** Whose password a stranger changed cannot sign in with it. */
function notYourPassword({ notYourPassword, reset }: MailMessages, issuer: string) {
  return { warning: notYourPassword, action: { text: reset.button, url: `${issuer}/password-reset` }, notes: [] };
}

function onSecurityPage(warning: string, { openSecurity }: MailMessages, issuer: string) {
  return { warning, action: { text: openSecurity, url: `${issuer}/account/security` }, notes: [] };
}

/** A factor by its name in the person's language; anything else as it is. */
function detailText({ factors }: MailMessages, detail: string): string {
  if (detail === "totp") return factors.totp;
  return detail.startsWith("passkey ") ? `${factors.passkey}: ${detail.slice("passkey ".length)}` : detail;
}

/** When, where and what: members that are empty are left out. */
function factsOf(
  { timestamp, payload }: { readonly timestamp: number; readonly payload: Partial<UserSecurity["payload"]> },
  { t, language }: Words,
): Content["facts"] {
  const { kind, detail = "", userAgent = "", ipAddress = "" } = payload;
  const about =
    kind === "DELETION_REQUESTED"
      ? ([t.facts.erased, timeText(language, Date.parse(detail))] as const)
      : ([t.facts.detail, detailText(t, detail)] as const);
  const facts = [
    about,
    [t.facts.time, timeText(language, timestamp)],
    [t.facts.browser, nameBrowser({ browserOn: t.browserOn, unknownBrowser: "" }, userAgent)],
    [t.facts.address, ipAddress],
  ] as const;
  return facts.filter(([, value]) => value !== "");
}

function timeText(language: Language, at: number): string {
  if (Number.isNaN(at)) return "";
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "long", timeZone: "UTC" }).format(at);
}

function textOf({ text, facts, warning, action, notes }: Content, footer: readonly string[]): string {
  const lines = facts.map(([label, value]) => `${label}: ${isolated(value)}`);
  const link = action === undefined ? [] : [`${action.text}:\n${action.url}`];
  const parts = [
    text,
    lines.join("\n"),
    ...(warning === undefined ? [] : [warning]),
    ...link,
    notes.join("\n"),
    `-- \n${footer.join("\n")}`,
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

/** What a person chose is set apart, so that its direction changes nothing around it (Unicode Bidirectional Algorithm, FSI and PDI). */
function isolated(value: string): string {
  return /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff]/.test(value)
    ? `\u2068${value}\u2069`
    : value;
}
