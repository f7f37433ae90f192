/** The languages of pages and mails (BCP 47), the default first. */
export const LANGUAGES = ["en", "ko", "de", "ja", "es", "fr"] as const;
export type Language = (typeof LANGUAGES)[number];

/** A language tag of BCP 47 as browsers send them: at most 35 characters. */
export const LANGUAGE_TAG = /^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$/;
