/** The languages of pages and mails (BCP 47), the default first. */
export const LANGUAGES = ["en", "ko", "de", "ja", "es", "fr"] as const;
export type Language = (typeof LANGUAGES)[number];
