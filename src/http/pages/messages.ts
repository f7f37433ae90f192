import type { Language } from "../../config/languages.ts";
import { de } from "./messages/de.ts";
import { en, type Messages } from "./messages/en.ts";
import { es } from "./messages/es.ts";
import { fr } from "./messages/fr.ts";
import { ja } from "./messages/ja.ts";
import { ko } from "./messages/ko.ts";

export type { Messages };

export const MESSAGES: Record<Language, Messages> = { en, ko, de, ja, es, fr };
