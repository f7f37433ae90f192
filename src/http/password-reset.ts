import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import type { PendingRequest } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { rememberDevice } from "../sessions/known-devices.ts";
import type { UserWithPassword } from "../store/users.ts";
import { normaliseEmail } from "../users/input.ts";
import { findReset, requestPasswordReset, resetPassword } from "../users/password-reset.ts";
import { checkCurrentPassword } from "../users/users.ts";
import { askerOf } from "./asker.ts";
import { ANSWERS, refusalOn } from "./error-table.ts";
import { checkOpenForm, formIdOf, loginFormFields, openAccount, openFormFields, sealAccount } from "./forms.ts";
import { pageRoutes } from "./page-routes.ts";
import { fieldProblems } from "./pages/field-problems.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm, readQuery } from "./parameters.ts";
import { browserOf, sessionOf, setDeviceCookie, type Visit } from "./visit.ts";
import { requestOf, shownOf } from "./waiting-request.ts";

const confirmPath = "/password-reset/confirm";

/** GET /password-reset asks for the address, or with the mail's token for a new password. */
export function passwordResetPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/password-reset", async (visit) => {
    const { token, request } = readQuery(visit.request);
    if (token !== undefined) return showNewPassword(visit, { token, error: null });
    const pending = await requestOf(visit, await sessionOf(visit), request);
    return showRequest(visit, pending, { email: "", error: null });
  });

  page.post("/password-reset", async (visit) => {
    const form = readForm(visit.request);
    const session = await checkOpenForm(visit, "password-reset", form);
    const pending = await requestOf(visit, session, form["request"]);
    const { email = "" } = form;
    try {
      await requestPasswordReset(ctx, { email, asker: askerOf(visit.request), form: formIdOf(form) });
    } catch (thrown) {
      return showRequest(visit, pending, { email, error: refusalOn(visit.reply, thrown, ["invalid_input"]) });
    }
    return renderPage(visit, "reset-sent", { ...(await shownOf(visit, pending)), email: normaliseEmail(email) });
  });

  page.post(confirmPath, async (visit) => {
    const form = readForm(visit.request);
    await checkOpenForm(visit, "password-reset-confirm", form);
    const { token = "" } = form;
    try {
      const user = await setPassword(visit, form);
      if (user !== null) setDeviceCookie(visit, rememberDevice(ctx, browserOf(visit).deviceProof, user));
    } catch (thrown) {
      const error = refusalOn(visit.reply, thrown, ["invalid_input", "reset_token_invalid", "rate_limited"]);
      return showNewPassword(visit, { token, error });
    }
    return renderPage(visit, "reset-done", {});
  });
}

/**
 * Sets the password. A form that is sent again finds its link used: it ends where the first press ended, as long as the account has the
 * password that it brings. @returns null: it was set before @throws AuthError as `resetPassword`
 */
async function setPassword(visit: Visit, form: Parameters): Promise<UserWithPassword | null> {
  const { ctx, request } = visit;
  const { token = "", password = "", account = "" } = form;
  try {
    const signedInAs = (await sessionOf(visit))?.userId ?? null;
    return await resetPassword(ctx, { token, newPassword: password, asker: askerOf(request), signedInAs });
  } catch (error) {
    if (!(error instanceof AuthError) || error.code !== "reset_token_invalid") throw error;
    const uuid = openAccount(ctx, confirmPath, account);
    if (uuid === null) throw error;
    await checkCurrentPassword(ctx, uuid, password).catch((refused: unknown) => {
      const isWrong = refused instanceof AuthError && ["invalid_credentials", "rate_limited"].includes(refused.code);
      throw isWrong ? error : refused;
    });
    return null;
  }
}

async function showRequest(
  visit: Visit,
  pending: PendingRequest | null,
  { email, error }: { readonly email: string; readonly error: AuthError | null },
): Promise<FastifyReply> {
  const request = await shownOf(visit, pending);
  const fields = await loginFormFields(visit, "password-reset", { request: request.carried });
  return renderPage(visit, "reset-request", { ...request, fields, email, problems: fieldProblems(error) });
}

/** The form for a new password, or at once that the link leads to none. */
async function showNewPassword(
  visit: Visit,
  { token, error }: { readonly token: string; readonly error: AuthError | null },
): Promise<FastifyReply> {
  const { ctx, reply } = visit;
  const user = await findReset(ctx, token);
  if (user === null) {
    reply.code(ANSWERS.reset_token_invalid.status);
    return renderPage(visit, "reset-password", { problem: "reset_token_invalid" });
  }
  return renderPage(visit, "reset-password", {
    scripts: ["strength"],
    fields: await openFormFields(visit, "password-reset-confirm", {
      token,
      account: sealAccount(ctx, confirmPath, user.uuid),
    }),
    email: user.email,
    minLength: ctx.config.passwordMinLength,
    problem: error === null || error.code === "invalid_input" ? null : error.code,
    problems: fieldProblems(error),
  });
}
