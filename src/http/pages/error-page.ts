import { randomBytes } from "node:crypto";
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { DeadlineError, within } from "../../deadline.ts";
import { AuthError } from "../../errors.ts";
import { describeRequest, languagesOf } from "../../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../../oauth/context.ts";
import { readLogoutRequest } from "../../oauth/logout/logout.ts";
import { PATHS } from "../../oauth/paths.ts";
import { setRetryAfter, toAuthError } from "../error-table.ts";
import { CookiesNeeded, FormRefused } from "../forms.ts";
import { PAGE_OF_FORM } from "../pages-of-forms.ts";
import { type Parameters, readForm, readQuery, UnreadableRequest } from "../parameters.ts";
import { aboutRequest, cookieOf, type Visit } from "../visit.ts";
import { requestOf } from "../waiting-request.ts";
import { renderPage } from "./render.ts";

/** The error handler of the pages: a person reads it, so it is a page too. */
export function onErrorPage(ctx: OAuthContext) {
  return async (thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { error, status } = toAuthError(ctx, thrown);
    setRetryAfter(reply, error.retryAfter);
    const own = pageCode(thrown, request);
    reply.code(own === "form" ? 403 : status === 401 ? 400 : status);
    // a flood ends here: its page is not made again and again, and nothing is read for it
    const isFlood = error.code === "rate_limited";
    const wayBack = isFlood ? null : await wayBackIn(error, { ctx, request, reply });
    return showError({ ctx, request, reply }, own ?? error.code, {
      description: error.description,
      clientName: wayBack?.clientName ?? null,
      languages: wayBack?.languages ?? request.wantedLanguages ?? [],
      retry: wayBack?.path ?? (own !== null && request.method === "POST" ? retryPath(request) : null),
      ...(isFlood ? { sameForAll: error.code } : {}),
    });
  };
}

interface ErrorData {
  readonly description?: string;
  readonly clientName?: string | null;
  readonly languages?: readonly string[];
  readonly retry?: string | null;
  readonly sameForAll?: string;
}

/** An error page, with a number by which its line in the log is found. The status is set already. */
export function showError(visit: Visit, code: string, data: ErrorData): FastifyReply {
  const { ctx, request, reply } = visit;
  const reference = randomBytes(6).toString("hex").toUpperCase();
  const { url, method } = request;
  const path = url.split("?", 1)[0];
  ctx.log.info(
    { reference, error: code, status: reply.statusCode, method, path, reason: data.description },
    "error page shown",
  );
  return renderPage(visit, "error", { code, description: "", retry: null, clientName: null, ...data, reference });
}

/** What only a page can say. */
function pageCode(thrown: unknown, request: FastifyRequest): "form" | "cookies" | "malformed" | null {
  if (thrown instanceof FormRefused) return "form";
  // the session of the form ended while it was worked on
  if (thrown instanceof AuthError && thrown.code === "login_required") return "form";
  if (thrown instanceof CookiesNeeded) return "cookies";
  return isMalformed(thrown, request.routeOptions.url ?? "") ? "malformed" : null;
}

/** The pages to which applications send a request of theirs; what else a page gets comes from its own form. */
const ofApplications: ReadonlySet<string> = new Set([PATHS.authorize, PATHS.logout]);

/** Did a form of this service bring what no page of it sends? No application is to blame for that. */
function isMalformed(thrown: unknown, path: string): boolean {
  if (ofApplications.has(path)) return false;
  if (!(thrown instanceof AuthError)) return ((thrown as FastifyError).statusCode ?? 500) < 500;
  const isUnreadable = thrown instanceof UnreadableRequest;
  return isUnreadable || (thrown.code === "invalid_request" && path.startsWith("/account/"));
}

/** Where the pages are whose URL carries the request of an application that waits for a factor. */
const ofFactors = "/account/security/";

/** The pages whose URL and form carry the request of an application, and those that forms of their own address belong to. */
const carrying: ReadonlySet<string> = new Set([
  ...["/login", "/signup", "/consent", "/select-account", "/password-reset", "/verify-email"],
]);

/** The page that leads on with the request that this address was sent; undefined: it carries none. */
function pageOfRequest(path: string): string | undefined {
  const page = PAGE_OF_FORM[path] ?? path;
  return carrying.has(page) ? page : undefined;
}

/** The page of an address that there is not, or not by this method. The way back is that of the application whose request waits. */
export async function showNoPage(visit: Visit, code: "not_found" | "method_not_allowed"): Promise<FastifyReply> {
  const wayBack = await wayBackTo(visit, "/login", () => cookieOf(visit, "auth_request"));
  return showError(visit, code, wayBack === null ? {} : { ...wayBack, retry: wayBack.path });
}

