import type { FastifyInstance, FastifyReply } from "fastify";
import { randomToken } from "../crypto/hashes.ts";
import { listFactors } from "../factors/factors.ts";
import { PASSKEY_WAYS } from "../factors/passkey-answers.ts";
import { checkPasskey } from "../factors/passkeys.ts";
import { counted, hasSecondFactor, PASSWORD_AND_CODE } from "../factors/second-step.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { rememberDevice } from "../sessions/known-devices.ts";
import { type BrowserSession, loginOf, storeLogin } from "../sessions/sessions.ts";
import type { UserToSignIn } from "../store/users.ts";
import { checkCurrentPassword, getUserToSignIn } from "../users/users.ts";
import { handOver } from "./enrolment.ts";
import { refusalOn } from "./error-table.ts";
import { FormRefused, formFields, formIdOf, isOfEndedSession, openAccount, sealAccount } from "./forms.ts";
import { type Owner, ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm, readQuery } from "./parameters.ts";
import { askerOfPasskey, ownPasskeyButton, passkeyAnswerOf } from "./passkey-button.ts";
import {
  checkSecondFactor,
  guesserOf,
  isOutdated,
  openedBy,
  pressOf,
  problemOf,
  type SecondFactorProblem,
} from "./second-step.ts";
import { browserOf, pathOf, setDeviceCookie, setSessionCookie, type Visit } from "./visit.ts";
import { carriedBy, onTheWay } from "./waiting-request.ts";

export const CONFIRM_PATH = "/account/security/confirm";
/** Where a fresh sign-in leads back to. */
const nextPages = ["/account/security", "/account/email", "/account/data"] as const;
type NextPage = (typeof nextPages)[number];

/** The address of the page from which a fresh sign-in leads back. */
export function confirmFor(ctx: OAuthContext, next: NextPage): string {
  return `${pathOf(ctx, CONFIRM_PATH)}?${new URLSearchParams({ next })}`;
}

function nextOf(next: string | undefined): NextPage {
  return nextPages.find((page) => page === next) ?? nextPages[0];
}

/** GET and POST /account/security/confirm: signs the same user in again, so that factors may be changed. */
export function confirmPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(CONFIRM_PATH, async (visit) => {
    const owner = await ownerOf(visit);
    if (owner === null) return visit.reply.redirect(onTheWay(visit, "/login"), 302);
    return showConfirm(visit, owner, { next: nextOf(readQuery(visit.request)["next"]), problem: null });
  });

  page.post(CONFIRM_PATH, async (visit) => {
    try {
      return await confirm(visit, await ownerOfForm(visit, () => CONFIRM_PATH));
    } catch (error) {
      const again = error instanceof FormRefused ? await confirmedBefore(visit) : null;
      if (again === null) throw error;
      return goOnConfirmed(visit, again.session, again.user);
    }
  });
}

async function confirm(visit: Visit, owner: Owner & { readonly form: Parameters }): Promise<FastifyReply> {
  const { ctx } = visit;
  const { session, form } = owner;
  try {
    const { user, methods, press } = await checkAgain(visit, owner.user, form);
    const browser = browserOf(visit);
    const login = loginOf(ctx, user, { browser, replaces: session, raises: session.idHash, formId: press, methods });
    await storeLogin(ctx, login).catch((error: unknown) => {
      // signed out, or changed otherwise, while the code was checked
      throw isOutdated(error) ? new FormRefused() : error;
    });
    return await goOnConfirmed(visit, login.session, user);
  } catch (error) {
    const refusal = refusalOn(visit.reply, error, ["invalid_credentials", "rate_limited"]);
    return showConfirm(visit, owner, { next: nextOf(form["next"]), problem: problemOf(refusal, form) });
  }
}

async function goOnConfirmed(visit: Visit, session: BrowserSession, user: UserToSignIn): Promise<FastifyReply> {
  const carried = await handOver(visit, session, carriedBy(visit));
  setSessionCookie(visit, session);
  setDeviceCookie(visit, rememberDevice(visit.ctx, browserOf(visit).deviceProof, user, session.methods));
  return visit.reply.redirect(onTheWay(visit, nextOf(readForm(visit.request)["next"]), carried), 303);
}

