import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { AuthError } from "../errors.ts";
import { continueRequest, describeRequest, findPendingRequest } from "../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type BrowserSession, signIn, startSession } from "../sessions/sessions.ts";
import type { PendingRequest } from "../store/sessions.ts";
import { browserOf, checkForm, formFields, pathOf, sessionOf, setDeviceCookie, setSessionCookie } from "./browser.ts";
import { setRetryAfter, toAuthError } from "./error-table.ts";
import { goOn } from "./go-on.ts";
import { onErrorPage } from "./pages/error-page.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";

/** GET and POST /login. */
export function loginPage(app: FastifyInstance, ctx: OAuthContext): void {
  app.get("/login", { errorHandler: onErrorPage(ctx) }, async (request, reply) => {
    const session = (await sessionOf(ctx, request)) ?? (await startSession(ctx, browserOf(ctx, request)));
    setSessionCookie(ctx, reply, session);
    const { request: id } = readQuery(request);
    const pending = await findPendingRequest(ctx, session, id);
    if (id !== undefined && session.userId !== null) {
      // signed in meanwhile: in another tab, or the browser went back to this page
      if (pending === null) return reply.redirect(pathOf(ctx, "/"), 302);
      const next = await continueRequest(ctx, pending, session, browserOf(ctx, request));
      if (next.to !== "login") return goOn(ctx, request, reply, next, 302);
    }
    return showLogin(ctx, request, reply, session, pending, {});
  });

  // where too many logins wait one more is refused before anything of it is read
  const onRequest = async () => ctx.passwords.refuseWhenFull();
  app.post("/login", { onRequest, errorHandler: onErrorPage(ctx) }, async (request, reply) => {
    const form = readForm(request);
    const session = checkForm(ctx, request, await sessionOf(ctx, request), "login", form);
    const pending = await findPendingRequest(ctx, session, form["request"]);
    const { email = "", password = "" } = form;
    const browser = browserOf(ctx, request);
    let signedIn: BrowserSession;
    try {
      signedIn = await signIn(ctx, { email, password, browser, replaces: session });
    } catch (thrown) {
      if (!(thrown instanceof AuthError) || !["invalid_credentials", "rate_limited"].includes(thrown.code))
        throw thrown;
      const { error } = toAuthError(ctx, thrown);
      setRetryAfter(reply, error.retryAfter);
      reply.code(error.code === "rate_limited" ? 429 : 401);
      return showLogin(ctx, request, reply, session, pending, { email, problem: error.code });
    }
    setSessionCookie(ctx, reply, signedIn);
    setDeviceCookie(ctx, request, reply, email);
    if (pending === null) return reply.redirect(pathOf(ctx, "/"), 303);
    return goOn(ctx, request, reply, await continueRequest(ctx, pending, signedIn, browser), 303);
  });
}

async function showLogin(
  ctx: OAuthContext,
  request: FastifyRequest,
  reply: FastifyReply,
  session: BrowserSession,
  pending: PendingRequest | null,
  shown: { email?: string; problem?: string },
): Promise<FastifyReply> {
  const about = pending === null ? null : await describeRequest(ctx, pending);
  const fields: Record<string, string> = pending === null ? {} : { request: pending.id };
  return renderPage(ctx, request, reply, "login", {
    fields: formFields(session, "login", fields),
    email: shown.email ?? about?.loginHint ?? "",
    problem: shown.problem ?? null,
    clientName: about?.clientName ?? null,
    requestId: pending?.id ?? null,
    redirectOrigin: about?.redirectOrigin ?? null,
    languages: about?.languages ?? [],
  });
}
