import { de } from "./de.ts";
import { en, type MailMessages } from "./en.ts";
import { es } from "./es.ts";
import { fr } from "./fr.ts";
import { ja } from "./ja.ts";
import { ko } from "./ko.ts";

/** By language: a text that one of them lacks does not compile. */
export const MAIL_MESSAGES = { en, ko, de, ja, es, fr } satisfies Record<string, MailMessages>;
export type MailLanguage = keyof typeof MAIL_MESSAGES;

/** @param locale a language tag; empty or of a language without texts: English */
export function mailLanguageOf(locale: string): MailLanguage {
  const [language = ""] = locale.toLowerCase().split(/[-_]/);
  return Object.hasOwn(MAIL_MESSAGES, language) ? (language as MailLanguage) : "en";
}
