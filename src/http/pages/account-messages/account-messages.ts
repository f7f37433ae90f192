import type { Language } from "../../../config/languages.ts";
import { de } from "./de.ts";
import { type AccountMessages, en } from "./en.ts";
import { es } from "./es.ts";
import { fr } from "./fr.ts";
import { ja } from "./ja.ts";
import { ko } from "./ko.ts";

/** By language: a text that one of them lacks does not compile. */
export const ACCOUNT_MESSAGES: Record<Language, AccountMessages> = { en, ko, de, ja, es, fr };
