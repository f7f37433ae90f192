import { createHash } from "node:crypto";
import type { FastifyReply } from "fastify";
import type { Language } from "../../config/languages.ts";
import { nameBrowser } from "../../net/user-agent.ts";
import type { OAuthContext } from "../../oauth/context.ts";
import { readableEmail } from "../../users/input.ts";
import { aboutRequest, pathOf, type Visit } from "../visit.ts";
import { ACCOUNT_MESSAGES } from "./account-messages/account-messages.ts";
import { FACTOR_MESSAGES, passkeyTexts } from "./factor-messages/factor-messages.ts";
import { type FieldProblem, textOf } from "./field-problems.ts";
import { type LanguageLink, languageLinks, languageOf } from "./language.ts";
import { brandIn, lookOf, OWN_TEMPLATES } from "./look.ts";
import { MESSAGES, type Messages } from "./messages.ts";
import { scriptPath } from "./scripts.ts";

/** Sends the form that answers a client (form_post); without it there is a button. */
const script = "document.forms[0].submit()";
const scriptHash = createHash("sha256").update(script).digest("base64");

/** Where the reference number goes, which differs where the page is the same for everybody. */
const referencePlace = "<!--reference-->";

export interface PageData extends Record<string, unknown> {
  /** Where a form of the page may lead: Chromium checks every hop of a form's answer against form-action. */
  redirectOrigin?: string | null;
  /** The page sends its form by itself. */
  submits?: boolean;
  /** Scripts of the folder `scripts` that this page needs beside the one of every page. */
  scripts?: readonly string[];
  /** The languages an application asked for (`ui_locales`); they come before the browser's. */
  languages?: readonly string[];
  /** Names what the page says, where that is the same for everybody in a language: it is then made once. */
  sameForAll?: string;
  /** The client that the page is about; a version where its logo is shown. */
  clientId?: string;
  logoVersion?: string | null;
  /** By which the log's line about an error is found. */
  reference?: string;
  /** The wrong fields of the form, of `fieldProblems`. */
  problems?: readonly FieldProblem[];
}

/**
 * Sends a page in its reader's language. It loads nothing but scripts of this service, which it does not need; the policy says so.
 * @param name a template of this folder
 */
export function renderPage(visit: Visit, name: string, data: PageData): FastifyReply {
  const { ctx, request, reply } = visit;
  const language = languageOf(visit, data.languages ?? visit.request.wantedLanguages ?? []);
  const seconds = Number(reply.getHeader("retry-after") ?? 0);
  const minutes = seconds < 60 ? 0 : Math.ceil(seconds / 60);
  const page = { name, data, language, minutes };
  const made =
    data.sameForAll === undefined
      ? htmlOf(ctx, page, languageLinks(request, data["carried"]))
      : madeOnce(ctx, page, data.sameForAll);
  const html = data.reference === undefined ? made : made.replace(referencePlace, data.reference);
  return reply
    .header("content-security-policy", policyOf(ctx, data, html))
    .header("referrer-policy", "no-referrer")
    .header("x-frame-options", "DENY")
    .header("cache-control", "no-store")
    .header("content-language", language)
    .header("vary", "accept-language")
    .type("text/html; charset=utf-8")
    .send(html);
}

interface Page {
  /** A template of this folder. */
  readonly name: string;
  readonly data: PageData;
  readonly language: Language;
  /** Until the reader may try again; 0: at once, or it is not known. */
  readonly minutes: number;
}