interface WayBack {
  readonly path: string;
  readonly clientName: string;
  readonly languages: readonly string[];
}

/** The page about a fault does not wait for what the fault is about (milliseconds). */
const faultPatienceMs = 100;

/** @param error what the page is about */
async function wayBackIn(error: AuthError, visit: Visit): Promise<WayBack | null> {
  if (error.code !== "unavailable") return wayBackOf(visit);
  return within(faultPatienceMs, wayBackOf(visit)).catch((thrown: unknown) => {
    if (thrown instanceof DeadlineError) return null;
    throw thrown;
  });
}

/** The same page with the request it carries; null: it carries none, or one that cannot be continued. */
async function wayBackOf(visit: Visit): Promise<WayBack | null> {
  const { request } = visit;
  if (request.routeOptions.url === PATHS.logout && request.method === "POST") return wayBackToLogout(visit);
  const address = request.routeOptions.url ?? "";
  // what is set up here is what an application waits for: this page leads to it, or asks for what is missing still
  if (address.startsWith(ofFactors)) return wayBackTo(visit, "/step-up", () => readQuery(request)["request"]);
  const path = pageOfRequest(address);
  if (path === undefined) return null;
  return wayBackTo(visit, path, () => carriedIn(request));
}

/** The question about signing out, asked again for the application that it came from. */
async function wayBackToLogout({ ctx, request }: Visit): Promise<WayBack | null> {
  try {
    const parameters = logoutOf(formOf(request));
    const { clientName } = await readLogoutRequest(ctx, parameters);
    if (clientName === null) return null;
    return {
      path: `${PATHS.logout}?${new URLSearchParams(parameters)}`,
      clientName,
      languages: languagesOf({ parameters }),
    };
  } catch (error) {
    if (error instanceof AuthError) return null;
    throw error;
  }
}

/** @param carried reads the request that waits */
async function wayBackTo(visit: Visit, path: string, carried: () => string | undefined): Promise<WayBack | null> {
  try {
    const pending = await requestOf(visit, null, carried());
    const about = pending === null ? null : await describeRequest(visit.ctx, pending);
    if (pending === null || about === null) return null;
    const { clientName, languages } = about;
    return { path: aboutRequest(path, pending.carried), clientName, languages };
  } catch (error) {
    // what is wrong with the request, or that the store is away, is what the page is about
    if (error instanceof AuthError) return null;
    throw error;
  }
}

/** The page of a refused form, new. */
function retryPath(request: FastifyRequest): string {
  const path = request.routeOptions.url ?? "";
  const form = formOf(request);
  if (path === PATHS.logout) return `${path}?${new URLSearchParams(logoutOf(form))}`;
  const link = pageOfLink[path];
  if (link !== undefined && plain.test(form["token"] ?? "")) return `${link}?token=${form["token"]}`;
  const page = pageOfRequest(path);
  if (page === undefined) return PAGE_OF_FORM[path] ?? ownPage(path, request);
  const carried = carriedIn(request) ?? "";
  if (plain.test(carried)) return aboutRequest(page, carried);
  return page === "/consent" || page === "/select-account" ? "/login" : page;
}

/** Forms of the pages that mailed links open, whose tokens are good still. */
const pageOfLink: Readonly<Record<string, string>> = {
  "/password-reset/confirm": "/password-reset",
  "/verify-email": "/verify-email",
};
const plain = /^[A-Za-z0-9_.-]+$/;

/** Pages of the account that show what is to be removed cannot be opened again without it. */
function ownPage(path: string, request: FastifyRequest): string {
  if (!path.startsWith(ofFactors)) return path;
  const { request: carried = "" } = readQuery(request);
  return aboutRequest("/account/security", plain.test(carried) ? carried : "");
}

/** The request that a form carries, or else its address: the page that sends a form names it in both, and one of them may be unreadable. */
function carriedIn(request: FastifyRequest): string | undefined {
  return formOf(request)["request"] ?? readable(() => readQuery(request))["request"];
}

/** The form, or an empty one where it cannot be read. */
function formOf(request: FastifyRequest): Parameters {
  return request.method === "POST" ? readable(() => readForm(request)) : {};
}

function readable(read: () => Parameters): Parameters {
  try {
    return read();
  } catch {
    return {};
  }
}

function logoutOf(form: Parameters): Parameters {
  const names = ["post_logout_redirect_uri", "client_id", "state", "ui_locales"];
  return Object.fromEntries(Object.entries(form).filter(([name]) => names.includes(name)));
}
