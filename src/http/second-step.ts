import type { FastifyInstance, FastifyReply } from "fastify";
import { randomToken } from "../crypto/hashes.ts";
import type { AuthError } from "../errors.ts";
import { listFactors } from "../factors/factors.ts";
import { isRemembered, REMEMBERED_FOR, rememberBrowser } from "../factors/remembered-browsers.ts";
import {
  checkCode,
  hasSecondFactor,
  openFirstFactor,
  PASSWORD_AND_CODE,
  sealFirstFactor,
} from "../factors/second-step.ts";
import type { PendingRequest } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { knownDevice } from "../sessions/known-devices.ts";
import { type BrowserSession, loginOf } from "../sessions/sessions.ts";
import type { UserToSignIn } from "../store/users.ts";
import { type Acr, isAcr, PASSKEY_ACR } from "../token/authentication.ts";
import { askerOf } from "./asker.ts";
import { refusalOn } from "./error-table.ts";
import { checkOpenForm, formIdOf, loginFormFields } from "./forms.ts";
import { goOnSignedIn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm } from "./parameters.ts";
import { checkPasskeyOf, ownPasskeyButton } from "./passkey-button.ts";
import { browserOf, cookieOf, pathOf, setCookie, type Visit } from "./visit.ts";
import { requestOfForm, shownOf } from "./waiting-request.ts";

const path = "/login/second-factor";
const purpose = "second-factor";

interface Signing {
  /** The browser's session before. */
  readonly session: BrowserSession | null;
  readonly pending: PendingRequest | null;
  readonly formId: string | null;
}

/** After a right password: signs in, or asks for the second factor. Nothing is stored before that is right. */
export async function goOnWithPassword(
  visit: Visit,
  user: UserToSignIn,
  { session, pending, formId }: Signing,
): Promise<FastifyReply> {
  const { ctx } = visit;
  const isEnough = !(await hasSecondFactor(ctx, user)) || isRemembered(ctx, cookieOf(visit, "auth_remembered"), user);
  if (!isEnough) return showSecondStep(visit, { user, first: sealFirstFactor(ctx, user), pending, stepsUpTo: null });
  return goOnSignedIn(visit, loginOf(ctx, user, { browser: browserOf(visit), replaces: session, formId }), pending);
}

/** POST /login/second-factor. Its form comes with the answer to a right password, and carries that, sealed. */
export function secondStepPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  // a reload without its form
  page.get(path, (visit) => visit.reply.redirect(pathOf(ctx, "/login"), 302));

  page.post(path, async (visit) => {
    const form = readForm(visit.request);
    const session = await checkOpenForm(visit, purpose, form);
    const pending = await requestOfForm(visit, session, form);
    const { first = "", step_up: wanted } = form;
    const user = await openFirstFactor(ctx, first);
    if (user === null) {
      // too old, or the password was changed since: from the start
      const query = pending === null ? "" : `?request=${pending.carried}`;
      return visit.reply.redirect(`${pathOf(ctx, "/login")}${query}`, 303);
    }
    let methods: readonly string[];
    try {
      methods = await checkSecondFactor(visit, user, form);
    } catch (thrown) {
      const error = refusalOn(visit.reply, thrown, ["invalid_credentials", "rate_limited"]);
      if (error.code === "invalid_credentials") visit.reply.code(401);
      const problem = problemOf(error, form);
      return showSecondStep(visit, { user, first, pending, stepsUpTo: isAcr(wanted) ? wanted : null }, problem);
    }
    if (form["remember"] === "on") remember(visit, user);
    const browser = browserOf(visit);
    const login = loginOf(ctx, user, { browser, replaces: session, formId: formIdOf(form), methods });
    return goOnSignedIn(visit, login, pending);
  });
}

/**
 * Checks the passkey's answer or the code that a form brings.
 * @returns how the user has proved to be it, the password included (`amr` values)
 * @throws AuthError invalid_credentials, rate_limited, unavailable
 */
export async function checkSecondFactor(
  visit: Visit,
  user: UserToSignIn,
  form: Parameters,
): Promise<readonly string[]> {
  const { ctx, request } = visit;
  if (form["credential"] !== undefined) {
    const { methods } = await checkPasskeyOf(visit, form, user);
    return ["pwd", ...methods];
  }
  const device = knownDevice(ctx, browserOf(visit).deviceProof, user);
  const given = { code: form["code"] ?? "", attempt: formIdOf(form) ?? randomToken(), device };
  await checkCode(ctx, user, given, askerOf(request));
  return PASSWORD_AND_CODE;
}

/** What the page says of a refusal. */
export type SecondFactorProblem = "code" | "passkey" | "rate_limited";

export function problemOf({ code }: AuthError, form: Parameters): SecondFactorProblem {
  if (code === "rate_limited") return code;
  return form["credential"] === undefined ? "code" : "passkey";
}

/** Leaves the second step out in this browser for a month. */
function remember(visit: Visit, user: UserToSignIn): void {
  const value = rememberBrowser(visit.ctx, cookieOf(visit, "auth_remembered"), user);
  setCookie(visit, "auth_remembered", value, REMEMBERED_FOR);
}

/**
 * The second step of who is signed in already: the session stands for the password.
 * @param to the class of sign-in that the application wants
 */
export function showStepUp(visit: Visit, user: UserToSignIn, pending: PendingRequest, to: Acr): Promise<FastifyReply> {
  return showSecondStep(visit, { user, first: sealFirstFactor(visit.ctx, user), pending, stepsUpTo: to });
}

interface SecondStep {
  readonly user: UserToSignIn;
  /** Its right password, sealed. */
  readonly first: string;
  readonly pending: PendingRequest | null;
  /** Null: the step belongs to a login. */
  readonly stepsUpTo: Acr | null;
}

async function showSecondStep(
  visit: Visit,
  { user, first, pending, stepsUpTo }: SecondStep,
  problem: SecondFactorProblem | null = null,
): Promise<FastifyReply> {
  const request = await shownOf(visit, pending);
  const { totp, passkeys, recoveryCodes } = await listFactors(visit.ctx, user.uuid);
  const stepUp = stepsUpTo === null ? {} : { step_up: stepsUpTo };
  const fields = await loginFormFields(visit, purpose, { request: request.carried, first, ...stepUp });
  return renderPage(visit, "second-factor", {
    ...request,
    stepsUp: stepsUpTo !== null,
    fields,
    takesCode: stepsUpTo !== PASSKEY_ACR && (totp !== null || recoveryCodes > 0),
    ...ownPasskeyButton(visit, fields.csrf, { uuid: user.uuid, passkeys }, path),
    problem,
  });
}
