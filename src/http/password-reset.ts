import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type BrowserSession, startSession } from "../sessions/sessions.ts";
import { requestPasswordReset, resetPassword } from "../users/password-reset.ts";
import { browserOf, checkForm, formFields, sessionOf, setDeviceCookie, setSessionCookie } from "./browser.ts";
import { answers, setRetryAfter } from "./error-table.ts";
import { onErrorPage } from "./pages/error-page.ts";
import { fieldProblems } from "./pages/field-problems.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";

/** GET /password-reset asks for the address, or with the mail's token for a new password. */
export function passwordResetPages(app: FastifyInstance, ctx: OAuthContext): void {
  app.get("/password-reset", { errorHandler: onErrorPage(ctx) }, async (request, reply) => {
    const session = (await sessionOf(ctx, request)) ?? (await startSession(ctx, browserOf(ctx, request)));
    setSessionCookie(ctx, reply, session);
    const { token } = readQuery(request);
    if (token !== undefined) return showNewPassword(ctx, request, reply, session, token, null);
    return showRequest(ctx, request, reply, session, "", null);
  });

  app.post("/password-reset", { errorHandler: onErrorPage(ctx) }, async (request, reply) => {
    const form = readForm(request);
    const session = checkForm(ctx, request, await sessionOf(ctx, request), "password-reset", form);
    const { email = "" } = form;
    try {
      await requestPasswordReset(ctx, { email, ipAddress: request.ip });
    } catch (error) {
      if (!(error instanceof AuthError) || error.code !== "invalid_input") throw error;
      return showRequest(ctx, request, reply.code(400), session, email, error);
    }
    return renderPage(ctx, request, reply, "reset-sent", {});
  });

  app.post("/password-reset/confirm", { errorHandler: onErrorPage(ctx) }, async (request, reply) => {
    const form = readForm(request);
    const session = checkForm(ctx, request, await sessionOf(ctx, request), "password-reset-confirm", form);
    const { token = "", password = "" } = form;
    try {
      const { email } = await resetPassword(ctx, { token, newPassword: password });
      setDeviceCookie(ctx, request, reply, email);
    } catch (error) {
      if (!(error instanceof AuthError)) throw error;
      if (!["invalid_input", "reset_token_invalid", "rate_limited"].includes(error.code)) throw error;
      setRetryAfter(reply, error.retryAfter);
      return showNewPassword(ctx, request, reply.code(answers[error.code].status), session, token, error);
    }
    return renderPage(ctx, request, reply, "reset-done", {});
  });
}

function showRequest(
  ctx: OAuthContext,
  request: FastifyRequest,
  reply: FastifyReply,
  session: BrowserSession,
  email: string,
  error: AuthError | null,
): FastifyReply {
  const fields = formFields(session, "password-reset", {});
  return renderPage(ctx, request, reply, "reset-request", { fields, email, problems: fieldProblems(error) });
}

function showNewPassword(
  ctx: OAuthContext,
  request: FastifyRequest,
  reply: FastifyReply,
  session: BrowserSession,
  token: string,
  error: AuthError | null,
): FastifyReply {
  return renderPage(ctx, request, reply, "reset-password", {
    fields: formFields(session, "password-reset-confirm", { token }),
    minLength: ctx.config.passwordMinLength,
    problem: error === null || error.code === "invalid_input" ? null : error.code,
    problems: fieldProblems(error),
  });
}
