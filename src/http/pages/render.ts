import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Eta } from "eta";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { OAuthContext } from "../../oauth/context.ts";
import { readableEmail } from "../../users/input.ts";
import { pathOf, type Visit } from "../visit.ts";
import { ACCOUNT_MESSAGES } from "./account-messages/account-messages.ts";
import { FACTOR_MESSAGES } from "./factor-messages/factor-messages.ts";
import { type FieldProblem, textOf } from "./field-problems.ts";
import { LANGUAGES, type Language, MESSAGES } from "./messages.ts";
import { nameBrowser } from "./user-agent.ts";

const eta = new Eta({ views: import.meta.dirname, cache: true });
const style = readFileSync(new URL("style.css", import.meta.url), "utf8");
const styleHash = createHash("sha256").update(style).digest("base64");
/** The one script there is: it sends the form that answers a client (form_post); without it there is a button. */
const script = "document.forms[0].submit()";
const scriptHash = createHash("sha256").update(script).digest("base64");

/** Where the reference number goes, which differs where the page is the same for everybody. */
const referencePlace = "<!--reference-->";

export interface PageData extends Record<string, unknown> {
  /** Where a form of the page may lead: Chromium checks every hop of a form's answer against form-action. */
  redirectOrigin?: string | null;
  /** The page sends its form by itself. */
  submits?: boolean;
  /** The languages an application asked for (`ui_locales`); they come before the browser's. */
  languages?: readonly string[];
  /** Names what the page says, where that is the same for everybody in a language: it is then made once. */
  sameForAll?: string;
  /** By which the log's line about an error is found. */
  reference?: string;
  /** The wrong fields of the form, of `fieldProblems`. */
  problems?: readonly FieldProblem[];
}

/**
 * Sends a page in the browser's language. Pages need no script and load nothing but their own icon; the policy says so.
 * @param name a template of this folder
 */
export function renderPage({ ctx, request, reply }: Visit, name: string, data: PageData): FastifyReply {
  const language = languageOf(request, data.languages ?? []);
  const formAction = ["'self'", ...(data.redirectOrigin ? [formActionSource(data.redirectOrigin)] : [])].join(" ");
  const scripts = data.submits === true ? ` script-src 'sha256-${scriptHash}';` : "";
  const made = data.sameForAll === undefined ? htmlOf(ctx, language, name, data) : madeOnce(ctx, language, name, data);
  const html = data.reference === undefined ? made : made.replace(referencePlace, data.reference);
  return reply
    .header(
      "content-security-policy",
      `default-src 'none'; style-src 'sha256-${styleHash}';${scripts} img-src data:; form-action ${formAction}; frame-ancestors 'none'; base-uri 'none'`,
    )
    .header("referrer-policy", "no-referrer")
    .header("x-frame-options", "DENY")
    .header("cache-control", "no-store")
    .header("content-language", language)
    .header("vary", "accept-language")
    .type("text/html; charset=utf-8")
    .send(html);
}

function htmlOf(ctx: OAuthContext, language: Language, name: string, data: PageData): string {
  const t = MESSAGES[language];
  const problems = data.problems ?? [];
  const texts = t.fields(ctx.config.passwordMinLength);
  return eta.render(`./${name}`, {
    ...data,
    t,
    a: ACCOUNT_MESSAGES[language],
    f: FACTOR_MESSAGES[language],
    language,
    style,
    script,
    wrong: Object.fromEntries(problems.map((problem) => [problem.field, textOf(texts, problem)])),
    firstWrong: problems[0]?.field ?? null,
    scopeText: (scope: string) => scopeText(ctx, language, scope),
    emailText: readableEmail,
    referenceText: referencePlace,
    browserText: (userAgent: string) => nameBrowser(t, userAgent),
    timesIn: (zone: string) => timesIn(language, zone),
    path: (path: string) => pathOf(ctx, path),
  });
}

/** What an application can do with a scope, as the operator describes it, or this service where it knows the scope. */
function scopeText({ config }: OAuthContext, language: Language, scope: string): string {
  const described = config.scopes.get(scope)?.description;
  const { scopes } = MESSAGES[language];
  return (
    described?.[language] ?? described?.["en"] ?? (Object.hasOwn(scopes, scope) ? (scopes[scope] ?? scope) : scope)
  );
}

/** By service, what the page says, and language: bounded by the error codes. */
const made = new WeakMap<OAuthContext, Map<string, string>>();

function madeOnce(ctx: OAuthContext, language: Language, name: string, data: PageData): string {
  const pages = made.get(ctx) ?? new Map<string, string>();
  made.set(ctx, pages);
  const key = `${name} ${data.sameForAll} ${language}`;
  const html = pages.get(key) ?? htmlOf(ctx, language, name, data);
  pages.set(key, html);
  return html;
}

/** How times read in a language and a zone of the tz database, the zone named. */
function timesIn(language: Language, zone: string): (at: number) => string {
  const parts = { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" } as const;
  const format = new Intl.DateTimeFormat(language, { ...parts, timeZone: zone, timeZoneName: "short" });
  return (at) => format.format(at);
}

/** The grammar of CSP has no IPv6 addresses: for one, the scheme is allowed as a whole. */
function formActionSource(origin: string): string {
  return origin.includes("[") ? new URL(origin).protocol : origin;
}

function languageOf(request: FastifyRequest, wanted: readonly string[]): Language {
  const asked = wanted.map((tag) => tag.toLowerCase().split("-")[0]);
  const named = asked.map((tag) => LANGUAGES.find((language) => language === tag)).find((tag) => tag !== undefined);
  if (named !== undefined) return named;
  const preferred = request.language([...LANGUAGES]);
  return LANGUAGES.find((language) => language === preferred) ?? "en";
}
