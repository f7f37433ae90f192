import type { FastifyRequest } from "fastify";
import { LANGUAGE_TAG } from "../config/languages.ts";
import type { Asker } from "../events.ts";

/** The cookie of a choice on the pages, over https and over http. */
const languageCookies = ["__Host-auth_language", "auth_language"] as const;

/** The browser that sent a request, as events name it. */
export function askerOf(request: FastifyRequest): Asker {
  const userAgent = (request.headers["user-agent"] ?? "").slice(0, 500);
  return { ipAddress: request.ip, userAgent, language: languageOf(request) };
}

/** The language that its user chose on a page, else the one that the browser prefers; empty: it names none. */
function languageOf(request: FastifyRequest): string {
  // a route that reads no cookies has none
  const cookies: Readonly<Record<string, string | undefined>> = request.cookies ?? {};
  const chosen = languageCookies.map((name) => cookies[name]).find((value) => value !== undefined);
  const [first = ""] = chosen === undefined ? request.languages() : [chosen];
  return LANGUAGE_TAG.test(first) ? first : "";
}
