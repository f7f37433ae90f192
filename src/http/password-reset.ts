import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import type { BrowserSession } from "../sessions/sessions.ts";
import { requestPasswordReset, resetPassword } from "../users/password-reset.ts";
import { ANSWERS, setRetryAfter } from "./error-table.ts";
import { pageRoutes } from "./page-routes.ts";
import { fieldProblems } from "./pages/field-problems.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { checkForm, formFields, openSession, setDeviceCookie, type Visit } from "./visit.ts";

/** GET /password-reset asks for the address, or with the mail's token for a new password. */
export function passwordResetPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/password-reset", async (visit) => {
    const session = await openSession(visit);
    const { token } = readQuery(visit.request);
    if (token !== undefined) return showNewPassword(visit, session, { token, error: null });
    return showRequest(visit, session, { email: "", error: null });
  });

  page.post("/password-reset", async (visit) => {
    const form = readForm(visit.request);
    const session = await checkForm(visit, "password-reset", form);
    const { email = "" } = form;
    try {
      await requestPasswordReset(ctx, { email, ipAddress: visit.request.ip });
    } catch (error) {
      if (!(error instanceof AuthError) || error.code !== "invalid_input") throw error;
      visit.reply.code(400);
      return showRequest(visit, session, { email, error });
    }
    return renderPage(visit, "reset-sent", {});
  });

  page.post("/password-reset/confirm", async (visit) => {
    const form = readForm(visit.request);
    const session = await checkForm(visit, "password-reset-confirm", form);
    const { token = "", password = "" } = form;
    try {
      const { email } = await resetPassword(ctx, { token, newPassword: password });
      setDeviceCookie(visit, email);
    } catch (error) {
      if (!(error instanceof AuthError)) throw error;
      if (!["invalid_input", "reset_token_invalid", "rate_limited"].includes(error.code)) throw error;
      setRetryAfter(visit.reply, error.retryAfter);
      visit.reply.code(ANSWERS[error.code].status);
      return showNewPassword(visit, session, { token, error });
    }
    return renderPage(visit, "reset-done", {});
  });
}

function showRequest(
  visit: Visit,
  session: BrowserSession,
  { email, error }: { readonly email: string; readonly error: AuthError | null },
): FastifyReply {
  const fields = formFields(session, "password-reset", {});
  return renderPage(visit, "reset-request", { fields, email, problems: fieldProblems(error) });
}

function showNewPassword(
  visit: Visit,
  session: BrowserSession,
  { token, error }: { readonly token: string; readonly error: AuthError | null },
): FastifyReply {
  return renderPage(visit, "reset-password", {
    fields: formFields(session, "password-reset-confirm", { token }),
    minLength: visit.ctx.config.passwordMinLength,
    problem: error === null || error.code === "invalid_input" ? null : error.code,
    problems: fieldProblems(error),
  });
}
