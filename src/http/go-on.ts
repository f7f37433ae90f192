import type { FastifyReply } from "fastify";
import { originOf } from "../net/origin.ts";
import { continueRequest, type Next } from "../oauth/authorization/authorize.ts";
import { type PendingRequest, withLogin } from "../oauth/authorization/pending-request.ts";
import { type BrowserSession, type Login, storeLogin } from "../sessions/sessions.ts";
import { renderPage } from "./pages/render.ts";
import { browserOf, pathOf, setDeviceCookie, setSessionCookie, type Visit } from "./visit.ts";
import { forgetLatest, pathWithRequest, rememberLatest } from "./waiting-request.ts";

/** Sends the browser on after a step of an authorization. */
export function goOn(visit: Visit, next: Next): FastifyReply {
  const { ctx, request, reply } = visit;
  // never 307, which repeats the form (RFC 9700 section 4.12)
  const status = request.method === "POST" ? 303 : 302;
  if (next.to === "client") return reply.redirect(next.location, status);
  if (next.to === "client-form") {
    const { action, fields } = next;
    return renderPage(visit, "client-form", { action, fields, redirectOrigin: originOf(action), submits: true });
  }
  if (next.session !== null) setSessionCookie(visit, next.session);
  if (next.to !== "consent" && next.to !== "device") rememberLatest(visit, next.request);
  return reply.redirect(pathWithRequest(ctx, `/${next.to}`, next.request), status);
}

/**
 * For a form that is refused though its browser was signed in meanwhile, as in another tab: sends it to where that leads.
 * @returns null: its request demands a sign-in of its own, or a second step
 */
export async function goOnAsSignedIn(
  visit: Visit,
  session: BrowserSession,
  pending: PendingRequest | null,
): Promise<FastifyReply | null> {
  if (pending === null) return visit.reply.redirect(pathOf(visit.ctx, "/"), 303);
  const next = await continueRequest(visit.ctx, pending, session, browserOf(visit));
  if (next.to === "login" || next.to === "select-account" || next.to === "step-up") return null;
  forgetLatest(visit, pending);
  return goOn(visit, next);
}

/**
 * Signs the browser in with a new session and sends it to where it was going: its pending request, or its account.
 * @param login may be stored already: the session that another tab's form opened
 * @throws AuthError invalid_credentials: the password was changed since it was checked
 */
export async function goOnSignedIn(visit: Visit, login: Login, pending: PendingRequest | null): Promise<FastifyReply> {
  const { ctx, reply } = visit;
  const { session, deviceProof } = login;
  let failure: unknown;
  const next =
    pending === null
      ? null
      : await continueRequest(ctx, withLogin(ctx, pending, session), session, browserOf(visit), { login }).catch(
          (error: unknown) => {
            failure = error;
            return null;
          },
        );
  // the browser is signed in whatever became of the request
  if (!login.isStored) await storeLogin(ctx, login);
  setSessionCookie(visit, session);
  setDeviceCookie(visit, deviceProof);
  if (failure !== undefined) throw failure;
  if (pending === null || next === null) return reply.redirect(pathOf(ctx, "/"), 303);
  forgetLatest(visit, pending);
  return goOn(visit, next);
}
