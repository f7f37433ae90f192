import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import { continueRequest } from "../oauth/authorization/authorize.ts";
import type { PendingRequest } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { checkLogin } from "../sessions/sessions.ts";
import { showRestore } from "./account-data.ts";
import { refusalOn } from "./error-table.ts";
import { checkOpenForm, formIdOf, loginFormFields } from "./forms.ts";
import { goOn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { goOnWithPassword } from "./second-step.ts";
import { browserOf, pathOf, sessionOf, type Visit } from "./visit.ts";
import { forgetLatest, requestOfForm, requestOfPage, shownOf } from "./waiting-request.ts";

/** GET and POST /login. */
export function loginPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/login", async (visit) => {
    const session = await sessionOf(visit);
    const pending = await requestOfPage(visit, session);
    // a HEAD looks at the page only
    const { request: carried, account } = readQuery(visit.request);
    if (account === "other") return showLogin(visit, pending, { email: "" });
    const goesOn = visit.request.method !== "HEAD" && carried !== undefined;
    if (goesOn && session !== null && session.userId !== null) {
      // signed in meanwhile: in another tab, or the browser went back to this page
      if (pending === null) return visit.reply.redirect(pathOf(ctx, "/"), 302);
      const next = await continueRequest(ctx, pending, session, browserOf(visit));
      if (next.to === "login") return showLogin(visit, next.request, {});
      forgetLatest(visit, pending);
      return goOn(visit, next);
    }
    return showLogin(visit, pending, {});
  });

  // where too many logins wait one more is refused before anything of it is read
  const onRequest = async () => ctx.passwords.refuseWhenFull();
  page.post("/login", signInWithForm, { onRequest });
}

async function signInWithForm(visit: Visit): Promise<FastifyReply> {
  const { ctx, request, reply } = visit;
  const form = readForm(request);
  const session = await checkOpenForm(visit, "login", form);
  const pending = await requestOfForm(visit, session, form);
  const { email = "", password = "" } = form;
  try {
    const user = await checkLogin(ctx, { email, password, browser: browserOf(visit) });
    return await goOnWithPassword(visit, user, { session, pending, formId: formIdOf(form) });
  } catch (thrown) {
    if (thrown instanceof AuthError && thrown.code === "account_closed") return showRestore(visit, pending, email);
    const error = refusalOn(reply, thrown, ["invalid_credentials", "rate_limited"]);
    if (error.code === "invalid_credentials") reply.code(401);
    return showLogin(visit, pending, { email, problem: error.code });
  }
}

async function showLogin(
  visit: Visit,
  pending: PendingRequest | null,
  shown: { readonly email?: string; readonly problem?: string },
): Promise<FastifyReply> {
  const request = await shownOf(visit, pending);
  return renderPage(visit, "login", {
    fields: await loginFormFields(visit, "login", { request: request.carried }),
    email: shown.email ?? request.loginHint,
    problem: shown.problem ?? null,
    ...request,
  });
}
