import type { Language } from "../../../config/languages.ts";
import { de } from "./de.ts";
import { en, type FactorMessages } from "./en.ts";
import { es } from "./es.ts";
import { fr } from "./fr.ts";
import { ja } from "./ja.ts";
import { ko } from "./ko.ts";

/** What pages say of second factors. By language: a text that one of them lacks does not compile. */
export const FACTOR_MESSAGES: Record<Language, FactorMessages> = { en, ko, de, ja, es, fr };

/** What a page says of a passkey that was refused, by the names of its texts. */
export type PasskeyProblem = "passkeyFailed" | "passkeyLate" | "passkeyUnknown" | "passkeyUnverified";

/** The texts of these alone. */
export function passkeyTexts(f: FactorMessages): Record<PasskeyProblem, string> {
  const { passkeyFailed, passkeyLate, passkeyUnknown, passkeyUnverified } = f;
  return { passkeyFailed, passkeyLate, passkeyUnknown, passkeyUnverified };
}
