import type { FastifyReply, FastifyRequest } from "fastify";
import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import { type Browser, type BrowserSession, csrfToken, findSession, isCsrfToken } from "../sessions/sessions.ts";
import type { Parameters } from "./parameters.ts";

/** What the pages have in common: the session cookie and forms. */

function cookieName(ctx: Context): string {
  return ctx.config.issuer.startsWith("https:") ? "__Host-auth_session" : "auth_session";
}

export function sessionOf(ctx: Context, request: FastifyRequest): Promise<BrowserSession | null> {
  return findSession(ctx, request.cookies[cookieName(ctx)]);
}

export function setSessionCookie(ctx: Context, reply: FastifyReply, session: BrowserSession): void {
  const secure = ctx.config.issuer.startsWith("https:");
  reply.setCookie(cookieName(ctx), session.cookie, { path: "/", httpOnly: true, sameSite: "lax", secure });
}

export function clearSessionCookie(ctx: Context, reply: FastifyReply): void {
  const secure = ctx.config.issuer.startsWith("https:");
  reply.clearCookie(cookieName(ctx), { path: "/", httpOnly: true, sameSite: "lax", secure });
}

export function browserOf(request: FastifyRequest): Browser {
  return { ipAddress: request.ip, userAgent: request.headers["user-agent"] ?? "" };
}

/** A path of ours as the browser sees it: below the issuer's own path. */
export function pathOf(ctx: Context, path: string): string {
  return new URL(ctx.config.issuer).pathname.replace(/\/$/, "") + path;
}

/** The hidden fields of a form: `csrf` binds it to the session and to what it is about. */
export function formFields(session: BrowserSession, purpose: string, fields: Record<string, string>) {
  return { ...fields, csrf: csrfToken(session, `${purpose}\n${fields["request"] ?? ""}`) };
}

/**
 * Refuses a form that another site sent, or that belongs to another session or request. Own pages post with `Origin: null`
 * under their no-referrer policy; `Sec-Fetch-Site` tells them apart.
 * @throws AuthError forbidden
 */
export function checkForm(
  ctx: Context,
  request: FastifyRequest,
  session: BrowserSession | null,
  purpose: string,
  form: Parameters,
): BrowserSession {
  const { origin, "sec-fetch-site": site } = request.headers;
  const own = origin === undefined || site === "same-origin" || origin === new URL(ctx.config.issuer).origin;
  const valid = session !== null && isCsrfToken(session, `${purpose}\n${form["request"] ?? ""}`, form["csrf"] ?? "");
  if (!own || !valid) throw new FormRefused();
  return session;
}

/** Status 403 on the pages: the form is over, not somebody's rights. */
export class FormRefused extends AuthError {
  readonly statusCode = 403;
  constructor() {
    super("invalid_request", "this form is no longer valid");
  }
}