function htmlOf(ctx: OAuthContext, page: Page, languages: readonly LanguageLink[]): string {
  const { name, data, language, minutes } = page;
  const t = textsOf(language, minutes);
  const problems = data.problems ?? [];
  const texts = t.fields(ctx.config.passwordMinLength);
  return fill(ctx, name, {
    ...data,
    t,
    a: ACCOUNT_MESSAGES[language],
    f: FACTOR_MESSAGES[language],
    passkeyTexts: passkeyTexts(FACTOR_MESSAGES[language]),
    language,
    languages,
    clientLogo: logoPath(ctx, data),
    brand: brandIn(language, ctx.config),
    style: lookOf(ctx.config).style,
    script,
    scripts:
      data.submits === true ? [] : ["page", ...(data.scripts ?? [])].map((each) => pathOf(ctx, scriptPath(each))),
    scriptPath: (name: string) => pathOf(ctx, scriptPath(name)),
    wrong: Object.fromEntries(problems.map((problem) => [problem.field, textOf(texts, problem)])),
    firstWrong: problems[0]?.field ?? null,
    scopeText: (scope: string) => scopeText(ctx, language, scope),
    emailText: readableEmail,
    referenceText: referencePlace,
    browserText: (userAgent: string) => nameBrowser(t, userAgent),
    timesIn: (zone: string) => timesIn(language, zone),
    path: (path: string) => pathOf(ctx, path),
    // a page about an application's request leads to others about the same one, whatever other tabs are about
    withRequest: (path: string) => pathOf(ctx, aboutRequest(path, String(data["carried"] ?? ""))),
  });
}

/** An operator's template that fails takes no page away: the service's own are used instead. */
function fill(ctx: OAuthContext, name: string, data: object): string {
  const { templates } = lookOf(ctx.config);
  try {
    return templates.render(`./${name}`, data);
  } catch (error) {
    if (templates === OWN_TEMPLATES) throw error;
    ctx.log.error({ template: name, err: error }, "a template of TEMPLATES_DIR failed: the page is this service's own");
    return OWN_TEMPLATES.render(`./${name}`, data);
  }
}

/** Allows what the page needs and nothing else. */
function policyOf(ctx: OAuthContext, data: PageData, html: string): string {
  const style = `'sha256-${lookOf(ctx.config).styleHash}'`;
  const scripts = data.submits === true ? `'sha256-${scriptHash}'` : "'self'";
  const formAction = ["'self'", ...(data.redirectOrigin ? [formActionSource(data.redirectOrigin)] : [])].join(" ");
  // a passkey's challenge is renewed
  const connects = data.scripts?.includes("passkey") ? " connect-src 'self';" : "";
  const [logo] = logoPath(ctx, data)?.split("?", 1) ?? [];
  const images = logo !== undefined && html.includes(logo) ? "data: 'self'" : "data:";
  return `default-src 'none'; style-src ${style}; script-src ${scripts}; img-src ${images};${connects} form-action ${formAction}; frame-ancestors 'none'; base-uri 'none'`;
}

/** Where this service has the logo of the client that a page is about; null: none is shown. */
function logoPath(ctx: OAuthContext, { clientId = "", logoVersion = null }: PageData): string | null {
  if (logoVersion === null) return null;
  return `${pathOf(ctx, `/client-logo/${logoVersion}`)}?${new URLSearchParams({ client_id: clientId })}`;
}

/** Who has to wait is told for how long. */
function textsOf(language: Language, minutes: number): Messages {
  const t = MESSAGES[language];
  return minutes <= 0 ? t : { ...t, errors: { ...t.errors, rate_limited: t.rateLimitedFor(minutes) } };
}

/** What an application can do with a scope, as the operator describes it, or this service where it knows the scope. */
function scopeText({ config }: OAuthContext, language: Language, scope: string): string {
  const described = config.scopes.get(scope)?.description;
  const { scopes } = MESSAGES[language];
  return (
    described?.[language] ?? described?.["en"] ?? (Object.hasOwn(scopes, scope) ? (scopes[scope] ?? scope) : scope)
  );
}

/** By service, what the page says, language and minutes to wait: bounded by the error codes and the limits' windows. */
const made = new WeakMap<OAuthContext, Map<string, string>>();

function madeOnce(ctx: OAuthContext, page: Page, content: string): string {
  const pages = made.get(ctx) ?? new Map<string, string>();
  made.set(ctx, pages);
  const key = `${page.name} ${content} ${page.language} ${page.minutes}`;
  // its address differs, which links to other languages would name
  const html = pages.get(key) ?? htmlOf(ctx, page, []);
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
