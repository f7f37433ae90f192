import type { FastifyInstance, FastifyRequest } from "fastify";
import { LANGUAGE_TAG, LANGUAGES, type Language } from "../config/languages.ts";
import { queryOf } from "./parameters.ts";

/** The cookie of a choice on the pages, over https and over http. */
const languageCookies = ["__Host-auth_language", "auth_language"] as const;

declare module "fastify" {
  interface FastifyRequest {
    /** What its application asks for (`ui_locales`), once that was opened: tags, most wanted first. */
    wantedLanguages: readonly string[] | null;
    /** What was found of who sent it, and from what. */
    reader: { readonly wanted: unknown; readonly cookies: unknown; readonly found: Reader } | null;
  }
}

/** Gives each request a place for who reads its answer. */
export function nameReaders(app: FastifyInstance): void {
  app.decorateRequest("wantedLanguages", null);
  app.decorateRequest("reader", null);
}

export interface Reader {
  /** Of the pages. */
  readonly language: Language;
  /** The same for mails and events, as the browser or the application names it (`de-AT`); one that the pages do not have where they have none
   * of the browser's. Empty: it names none. */
  readonly tag: string;
}

/**
 * The language of who sent a request: what they chose on this page or on an earlier one, else what the application asks for (`ui_locales`),
 * else the best of the browser's that the pages have.
 */
export function readerOf(request: FastifyRequest, wanted: readonly string[] | null = request.wantedLanguages): Reader {
  const { cookies, reader: before } = request;
  if (before !== null && before.wanted === wanted && before.cookies === cookies) return before.found;
  const found = chosenBy(request) ?? known(wanted ?? []) ?? preferredOf(request);
  request.reader = { wanted, cookies, found };
  return found;
}

/** Who chose a language here or on an earlier page. */
function chosenBy(request: FastifyRequest): Reader | undefined {
  // a request that was refused before its cookies were read, or that no route answers, has none
  const cookies: Readonly<Record<string, string | undefined>> = request.cookies ?? {};
  const language = choiceIn(request) ?? known(languageCookies.map((name) => cookies[name] ?? ""))?.language;
  return language === undefined ? undefined : { language, tag: language };
}

/** What the page's own address chooses. */
export function choiceIn(request: FastifyRequest): Language | undefined {
  return known([queryOf(request).get("language") ?? ""])?.language;
}

function preferredOf(request: FastifyRequest): Reader {
  const tags = request.languages().filter((tag) => LANGUAGE_TAG.test(tag));
  const preferred = request.language([...LANGUAGES]);
  const language = LANGUAGES.find((each) => each === preferred) ?? "en";
  const tag = tags.find((each) => primaryOf(each) === language) ?? tags[0] ?? "";
  return { language, tag };
}

/** The first of these that the pages have. */
function known(tags: readonly string[]): Reader | undefined {
  for (const tag of tags) {
    const language = LANGUAGES.find((each) => each === primaryOf(tag));
    if (language !== undefined) return { language, tag: LANGUAGE_TAG.test(tag) ? tag : language };
  }
  return undefined;
}

function primaryOf(tag: string): string | undefined {
  return tag.toLowerCase().split("-")[0];
}