/**
 * A form whose session has ended, as by its first press or by that of another tab: the same user's fresh session in this browser.
 * @returns null: there is none
 */
async function confirmedBefore(visit: Visit): Promise<{ session: BrowserSession; user: UserToSignIn } | null> {
  const { ctx } = visit;
  const form = readForm(visit.request);
  const uuid = openAccount(ctx, CONFIRM_PATH, form["account"] ?? "");
  const owner = await ownerOf(visit);
  if (owner?.isFresh && owner.user.uuid === uuid) return owner;
  if (uuid === null || !(await isOfEndedSession(visit, CONFIRM_PATH, form))) return null;
  const user = await getUserToSignIn(ctx, uuid);
  const session = await pressedBefore(visit, user, form);
  return session === null ? null : { session, user };
}

/** The session that the same press opened: a press that is named by its code takes what the first took, the password and a counted guess. */
async function pressedBefore(visit: Visit, user: UserToSignIn, form: Parameters): Promise<BrowserSession | null> {
  const { ctx } = visit;
  const look = async (press: string | null) =>
    press === null ? null : openedBy(ctx, press, user, [["pwd"], PASSWORD_AND_CODE, ...PASSKEY_WAYS]);
  if (form["credential"] !== undefined || !(await hasSecondFactor(ctx, user))) {
    return look(formIdOf(form));
  }
  try {
    await checkCurrentPassword(ctx, user.uuid, form["password"] ?? "");
    const guess = { code: form["code"] ?? "", guesser: guesserOf(visit, { user, sessionHash: null }) };
    return await counted(ctx, user, guess, () => look(pressOf(visit, user, form, CONFIRM_PATH)));
  } catch (thrown) {
    refusalOn(visit.reply, thrown, ["invalid_credentials", "rate_limited"]);
    return null;
  }
}

/**
 * A passkey alone, or the password and then the code: strangers at an open session cannot use the codes' count up.
 * @returns the user, how they proved to be it (`amr` values), and what names the form for a second press
 */
async function checkAgain(
  visit: Visit,
  user: UserToSignIn,
  form: Parameters,
): Promise<{ user: UserToSignIn; methods: readonly string[]; press: string | null }> {
  const { ctx } = visit;
  const press = formIdOf(form);
  if (form["credential"] !== undefined) {
    return { ...(await checkPasskey(ctx, passkeyAnswerOf(form), askerOfPasskey(visit, user))), press };
  }
  const checked = await checkCurrentPassword(ctx, user.uuid, form["password"] ?? "");
  if (!(await hasSecondFactor(ctx, checked))) return { user: checked, methods: ["pwd"], press };
  const factor = await checkSecondFactor(visit, { user: checked, sessionHash: null }, form, CONFIRM_PATH);
  return { ...factor, user: checked };
}

async function showConfirm(
  visit: Visit,
  { session, user }: Owner,
  { next, problem }: { readonly next: NextPage; readonly problem: SecondFactorProblem | null },
): Promise<FastifyReply> {
  const { totp, passkeys, recoveryCodes } = await listFactors(visit.ctx, user.uuid);
  const account = sealAccount(visit.ctx, CONFIRM_PATH, user.uuid);
  const fields = { ...formFields(session, CONFIRM_PATH, { next, account }), form: randomToken() };
  if (!user.hasPassword && passkeys.length === 0) {
    return renderPage(visit, "no-password", { section: "/account/security", email: user.email, hasPasskey: false });
  }
  const hasCode = totp !== null || (passkeys.length > 0 && recoveryCodes > 0);
  return renderPage(visit, "confirm", {
    carried: carriedBy(visit),
    fields,
    email: user.email,
    takesPassword: user.hasPassword && (passkeys.length === 0 || hasCode),
    takesCode: user.hasPassword && hasCode,
    ...ownPasskeyButton(visit, fields.csrf, { uuid: user.uuid, passkeys }, CONFIRM_PATH),
    problem,
  });
}
