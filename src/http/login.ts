import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import { askForPasskey, ClosedAccount } from "../factors/passkeys.ts";
import { continueRequest } from "../oauth/authorization/authorize.ts";
import type { PendingRequest } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { checkLogin, loginOf } from "../sessions/sessions.ts";
import { showRestore } from "./account-data.ts";
import { refusalOn } from "./error-table.ts";
import { checkOpenForm, formIdOf, loginFormFields, openFormFields } from "./forms.ts";
import { goOn, goOnSignedIn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { checkPasskeyOf, PASSKEY_SCRIPTS, passkeyButton } from "./passkey-button.ts";
import { goOnWithPassword } from "./second-step.ts";
import { browserOf, pathOf, sessionOf, type Visit } from "./visit.ts";
import { forgetLatest, requestOfForm, requestOfPage, shownOf } from "./waiting-request.ts";

const passkeyPath = "/login/passkey";

/** GET and POST /login, by password, and /login/passkey. */
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

  page.post(passkeyPath, signInWithPasskey);
  page.get(passkeyPath, async (visit) => {
    const fields = await openFormFields(visit, "login", { request: readQuery(visit.request)["request"] ?? "" });
    return visit.reply.header("cache-control", "no-store").send(askForPasskey(ctx, fields.csrf, null));
  });
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
    if (thrown instanceof AuthError && thrown.code === "account_closed") return showRestore(visit, pending, { email });
    const error = refusalOn(reply, thrown, ["invalid_credentials", "rate_limited"]);
    if (error.code === "invalid_credentials") reply.code(401);
    return showLogin(visit, pending, { email, problem: error.code });
  }
}

/** The address field offers the browser's passkeys, and so does a button. */
async function signInWithPasskey(visit: Visit): Promise<FastifyReply> {
  const { ctx, request, reply } = visit;
  const form = readForm(request);
  const session = await checkOpenForm(visit, "login", form);
  const pending = await requestOfForm(visit, session, form);
  const browser = browserOf(visit);
  try {
    const { user, methods } = await checkPasskeyOf(visit, form, null);
    const login = loginOf(ctx, user, { browser, replaces: session, formId: formIdOf(form), methods });
    return await goOnSignedIn(visit, login, pending);
  } catch (thrown) {
    if (thrown instanceof ClosedAccount) return showRestore(visit, pending, thrown);
    const error = refusalOn(reply, thrown, ["invalid_credentials", "rate_limited"]);
    if (error.code === "invalid_credentials") reply.code(401);
    return showLogin(visit, pending, {
      email: form["email"] ?? "",
      problem: error.code === "invalid_credentials" ? "passkey" : error.code,
    });
  }
}

async function showLogin(
  visit: Visit,
  pending: PendingRequest | null,
  shown: { readonly email?: string; readonly problem?: string },
): Promise<FastifyReply> {
  const request = await shownOf(visit, pending);
  const fields = await loginFormFields(visit, "login", { request: request.carried });
  return renderPage(visit, "login", {
    fields,
    passkey: passkeyButton("get", askForPasskey(visit.ctx, fields.csrf, null), passkeyPath),
    scripts: PASSKEY_SCRIPTS,
    email: shown.email ?? request.loginHint,
    problem: shown.problem ?? null,
    ...request,
  });
}
