import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import { continueRequest, describeRequest, findPendingRequest } from "../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type BrowserSession, signIn } from "../sessions/sessions.ts";
import type { PendingRequest } from "../store/sessions.ts";
import { setRetryAfter, toAuthError } from "./error-table.ts";
import { goOn, goOnSignedIn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { browserOf, checkForm, formFields, openSession, pathOf, type Visit } from "./visit.ts";

/** GET and POST /login. */
export function loginPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/login", async (visit) => {
    const session = await openSession(visit);
    const { request: id } = readQuery(visit.request);
    const pending = await findPendingRequest(ctx, session, id);
    if (id !== undefined && session.userId !== null) {
      // signed in meanwhile: in another tab, or the browser went back to this page
      if (pending === null) return visit.reply.redirect(pathOf(ctx, "/"), 302);
      const next = await continueRequest(ctx, pending, session, browserOf(visit));
      if (next.to !== "login") return goOn(visit, next);
    }
    return showLogin(visit, { session, pending }, {});
  });

  // where too many logins wait one more is refused before anything of it is read
  const onRequest = async () => ctx.passwords.refuseWhenFull();
  page.post("/login", signInWithForm, { onRequest });
}

async function signInWithForm(visit: Visit): Promise<FastifyReply> {
  const { ctx, request, reply } = visit;
  const form = readForm(request);
  const session = await checkForm(visit, "login", form);
  const pending = await findPendingRequest(ctx, session, form["request"]);
  const { email = "", password = "" } = form;
  let signedIn: BrowserSession;
  try {
    signedIn = await signIn(ctx, { email, password, browser: browserOf(visit), replaces: session });
  } catch (thrown) {
    if (!(thrown instanceof AuthError) || !["invalid_credentials", "rate_limited"].includes(thrown.code)) throw thrown;
    const { error } = toAuthError(ctx, thrown);
    setRetryAfter(reply, error.retryAfter);
    reply.code(error.code === "rate_limited" ? 429 : 401);
    return showLogin(visit, { session, pending }, { email, problem: error.code });
  }
  return goOnSignedIn(visit, signedIn, { email, pending });
}

async function showLogin(
  visit: Visit,
  { session, pending }: { readonly session: BrowserSession; readonly pending: PendingRequest | null },
  shown: { readonly email?: string; readonly problem?: string },
): Promise<FastifyReply> {
  const about = pending === null ? null : await describeRequest(visit.ctx, pending);
  const fields: Record<string, string> = pending === null ? {} : { request: pending.id };
  return renderPage(visit, "login", {
    fields: formFields(session, "login", fields),
    email: shown.email ?? about?.loginHint ?? "",
    problem: shown.problem ?? null,
    clientName: about?.clientName ?? null,
    requestId: pending?.id ?? null,
    redirectOrigin: about?.redirectOrigin ?? null,
    languages: about?.languages ?? [],
  });
}
