import { LANGUAGES, type Language } from "../../config/languages.ts";
import { de } from "./de.ts";
import { en, type MailMessages } from "./en.ts";
import { es } from "./es.ts";
import { fr } from "./fr.ts";
import { ja } from "./ja.ts";
import { ko } from "./ko.ts";

/** By language: a text that one of them lacks does not compile. */
export const MAIL_MESSAGES: Record<Language, MailMessages> = { en, ko, de, ja, es, fr };

/** @param locale a language tag; empty or of a language without texts: English */
export function mailLanguageOf(locale: string): Language {
  const [primary] = locale.toLowerCase().split(/[-_]/);
  return LANGUAGES.find((language) => language === primary) ?? "en";
}
