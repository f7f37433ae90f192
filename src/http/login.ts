import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import { startOfChallenge } from "../factors/challenge.ts";
import type { PasskeyAnswer } from "../factors/passkey-answers.ts";
import { ClosedAccount, checkPasskey, ownerOfPasskey, provePasskey } from "../factors/passkeys.ts";
import { continueRequest } from "../oauth/authorization/authorize.ts";
import { type PendingRequest, withDeclined } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type BrowserSession, checkLogin, loginOf, PasskeyNotUsed } from "../sessions/sessions.ts";
import { showRestore } from "./account-restore.ts";
import { refusalOn } from "./error-table.ts";
import { checkOpenForm, formIdOf, loginFormFields } from "./forms.ts";
import { goOn, goOnAsSignedIn, goOnSignedIn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm, readQuery } from "./parameters.ts";
import {
  askButton,
  askerOfPasskey,
  PASSKEY_SCRIPTS,
  type PasskeySignal,
  passkeyAnswerOf,
  passkeyProblemOf,
  signalRefused,
} from "./passkey-button.ts";
import { goOnClosed, goOnWithPassword, loginOnce, type Signing } from "./second-step.ts";
import { browserOf, pathOf, sessionOf, type Visit } from "./visit.ts";
import { forgetLatest, rememberLatest, requestOfForm, requestOfPage, shownOf } from "./waiting-request.ts";

const passkeyPath = "/login/passkey";

/** GET and POST /login, by password, and /login/passkey. */
export function loginPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/login", async (visit) => {
    const session = await sessionOf(visit);
    const pending = await requestOfPage(visit, session);
    // a HEAD looks at the page only
    const { request: carried, account, ended } = readQuery(visit.request);
    if (ended !== undefined) return showLogin(visit, pending, { problem: "ended" });
    if (account === "other") return showLogin(visit, askedForAnother(visit, pending, session), { email: "" });
    const goesOn = visit.request.method !== "HEAD" && carried !== undefined;
    if (goesOn && session !== null && session.userId !== null) {
      // signed in meanwhile: in another tab, or the browser went back to this page
      if (pending === null) return visit.reply.redirect(pathOf(ctx, "/"), 302);
      const next = await continueRequest(ctx, pending, session, browserOf(visit));
      if (next.to === "login") {
        return showLogin(visit, next.request, next.expectsOther === true ? { problem: "other_expected" } : {});
      }
      forgetLatest(visit, pending);
      return goOn(visit, next);
    }
    return showLogin(visit, pending, {});
  });

  // where too many logins wait one more is refused before anything of it is read
  const onRequest = async () => ctx.passwords.refuseWhenFull();
  page.post("/login", signInWithForm, { onRequest });

  page.post(passkeyPath, signInWithPasskey);
}

/** The choice travels with the request from here on, whatever page comes next. */
function askedForAnother(
  visit: Visit,
  pending: PendingRequest | null,
  session: BrowserSession | null,
): PendingRequest | null {
  if (pending === null || session === null) return pending;
  const declined = withDeclined(visit.ctx, pending, session);
  rememberLatest(visit, declined);
  return declined;
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
    if (thrown instanceof AuthError && thrown.code === "account_closed") return goOnClosed(visit, email, pending);
    const error = refusalOn(reply, thrown, ["invalid_credentials", "rate_limited"]);
    if (error.code === "invalid_credentials") reply.code(401);
    return showLogin(visit, pending, { email, problem: error.code });
  }
}

/** The address field offers the browser's passkeys, and so does a button. */
async function signInWithPasskey(visit: Visit): Promise<FastifyReply> {
  const { request, reply } = visit;
  const form = readForm(request);
  const session = await checkOpenForm(visit, "login", form);
  const pending = await requestOfForm(visit, session, form);
  try {
    return await goOnWithPasskey(visit, passkeyAnswerOf(form), { session, pending, formId: formIdOf(form) });
  } catch (thrown) {
    if (thrown instanceof ClosedAccount) return showRestore(visit, pending, thrown);
    const error = refusalOn(reply, thrown, ["invalid_credentials", "rate_limited"]);
    if (error.code === "invalid_credentials") {
      const elsewhere = await goOnAsOwner(visit, session, { pending, form });
      if (elsewhere !== null) return elsewhere;
      reply.code(401);
    }
    return showLogin(visit, pending, {
      email: form["email"] ?? "",
      problem: error.code === "invalid_credentials" ? passkeyProblemOf(error) : error.code,
      signal: await signalRefused(visit, form),
      isRefusedPasskey: true,
    });
  }
}

/**
 * Signs in, and uses the passkey's answer up by that. An answer that cannot be is looked at again as a guess, which counts; one that its form
 * brought before leads to the session that it opened, as long as that lives.
 */
async function goOnWithPasskey(
  visit: Visit,
  answer: PasskeyAnswer,
  { session, pending, formId }: Signing,
): Promise<FastifyReply> {
  const { ctx } = visit;
  const asker = askerOfPasskey(visit, null);
  const { user, methods, use } = await provePasskey(ctx, answer, asker);
  const login = loginOf(ctx, user, { browser: browserOf(visit), replaces: session, formId, methods, passkey: use });
  try {
    return await goOnSignedIn(visit, login, pending);
  } catch (thrown) {
    if (!(thrown instanceof PasskeyNotUsed)) throw thrown;
    const checked = await checkPasskey(ctx, answer, asker);
    const since = startOfChallenge(use.expiresAt);
    const before = await loginOnce(visit, checked.user, { ...checked, press: formId }, { replaces: session, since });
    return goOnSignedIn(visit, before, pending);
  }
}

/** A form that is sent again, or late, in a browser where the owner of its passkey is signed in by now goes on as that. */
async function goOnAsOwner(
  visit: Visit,
  session: BrowserSession | null,
  { pending, form }: { readonly pending: PendingRequest | null; readonly form: Parameters },
): Promise<FastifyReply | null> {
  if (session === null || session.userId === null) return null;
  const owner = await ownerOfPasskey(visit.ctx, form["credential"] ?? "");
  return owner === session.userId ? goOnAsSignedIn(visit, session, pending) : null;
}

async function showLogin(
  visit: Visit,
  pending: PendingRequest | null,
  shown: {
    readonly email?: string;
    readonly problem?: string;
    readonly signal?: PasskeySignal;
    readonly isRefusedPasskey?: boolean;
  },
): Promise<FastifyReply> {
  const request = await shownOf(visit, pending);
  const fields = await loginFormFields(visit, "login", { request: request.carried });
  return renderPage(visit, "login", {
    fields,
    passkey: askButton(visit.ctx, fields.csrf, null, passkeyPath),
    // an authenticator that answers without a person would bring a refused one again and again
    offersInField: shown.isRefusedPasskey !== true,
    scripts: PASSKEY_SCRIPTS,
    email: shown.email ?? request.loginHint,
    problem: shown.problem ?? null,
    signal: shown.signal ?? null,
    ...request,
  });
}
