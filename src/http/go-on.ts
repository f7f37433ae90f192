import type { FastifyReply, FastifyRequest } from "fastify";
import type { Next } from "../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { pathOf, setSessionCookie } from "./browser.ts";
import { renderPage } from "./pages/render.ts";

/**
 * Sends the browser on after a step of an authorization.
 * @param status 302 after a GET, 303 after a POST: never 307, which repeats the form (RFC 9700 section 4.12)
 */
export function goOn(
  ctx: OAuthContext,
  request: FastifyRequest,
  reply: FastifyReply,
  next: Next,
  status: 302 | 303,
): FastifyReply {
  if (next.to === "client") return reply.redirect(next.location, status);
  if (next.to === "client-form") {
    const { action, fields } = next;
    const { origin, protocol } = new URL(action);
    const redirectOrigin = origin === "null" ? protocol : origin;
    return renderPage(ctx, request, reply, "client-form", { action, fields, redirectOrigin, submits: true });
  }
  setSessionCookie(ctx, reply, next.session);
  return reply.redirect(`${pathOf(ctx, `/${next.to}`)}?request=${next.request.id}`, status);
}
