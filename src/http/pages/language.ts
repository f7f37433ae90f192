import type { FastifyRequest } from "fastify";
import { LANGUAGES, type Language } from "../../config/languages.ts";
import { queryOf } from "../parameters.ts";
import { choiceIn, readerOf } from "../reader.ts";
import { setCookie, type Visit } from "../visit.ts";

const names: Readonly<Record<Language, string>> = {
  en: "English",
  ko: "한국어",
  de: "Deutsch",
  ja: "日本語",
  es: "Español",
  fr: "Français",
};
/** With names as HTML character references, a page in a Latin script has letters of Latin-1 alone: it costs a quarter less to send. */
const named = LANGUAGES.map((language) => {
  const name = names[language];
  return { language, name, nameInHtml: name.replaceAll(/[^\0-\xff]/g, (letter) => `&#${letter.charCodeAt(0)};`) };
});
/** Seconds. */
const yearAge = 31_536_000;

/** The language of a page (`readerOf`). A choice is kept in a cookie. */
export function languageOf(visit: Visit, wanted: readonly string[]): Language {
  const { request } = visit;
  const chosen = choiceIn(request);
  // a request that was refused before its cookies were read, or that no route answers, has none
  const cookies: object | null | undefined = request.cookies;
  if (cookies != null && chosen !== undefined) setCookie(visit, "auth_language", chosen, yearAge);
  return readerOf(request, wanted).language;
}

export interface LanguageLink {
  readonly language: Language;
  readonly name: string;
  readonly nameInHtml: string;
  /** Of this page's address. */
  readonly query: string;
}

/** What of a page's address its links to other languages keep: what the page needs, where it looks like that. */
const kept = ["request", "account", "ended", "token", "user_code", "checked"] as const;
const plainValue = /^[\w.-]{1,4000}$/;

/**
 * Links to this page in each language. They keep the request that it carries. Empty where its address has something that they could not keep, or
 * where the page is an answer to a form and its address shows none.
 */
export function languageLinks(request: FastifyRequest, carried: unknown): LanguageLink[] {
  const isShown = request.method === "GET";
  if (!isShown && !request.server.hasRoute({ method: "GET", url: request.routeOptions.url ?? "" })) return [];
  const given = isShown ? queryOf(request) : new URLSearchParams();
  if (!isShown && typeof carried === "string" && carried !== "") given.set("request", carried);
  const query = new URLSearchParams();
  for (const name of kept) {
    const value = given.get(name);
    if (value === null) continue;
    if (!plainValue.test(value)) return [];
    query.set(name, value);
  }
  if ([...given.keys()].some((name) => name !== "language" && !query.has(name))) return [];
  const others = query.size === 0 ? "" : `${query}&`;
  return named.map((each) => ({ ...each, query: `?${others}language=${each.language}` }));
}
