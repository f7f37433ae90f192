import type { FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import { describeRequest, languagesOf } from "../oauth/authorization/authorize.ts";
import {
  latestStoredRequest,
  openPendingRequest,
  type PendingRequest,
} from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import type { BrowserSession } from "../sessions/sessions.ts";
import { FormRefused } from "./forms.ts";
import { hasField, type Parameters, queryOf, readQuery } from "./parameters.ts";
import { aboutRequest, clearCookie, cookieOf, pathOf, sessionOf, setCookie, type Visit } from "./visit.ts";

/** A request waits for its login for an hour (seconds). */
const cookieAge = 3_600;
/** Characters; browsers take cookies of 4,096 bytes. */
const longestCookie = 3_000;

/** A request as a URL or a form carries it; null: there is none, or it cannot be opened. */
export async function requestOf(
  visit: Visit,
  session: BrowserSession | null,
  carried: string | undefined,
): Promise<PendingRequest | null> {
  if (carried === undefined) return null;
  const pending = await openPendingRequest(visit.ctx, session, carried);
  if (pending !== null) visit.request.wantedLanguages = languagesOf(pending);
  return pending;
}

/** The request that a page is about which is never shown without one. @throws FormRefused */
export async function demandRequest(
  visit: Visit,
  session: BrowserSession | null,
  carried: string | undefined,
): Promise<PendingRequest> {
  const pending = await requestOf(visit, session, carried);
  if (pending === null) throw new FormRefused();
  return pending;
}

/** The request that the login or sign-up page was opened for: the one its URL names, else the browser's latest. */
export async function requestOfPage(visit: Visit, session: BrowserSession | null): Promise<PendingRequest | null> {
  const { request: carried } = readQuery(visit.request);
  return carried === undefined ? latest(visit, session) : requestOf(visit, session, carried);
}

/** The request that the form of such a page carries. Its field may be empty: there was none. A form without the field means the latest. */
export async function requestOfForm(
  visit: Visit,
  session: BrowserSession | null,
  form: Parameters,
): Promise<PendingRequest | null> {
  return hasField(visit.request, "request") ? requestOf(visit, session, form["request"]) : latest(visit, session);
}

async function latest(visit: Visit, session: BrowserSession | null): Promise<PendingRequest | null> {
  const { ctx } = visit;
  const remembered = await requestOf(visit, session, cookieOf(visit, "auth_request"));
  const found = remembered === null && session !== null ? await latestStoredRequest(ctx, session) : remembered;
  if (found === null) return null;
  try {
    await describeRequest(ctx, found);
    visit.request.wantedLanguages = languagesOf(found);
    return found;
  } catch (error) {
    if (!(error instanceof AuthError) || error.code === "unavailable") throw error;
    // its client is gone or has changed: the page is shown without it
    clearCookie(visit, "auth_request");
    visit.request.wantedLanguages = [];
    return null;
  }
}

/** What the login and the sign-up page show of their request, and carry on. */
export async function shownOf({ ctx }: Visit, pending: PendingRequest | null) {
  const about = pending === null ? null : await describeRequest(ctx, pending);
  return {
    carried: pending?.carried ?? "",
    clientId: about?.clientId ?? "",
    clientName: about?.clientName ?? null,
    logoVersion: about?.logoVersion ?? null,
    unverified: about?.unverified ?? false,
    clientPolicy: about?.clientPolicy ?? null,
    clientTerms: about?.clientTerms ?? null,
    loginHint: about?.loginHint ?? "",
    redirectOrigin: about?.redirectOrigin ?? null,
    languages: about?.languages ?? [],
  };
}

/** A page about the request that a URL names, or about none. */
export function pathWithRequest(ctx: OAuthContext, path: string, pending: PendingRequest | null): string {
  return aboutRequest(pathOf(ctx, path), pending?.carried ?? "");
}

/** Leads from the address of a form, opened without it, to the page of that form, about the same request. */
export async function goToPageOfForm(visit: Visit, path: string): Promise<FastifyReply> {
  const { request: carried } = readQuery(visit.request);
  const pending = await requestOf(visit, await sessionOf(visit), carried);
  return visit.reply.redirect(pathWithRequest(visit.ctx, path, pending), 302);
}

const plain = /^[\w.-]{1,8000}$/;

/** The request in the URL of a page of the account, unread, for which its user sets something up; empty: there is none. */
export function carriedBy(visit: Visit): string {
  const { request: carried = "" } = readQuery(visit.request);
  return plain.test(carried) ? carried : "";
}

/** Has a page of the account, on which something is set up for a request, speak the language that its application asks for. */
export async function speakForRequest(visit: Visit): Promise<void> {
  const [carried = ""] = queryOf(visit.request).getAll("request");
  if (plain.test(carried)) await requestOf(visit, null, carried);
}

/** A page of the account, about the same request as the page of this visit. @param path with or without a query */
export function onTheWay(visit: Visit, path: string, carried = carriedBy(visit)): string {
  return aboutRequest(pathOf(visit.ctx, path), carried);
}

/** For pages and forms that name no request. */
export function rememberLatest(visit: Visit, { carried }: PendingRequest): void {
  if (carried.length <= longestCookie) setCookie(visit, "auth_request", carried, cookieAge);
  else clearCookie(visit, "auth_request");
}

/** The browser goes on with this request: it waits no longer. */
export function forgetLatest(visit: Visit, { carried }: PendingRequest): void {
  if (cookieOf(visit, "auth_request") === carried) clearCookie(visit, "auth_request");
}
