import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { AuthError } from "../errors.ts";
import { continueRequest, describeRequest, findPendingRequest } from "../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type BrowserSession, signIn, startSession } from "../sessions/sessions.ts";
import type { PendingRequest } from "../store/sessions.ts";
import { signUp } from "../users/users.ts";
import { browserOf, checkForm, formFields, pathOf, sessionOf, setDeviceCookie, setSessionCookie } from "./browser.ts";
import { answers, setRetryAfter } from "./error-table.ts";
import { goOn } from "./go-on.ts";
import { onErrorPage } from "./pages/error-page.ts";
import { fieldProblems } from "./pages/field-problems.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm, readQuery } from "./parameters.ts";

/** GET and POST /signup: the account, then straight on to where the browser was going. */
export function signUpPage(app: FastifyInstance, ctx: OAuthContext): void {
  app.get("/signup", { errorHandler: onErrorPage(ctx) }, async (request, reply) => {
    const session = (await sessionOf(ctx, request)) ?? (await startSession(ctx, browserOf(ctx, request)));
    setSessionCookie(ctx, reply, session);
    const pending = await findPendingRequest(ctx, session, readQuery(request)["request"]);
    return showSignUp(ctx, request, reply, session, pending, {}, null);
  });

  app.post("/signup", { errorHandler: onErrorPage(ctx) }, async (request, reply) => {
    const form = readForm(request);
    const session = checkForm(ctx, request, await sessionOf(ctx, request), "signup", form);
    const pending = await findPendingRequest(ctx, session, form["request"]);
    const { email = "", password = "", nickname = "" } = form;
    try {
      await signUp(ctx, { email, password, nickname });
    } catch (error) {
      if (!(error instanceof AuthError) || !["invalid_input", "email_taken", "rate_limited"].includes(error.code))
        throw error;
      setRetryAfter(reply, error.retryAfter);
      reply.code(answers[error.code].status);
      return showSignUp(ctx, request, reply, session, pending, form, error);
    }
    const browser = browserOf(ctx, request);
    const signedIn = await signIn(ctx, { email, password, browser, replaces: session });
    setSessionCookie(ctx, reply, signedIn);
    setDeviceCookie(ctx, request, reply, email);
    if (pending === null) return reply.redirect(pathOf(ctx, "/"), 303);
    return goOn(ctx, request, reply, await continueRequest(ctx, pending, signedIn, browser), 303);
  });
}

async function showSignUp(
  ctx: OAuthContext,
  request: FastifyRequest,
  reply: FastifyReply,
  session: BrowserSession,
  pending: PendingRequest | null,
  form: Parameters,
  error: AuthError | null,
): Promise<FastifyReply> {
  const about = pending === null ? null : await describeRequest(ctx, pending);
  const fields: Record<string, string> = pending === null ? {} : { request: pending.id };
  return renderPage(ctx, request, reply, "signup", {
    fields: formFields(session, "signup", fields),
    email: form["email"] ?? "",
    nickname: form["nickname"] ?? "",
    problem: error?.code === "rate_limited" ? error.code : null,
    problems: fieldProblems(error),
    minLength: ctx.config.passwordMinLength,
    requestId: pending?.id ?? null,
    redirectOrigin: about?.redirectOrigin ?? null,
  });
}
