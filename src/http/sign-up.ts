import { randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import { createAccountWithPasskey, offerPasskey } from "../factors/passkey-enrolment.ts";
import { nameBrowser } from "../net/user-agent.ts";
import type { PendingRequest } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { checkLogin, loginOf } from "../sessions/sessions.ts";
import type { UserToSignIn } from "../store/users.ts";
import { isNewAccount, readFreeNames, signUp } from "../users/sign-up.ts";
import { getUserToSignIn } from "../users/users.ts";
import { askerOf } from "./asker.ts";
import { refusalOn } from "./error-table.ts";
import { checkOpenForm, FormRefused, formIdOf, loginFormFields, openAccount, sealAccount } from "./forms.ts";
import { goOnSignedIn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { fieldProblems } from "./pages/field-problems.ts";
import { MESSAGES } from "./pages/messages.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm } from "./parameters.ts";
import {
  createButton,
  PASSKEY_SCRIPTS,
  type PasskeySignal,
  passkeyAnswerOf,
  passkeyProblemOf,
  signalRefused,
} from "./passkey-button.ts";
import { readerOf } from "./reader.ts";
import { goOnWithPassword } from "./second-step.ts";
import { browserOf, sessionOf, type Visit } from "./visit.ts";
import { pathWithRequest, requestOfForm, requestOfPage, shownOf } from "./waiting-request.ts";

const passkeyPath = "/signup/passkey";

/** GET and POST /signup, and /signup/passkey: the account, then straight on to where the browser was going. */
export function signUpPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/signup", async (visit) => {
    const session = await sessionOf(visit);
    const pending = await requestOfPage(visit, session);
    return showSignUp(visit, pending, { form: {}, error: null });
  });

  page.post(passkeyPath, signUpWithPasskey);

  page.post(`${passkeyPath}/challenge`, async (visit) => {
    const form = readForm(visit.request);
    await checkOpenForm(visit, "signup", form);
    const { csrf = "", email = "", nickname = "" } = form;
    const uuid = accountOf(ctx, form);
    const names = await readFreeNames(ctx, { uuid, email, nickname });
    return visit.reply.header("cache-control", "no-store").send(offerPasskey(ctx, csrf, { uuid, ...names }, []));
  });

  page.post("/signup", async (visit) => {
    const { request, reply } = visit;
    const form = readForm(request);
    const session = await checkOpenForm(visit, "signup", form);
    const pending = await requestOfForm(visit, session, form);
    const { email = "", password = "", nickname = "" } = form;
    const signInHere = () => checkLogin(ctx, { email, password, browser: browserOf(visit) });
    const goOnAs = (user: UserToSignIn) => goOnWithPassword(visit, user, { session, pending, formId: formIdOf(form) });
    try {
      await signUp(ctx, { email, password, nickname }, askerOf(request));
    } catch (thrown) {
      // the button was pressed twice, or the account was just made in another tab: its password opens it here too
      const signedIn = isTaken(thrown) && (await isNewAccount(ctx, email)) ? await orNull(signInHere) : null;
      if (signedIn !== null) return goOnAs(signedIn);
      const error = refusalOn(reply, thrown, ["invalid_input", "email_taken", "rate_limited"]);
      return showSignUp(visit, pending, { form, error });
    }
    const signedIn = await orNull(signInHere);
    if (signedIn !== null) return goOnAs(signedIn);
    // too many wrong passwords came for this address before it had an account
    return reply.redirect(pathWithRequest(ctx, "/login", pending), 303);
  });
}

async function signUpWithPasskey(visit: Visit): Promise<FastifyReply> {
  const { ctx, request, reply } = visit;
  const form = readForm(request);
  const session = await checkOpenForm(visit, "signup", form);
  const pending = await requestOfForm(visit, session, form);
  const { email = "", nickname = "" } = form;
  const uuid = accountOf(ctx, form);
  try {
    const browser = browserOf(visit);
    const name = nameBrowser(MESSAGES[readerOf(request).language], browser.userAgent);
    const made = { ...passkeyAnswerOf(form), name: [...name].slice(0, 50).join("") };
    const { methods } = await createAccountWithPasskey(ctx, { uuid, email, nickname }, made, askerOf(request));
    const user = await getUserToSignIn(ctx, uuid);
    const login = loginOf(ctx, user, { browser, replaces: session, formId: formIdOf(form), methods });
    return await goOnSignedIn(visit, login, pending);
  } catch (thrown) {
    const error = refusalOn(reply, thrown, ["invalid_input", "email_taken", "invalid_credentials", "rate_limited"]);
    return showSignUp(visit, pending, { form, error, signal: await signalRefused(visit, form) });
  }
}

/** The account that the page offered to make a passkey for. @throws FormRefused */
function accountOf(ctx: OAuthContext, form: Parameters): string {
  const uuid = openAccount(ctx, "/signup", form["account"] ?? "");
  if (uuid === null) throw new FormRefused();
  return uuid;
}

function isTaken(error: unknown): boolean {
  return error instanceof AuthError && error.code === "email_taken";
}

/** @returns null: the password is wrong, or too many wrong ones came for this account */
async function orNull(work: () => Promise<UserToSignIn>): Promise<UserToSignIn | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AuthError && ["invalid_credentials", "account_closed", "rate_limited"].includes(error.code))
      return null;
    throw error;
  }
}

async function showSignUp(
  visit: Visit,
  pending: PendingRequest | null,
  {
    form,
    error,
    signal = null,
  }: { readonly form: Parameters; readonly error: AuthError | null; readonly signal?: PasskeySignal },
): Promise<FastifyReply> {
  const { ctx } = visit;
  const request = await shownOf(visit, pending);
  // the account that a passkey is made for; only this service can name one
  const uuid = randomUUID();
  const account = sealAccount(ctx, "/signup", uuid);
  const fields = await loginFormFields(visit, "signup", { request: request.carried, account });
  return renderPage(visit, "signup", {
    fields,
    passkey: createButton(offerPasskey(ctx, fields.csrf, { uuid, email: "", nickname: "" }, []), passkeyPath),
    signal,
    scripts: [...PASSKEY_SCRIPTS, "strength"],
    email: form["email"] ?? "",
    nickname: form["nickname"] ?? "",
    problem:
      error?.code === "invalid_credentials"
        ? passkeyProblemOf(error)
        : error?.code === "rate_limited"
          ? error.code
          : null,
    problems: fieldProblems(error),
    minLength: ctx.config.passwordMinLength,
    ...request,
  });
}
