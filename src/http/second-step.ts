import type { FastifyInstance, FastifyReply } from "fastify";
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
import { askerOf } from "./asker.ts";
import { refusalOn } from "./error-table.ts";
import { checkOpenForm, formIdOf, loginFormFields } from "./forms.ts";
import { goOnSignedIn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm } from "./parameters.ts";
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
  if (!isEnough) return showSecondStep(visit, sealFirstFactor(ctx, user), pending, null);
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
    const { first = "", code = "" } = form;
    const user = await openFirstFactor(ctx, first);
    if (user === null) {
      // too old, or the password was changed since: from the start
      const query = pending === null ? "" : `?request=${pending.carried}`;
      return visit.reply.redirect(`${pathOf(ctx, "/login")}${query}`, 303);
    }
    const browser = browserOf(visit);
    const formId = formIdOf(form);
    try {
      const device = knownDevice(ctx, browser.deviceProof, user);
      await checkCode(ctx, user, { code, attempt: formId ?? first, device }, askerOf(visit.request));
    } catch (thrown) {
      return showRefusal(visit, thrown, { first, pending });
    }
    if (form["remember"] === "on") remember(visit, user);
    const login = loginOf(ctx, user, { browser, replaces: session, formId, methods: PASSWORD_AND_CODE });
    return goOnSignedIn(visit, login, pending);
  });
}

/** Leaves the second step out in this browser for a month. */
function remember(visit: Visit, user: UserToSignIn): void {
  const value = rememberBrowser(visit.ctx, cookieOf(visit, "auth_remembered"), user);
  setCookie(visit, "auth_remembered", value, REMEMBERED_FOR);
}

function showRefusal(
  visit: Visit,
  thrown: unknown,
  { first, pending }: { readonly first: string; readonly pending: PendingRequest | null },
): Promise<FastifyReply> {
  const error = refusalOn(visit.reply, thrown, ["invalid_credentials", "rate_limited"]);
  if (error.code === "invalid_credentials") visit.reply.code(401);
  return showSecondStep(visit, first, pending, error.code);
}

/** The second step of who is signed in already: the session stands for the password. */
export function showStepUp(visit: Visit, user: UserToSignIn, pending: PendingRequest): Promise<FastifyReply> {
  return showSecondStep(visit, sealFirstFactor(visit.ctx, user), pending, null, true);
}

async function showSecondStep(
  visit: Visit,
  first: string,
  pending: PendingRequest | null,
  problem: string | null,
  stepsUp = false,
): Promise<FastifyReply> {
  const request = await shownOf(visit, pending);
  return renderPage(visit, "second-factor", {
    ...request,
    stepsUp,
    fields: await loginFormFields(visit, purpose, { request: request.carried, first }),
    isWrong: problem === "invalid_credentials",
    problem: problem === "rate_limited" ? problem : null,
  });
}
