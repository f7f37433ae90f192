import type { FastifyReply, FastifyRequest } from "fastify";
import type { OAuthContext } from "../oauth/context.ts";
import { type Browser, type BrowserSession, findSession, startSession } from "../sessions/sessions.ts";
import { askerOf } from "./asker.ts";

/** One request of a browser for a page, and the reply to it. */
export interface Visit {
  readonly ctx: OAuthContext;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

type CookieName =
  | "auth_session"
  | "auth_device"
  | "auth_browser"
  | "auth_request"
  | "auth_remembered"
  | "auth_language";

/** For how long a browser is known after a login (seconds); browsers allow 400 days at most. */
const deviceCookieAge = 400 * 86_400;

function cookieName(ctx: OAuthContext, name: CookieName): string {
  return ctx.config.issuer.startsWith("https:") ? `__Host-${name}` : name;
}

function cookieOptions(ctx: OAuthContext) {
  return { path: "/", httpOnly: true, sameSite: "lax", secure: ctx.config.issuer.startsWith("https:") } as const;
}

/** The live session of the browser's cookie, or null. */
export function sessionOf(visit: Visit): Promise<BrowserSession | null> {
  return findSession(visit.ctx, cookieOf(visit, "auth_session"));
}

/** @param proof that this browser is one that the account signs in with */
export function setDeviceCookie(visit: Visit, proof: string): void {
  setCookie(visit, "auth_device", proof, deviceCookieAge);
}

/** The cookie lives as long as its session may: a browser that restarts stays signed in. */
export function setSessionCookie(visit: Visit, session: BrowserSession): void {
  const maxAge = Math.max(0, Math.floor((session.expiresAt - visit.ctx.clock.now()) / 1000));
  setCookie(visit, "auth_session", session.cookie, maxAge);
}

export function clearSessionCookie(visit: Visit): void {
  clearCookie(visit, "auth_session");
}

export function browserOf(visit: Visit): Browser {
  const { request } = visit;
  const deviceProof = cookieOf(visit, "auth_device");
  const { ipAddress, language } = askerOf(request);
  return { ipAddress, language, userAgent: request.headers["user-agent"] ?? "", deviceProof };
}

export function cookieOf({ ctx, request }: Visit, name: CookieName): string | undefined {
  return request.cookies[cookieName(ctx, name)];
}

/** @param maxAge seconds */
export function setCookie({ ctx, reply }: Visit, name: CookieName, value: string, maxAge: number): void {
  reply.setCookie(cookieName(ctx, name), value, { ...cookieOptions(ctx), maxAge });
}

export function clearCookie({ ctx, reply }: Visit, name: CookieName): void {
  reply.clearCookie(cookieName(ctx, name), cookieOptions(ctx));
}

/** The browser's session, or a new anonymous one; its cookie is set. Only beside replicas of the previous release. */
export async function openSession(visit: Visit): Promise<BrowserSession> {
  const session = (await sessionOf(visit)) ?? (await startSession(visit.ctx, browserOf(visit)));
  setSessionCookie(visit, session);
  return session;
}

/** An address, with or without a query, that is about an application's request. @param carried the request; empty: there is none */
export function aboutRequest(address: string, carried: string): string {
  return carried === "" ? address : `${address}${address.includes("?") ? "&" : "?"}request=${carried}`;
}

/** A path of this service as the browser sees it: below the issuer's own path. */
export function pathOf(ctx: OAuthContext, path: string): string {
  return new URL(ctx.config.issuer).pathname.replace(/\/$/, "") + path;
}
