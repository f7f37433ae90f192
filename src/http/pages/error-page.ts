import type { FastifyReply, FastifyRequest } from "fastify";
import type { OAuthContext } from "../../oauth/context.ts";
import { setRetryAfter, toAuthError } from "../error-table.ts";
import { CookiesNeeded, FormRefused } from "../forms.ts";
import { readForm } from "../parameters.ts";
import { renderPage } from "./render.ts";

/** The error handler of the pages: a person reads it, so it is a page too. */
export function onErrorPage(ctx: OAuthContext) {
  return (thrown: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const { error, status } = toAuthError(ctx, thrown);
    setRetryAfter(reply, error.retryAfter);
    reply.code(status === 401 ? 400 : status);
    const own = pageCode(thrown);
    renderPage({ ctx, request, reply }, "error", {
      code: own ?? error.code,
      description: error.description,
      retry: own !== null && request.method === "POST" ? retryPath(request) : null,
      // a flood ends here: its page is not made again and again
      ...(error.code === "rate_limited" ? { sameForAll: error.code } : {}),
    });
  };
}

/** What only a page can say. */
function pageCode(thrown: unknown): "form" | "cookies" | null {
  if (thrown instanceof FormRefused) return "form";
  return thrown instanceof CookiesNeeded ? "cookies" : null;
}

/** The page of a refused form, new: for the same request where the form names one. */
function retryPath(request: FastifyRequest): string | null {
  const path = request.routeOptions.url ?? "";
  if (path === "/device/decision") return "/device";
  if (path.startsWith("/account/")) return "/";
  if (path === "/password-reset/confirm") return "/password-reset";
  if (path !== "/login" && path !== "/signup" && path !== "/consent") return path;
  const { request: carried } = readForm(request);
  return carried !== undefined && /^[A-Za-z0-9_.-]+$/.test(carried)
    ? `${path}?request=${carried}`
    : path === "/consent"
      ? "/login"
      : path;
}
