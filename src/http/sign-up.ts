import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import { describeRequest, findPendingRequest } from "../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type BrowserSession, signIn } from "../sessions/sessions.ts";
import type { PendingRequest } from "../store/sessions.ts";
import { signUp } from "../users/users.ts";
import { ANSWERS, setRetryAfter } from "./error-table.ts";
import { goOnSignedIn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { fieldProblems } from "./pages/field-problems.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm, readQuery } from "./parameters.ts";
import { browserOf, checkForm, formFields, openSession, type Visit } from "./visit.ts";

/** GET and POST /signup: the account, then straight on to where the browser was going. */
export function signUpPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/signup", async (visit) => {
    const session = await openSession(visit);
    const pending = await findPendingRequest(ctx, session, readQuery(visit.request)["request"]);
    return showSignUp(visit, { session, pending }, { form: {}, error: null });
  });

  page.post("/signup", async (visit) => {
    const { request, reply } = visit;
    const form = readForm(request);
    const session = await checkForm(visit, "signup", form);
    const pending = await findPendingRequest(ctx, session, form["request"]);
    const { email = "", password = "", nickname = "" } = form;
    try {
      await signUp(ctx, { email, password, nickname });
    } catch (error) {
      if (!(error instanceof AuthError) || !["invalid_input", "email_taken", "rate_limited"].includes(error.code))
        throw error;
      setRetryAfter(reply, error.retryAfter);
      reply.code(ANSWERS[error.code].status);
      return showSignUp(visit, { session, pending }, { form, error });
    }
    const signedIn = await signIn(ctx, { email, password, browser: browserOf(visit), replaces: session });
    return goOnSignedIn(visit, signedIn, { email, pending });
  });
}

async function showSignUp(
  visit: Visit,
  { session, pending }: { readonly session: BrowserSession; readonly pending: PendingRequest | null },
  { form, error }: { readonly form: Parameters; readonly error: AuthError | null },
): Promise<FastifyReply> {
  const { ctx } = visit;
  const about = pending === null ? null : await describeRequest(ctx, pending);
  const fields: Record<string, string> = pending === null ? {} : { request: pending.id };
  return renderPage(visit, "signup", {
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
