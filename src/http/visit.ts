import type { FastifyReply, FastifyRequest } from "fastify";
import { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { rememberDevice } from "../sessions/known-devices.ts";
import {
  type Browser,
  type BrowserSession,
  csrfToken,
  findSession,
  isCsrfToken,
  startSession,
} from "../sessions/sessions.ts";
import type { Parameters } from "./parameters.ts";

/** One request of a browser for a page, and the reply to it. */
export interface Visit {
  readonly ctx: OAuthContext;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

/** For how long a browser is known after a login (seconds); browsers allow 400 days at most. */
const deviceCookieAge = 400 * 86_400;

function cookieName(ctx: OAuthContext, name: "auth_session" | "auth_device"): string {
  return ctx.config.issuer.startsWith("https:") ? `__Host-${name}` : name;
}

function cookieOptions(ctx: OAuthContext) {
  return { path: "/", httpOnly: true, sameSite: "lax", secure: ctx.config.issuer.startsWith("https:") } as const;
}

/** The live session of the browser's cookie, or null. */
export function sessionOf({ ctx, request }: Visit): Promise<BrowserSession | null> {
  return findSession(ctx, request.cookies[cookieName(ctx, "auth_session")]);
}

/** This browser is one that the account signs in with. */
export function setDeviceCookie({ ctx, request, reply }: Visit, email: string): void {
  const name = cookieName(ctx, "auth_device");
  const proof = rememberDevice(ctx, request.cookies[name], email);
  reply.setCookie(name, proof, { ...cookieOptions(ctx), maxAge: deviceCookieAge });
}

/** The cookie lives as long as its session may: a browser that restarts stays signed in. */
export function setSessionCookie({ ctx, reply }: Visit, session: BrowserSession): void {
  const maxAge = Math.max(0, Math.floor((session.expiresAt - ctx.clock.now()) / 1000));
  reply.setCookie(cookieName(ctx, "auth_session"), session.cookie, { ...cookieOptions(ctx), maxAge });
}

export function clearSessionCookie({ ctx, reply }: Visit): void {
  reply.clearCookie(cookieName(ctx, "auth_session"), cookieOptions(ctx));
}

export function browserOf({ ctx, request }: Visit): Browser {
  const deviceProof = request.cookies[cookieName(ctx, "auth_device")];
  return { ipAddress: request.ip, userAgent: request.headers["user-agent"] ?? "", deviceProof };
}

/** The browser's session, or a new anonymous one; its cookie is set. */
export async function openSession(visit: Visit): Promise<BrowserSession> {
  const session = (await sessionOf(visit)) ?? (await startSession(visit.ctx, browserOf(visit)));
  setSessionCookie(visit, session);
  return session;
}

/** A path of this service as the browser sees it: below the issuer's own path. */
export function pathOf(ctx: OAuthContext, path: string): string {
  return new URL(ctx.config.issuer).pathname.replace(/\/$/, "") + path;
}

/** The hidden fields of a form: `csrf` binds it to the session and to what it is about. */
export function formFields(session: BrowserSession, purpose: string, fields: Record<string, string>) {
  return { ...fields, csrf: csrfToken(session, `${purpose}\n${fields["request"] ?? ""}`) };
}

/**
 * Refuses a form that another site sent, or that belongs to another session or request. Own pages post with `Origin: null`
 * under their no-referrer policy; `Sec-Fetch-Site` tells them apart. Browsers that send no `Sec-Fetch-Site`, and proxies that strip it, are
 * taken by the form's own token, which no other site can know.
 * @returns the browser's session @throws FormRefused
 */
export async function checkForm(visit: Visit, purpose: string, form: Parameters): Promise<BrowserSession> {
  const { ctx, request } = visit;
  const session = await sessionOf(visit);
  const { origin, "sec-fetch-site": site } = request.headers;
  const isOpaque = origin === "null" && site === undefined;
  const own =
    origin === undefined || isOpaque || site === "same-origin" || origin === new URL(ctx.config.issuer).origin;
  const valid = session !== null && isCsrfToken(session, `${purpose}\n${form["request"] ?? ""}`, form["csrf"] ?? "");
  if (!own || !valid) throw new FormRefused();
  return session;
}

/** Status 403 on the pages: the form has expired. */
export class FormRefused extends AuthError {
  readonly statusCode = 403;
  constructor() {
    super("invalid_request", "this form is no longer valid");
  }
}
