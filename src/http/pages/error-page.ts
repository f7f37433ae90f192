import { randomBytes } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import { AuthError } from "../../errors.ts";
import { describeRequest } from "../../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../../oauth/context.ts";
import { setRetryAfter, toAuthError } from "../error-table.ts";
import { CookiesNeeded, FormRefused } from "../forms.ts";
import { type Parameters, readForm, readQuery } from "../parameters.ts";
import type { Visit } from "../visit.ts";
import { requestOf } from "../waiting-request.ts";
import { renderPage } from "./render.ts";

/** The error handler of the pages: a person reads it, so it is a page too. */
export function onErrorPage(ctx: OAuthContext) {
  return async (thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { error, status } = toAuthError(ctx, thrown);
    setRetryAfter(reply, error.retryAfter);
    reply.code(status === 401 ? 400 : status);
    // a flood ends here: its page is not made again and again, and nothing is read for it
    const isFlood = error.code === "rate_limited";
    const wayBack = isFlood ? null : await wayBackOf({ ctx, request, reply });
    const own = pageCode(thrown);
    return showError({ ctx, request, reply }, own ?? error.code, {
      description: error.description,
      clientName: wayBack?.clientName ?? null,
      languages: wayBack?.languages ?? [],
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
    { reference, code, status: reply.statusCode, method, path, reason: data.description },
    "error page shown",
  );
  return renderPage(visit, "error", { code, description: "", retry: null, clientName: null, ...data, reference });
}

/** What only a page can say. */
function pageCode(thrown: unknown): "form" | "cookies" | null {
  if (thrown instanceof FormRefused) return "form";
  return thrown instanceof CookiesNeeded ? "cookies" : null;
}

/** The pages whose URL and form carry the request of an application. */
const carrying: ReadonlySet<string> = new Set(["/login", "/signup", "/consent", "/select-account"]);

interface WayBack {
  readonly path: string;
  readonly clientName: string;
  readonly languages: readonly string[];
}

/** The same page with the request it carries; null: it carries none, or one that cannot be continued. */
async function wayBackOf(visit: Visit): Promise<WayBack | null> {
  const path = visit.request.routeOptions.url ?? "";
  if (!carrying.has(path)) return null;
  try {
    const given = visit.request.method === "POST" ? readForm(visit.request) : readQuery(visit.request);
    const pending = await requestOf(visit, null, given["request"]);
    const about = pending === null ? null : await describeRequest(visit.ctx, pending);
    if (pending === null || about === null) return null;
    const { clientName, languages } = about;
    return { path: `${path}?request=${pending.carried}`, clientName, languages };
  } catch (error) {
    // what is wrong with the request, or that the store is away, is what the page is about
    if (error instanceof AuthError) return null;
    throw error;
  }
}

/** The page of a refused form, new. */
function retryPath(request: FastifyRequest): string | null {
  const path = request.routeOptions.url ?? "";
  if (path === "/device/decision") return "/device";
  if (path === "/account/password") return path;
  if (path.startsWith("/account/")) return "/";
  if (path === "/password-reset/confirm") return "/password-reset";
  const form = readForm(request);
  if (path === "/connect/logout") return `${path}?${new URLSearchParams(logoutOf(form))}`;
  if (!carrying.has(path)) return path;
  const { request: carried } = form;
  if (carried !== undefined && /^[A-Za-z0-9_.-]+$/.test(carried)) return `${path}?request=${carried}`;
  return path === "/consent" || path === "/select-account" ? "/login" : path;
}

function logoutOf(form: Parameters): Parameters {
  const names = ["post_logout_redirect_uri", "client_id", "state"];
  return Object.fromEntries(Object.entries(form).filter(([name]) => names.includes(name)));
}
