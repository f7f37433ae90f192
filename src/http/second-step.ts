import { setTimeout } from "node:timers/promises";
import type { FastifyInstance, FastifyReply } from "fastify";
import { hashOf, randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import { listFactors } from "../factors/factors.ts";
import { PASSKEY_WAYS } from "../factors/passkey-answers.ts";
import { ClosedAccount, checkPasskey } from "../factors/passkeys.ts";
import { plainCode } from "../factors/recovery-codes.ts";
import { isRemembered, REMEMBERED_FOR, rememberBrowser } from "../factors/remembered-browsers.ts";
import {
  CodeLate,
  checkCode,
  counted,
  type FirstFactor,
  type Guesser,
  hasSecondFactor,
  openFirstFactor,
  ownerOfFirstFactor,
  PASSWORD_AND_CODE,
  sealFirstFactor,
} from "../factors/second-step.ts";
import type { PendingRequest } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { knownDevice } from "../sessions/known-devices.ts";
import {
  type BrowserSession,
  FactorsChanged,
  findSessionOfForm,
  isSessionOf,
  type Login,
  loginOf,
} from "../sessions/sessions.ts";
import type { UserToSignIn } from "../store/users.ts";
import { type Acr, isAcr, PASSKEY_ACR } from "../token/authentication.ts";
import { findClosed } from "../users/deletion.ts";
import { hasSignedInSince, isClosed } from "../users/users.ts";
import { showRestore } from "./account-restore.ts";
import { askerOf } from "./asker.ts";
import { refusalOn } from "./error-table.ts";
import { checkOpenForm, FormRefused, formIdOf, loginFormFields } from "./forms.ts";
import { goOnAsSignedIn, goOnSignedIn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import type { PasskeyProblem } from "./pages/factor-messages/factor-messages.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm } from "./parameters.ts";
import { askerOfPasskey, ownPasskeyButton, passkeyAnswerOf, passkeyProblemOf } from "./passkey-button.ts";
import { browserOf, cookieOf, setCookie, type Visit } from "./visit.ts";
import { pathWithRequest, requestOfForm, shownOf } from "./waiting-request.ts";

const path = "/login/second-factor";
const purpose = "second-factor";

/** What a form that signs in comes with. */
export interface Signing {
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
  const cookie = cookieOf(visit, "auth_remembered");
  const isEnough = !(await hasSecondFactor(ctx, user)) || isRemembered(ctx, cookie, user);
  if (!isEnough) return showSecondStep(visit, { user, first: sealFirstFactor(ctx, user), pending, stepsUpTo: null });
  return goOnSignedIn(visit, loginOf(ctx, user, { browser: browserOf(visit), replaces: session, formId }), pending);
}

/** After the right password of an account that its user closed: it may be kept, after the second factor if there is one. */
export async function goOnClosed(visit: Visit, email: string, pending: PendingRequest | null): Promise<FastifyReply> {
  const { ctx } = visit;
  const user = (await findClosed(ctx, { email }))?.user;
  if (user === undefined) throw new FormRefused();
  if (!(await hasSecondFactor(ctx, user))) return showRestore(visit, pending, { email });
  return showSecondStep(visit, { user, first: sealFirstFactor(ctx, user), pending, stepsUpTo: null });
}

/** POST /login/second-factor. Its form comes with the answer to a right password, and carries that, sealed. */
export function secondStepPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.post(path, async (visit) => {
    const form = readForm(visit.request);
    const session = await checkOpenForm(visit, purpose, form);
    const pending = await requestOfForm(visit, session, form);
    const { first = "", step_up: wanted } = form;
    const goOnElsewhere = async () => {
      const meanwhile = signedInSince(ctx, session, first);
      return meanwhile === null ? null : goOnAsSignedIn(visit, meanwhile, pending);
    };
    const opened = await openFirstFactor(ctx, first);
    const base = opened === null ? null : await baseOf(visit, opened, form).catch(orNothing(visit));
    // too old, or the password, the factors or the session are others by now
    if (opened === null || base === null) return (await goOnElsewhere()) ?? goToStart(visit, pending);
    const { user } = opened;
    let login: Login;
    try {
      const checked = await checkSecondFactor(visit, opened, form, path);
      const since = ownerOfFirstFactor(ctx, first)?.at ?? null;
      if (isClosed(user)) {
        // what signed in before the account was closed does not open it again
        if (checked.use !== "used" && hasSignedInSince(user, since)) throw usedBefore();
        return showRestore(visit, pending, { uuid: user.uuid });
      }
      login = await loginOnce(visit, user, checked, { replaces: session, since, ...base });
    } catch (thrown) {
      if (thrown instanceof ClosedAccount) return showRestore(visit, pending, thrown);
      const error = refusalOn(visit.reply, thrown, ["invalid_credentials", "rate_limited"]);
      const elsewhere = error.code === "invalid_credentials" ? await goOnElsewhere() : null;
      if (elsewhere !== null) return elsewhere;
      if (error.code === "invalid_credentials") visit.reply.code(401);
      const problem = problemOf(error, form);
      return showSecondStep(visit, { user, first, pending, stepsUpTo: isAcr(wanted) ? wanted : null }, problem);
    }
    if (form["remember"] === "on") remember(visit, user);
    return goOnSignedIn(visit, login, pending).catch((error: unknown) => {
      // they changed while the code was checked
      if (isOutdated(error)) return goToStart(visit, pending);
      throw error;
    });
  });
}

/** The browser's session, if the user who gave this right password was signed in there since, as in another tab. */
function signedInSince(ctx: OAuthContext, session: BrowserSession | null, first: string): BrowserSession | null {
  const given = ownerOfFirstFactor(ctx, first);
  if (session === null || session.authTime === null || given === null) return null;
  return session.userId === given.uuid && session.authTime > given.at ? session : null;
}

/** Too many tries lead to the start too, whose own pages say how long to wait. */
function orNothing(visit: Visit): (thrown: unknown) => null {
  return (thrown) => {
    refusalOn(visit.reply, thrown, ["rate_limited"]);
    return null;
  };
}

/**
 * The login that a right factor gives. What was brought before, by the same form or by another tab of this browser, gives no second one: all
 * have that of the first, as long as it lives. A form whose sign-in failed gives one still, if it has a name: only then is it the same one.
 * @param options.since when the sign-in began (epoch milliseconds); null: unknown
 * @throws AuthError invalid_credentials: it has ended
 */
export async function loginOnce(
  visit: Visit,
  user: UserToSignIn,
  { methods, press, use }: CheckedFactor,
  {
    replaces,
    raises = null,
    since,
  }: { readonly replaces: BrowserSession | null; readonly raises?: string | null; readonly since: number | null },
): Promise<Login> {
  const { ctx } = visit;
  const login = loginOf(ctx, user, { browser: browserOf(visit), replaces, formId: press, raises, methods });
  const hasSignedIn = hasSignedInSince(user, since);
  if (use === "used" || (use === "again" && press !== null && !hasSignedIn)) return login;
  const session = press === null ? null : await openedBy(ctx, press, user, [methods]);
  if (session === null) throw usedBefore();
  return { ...login, session, isStored: true };
}

function usedBefore(): AuthError {
  return new AuthError("invalid_credentials", "this was used before, and what it opened has ended");
}

/**
 * The session of what was sent twice, which the first one may be about to open.
 * @param ways in which it may have been opened (`amr` values)
 */
export async function openedBy(
  ctx: OAuthContext,
  press: string,
  user: UserToSignIn,
  ways: readonly (readonly string[])[],
): Promise<BrowserSession | null> {
  for (const wait of [0, 50, 100, 200, 400, 800, 1_600]) {
    await setTimeout(wait);
    const session = await findOpenedBy(ctx, press, user, ways);
    if (session !== null) return session;
  }
  return null;
}

async function findOpenedBy(
  ctx: OAuthContext,
  press: string,
  user: UserToSignIn,
  ways: readonly (readonly string[])[],
): Promise<BrowserSession | null> {
  for (const methods of ways) {
    const session = await findSessionOfForm(ctx, press, user, methods);
    if (session !== null) return session;
  }
  return null;
}

/** The login page, which says why it is there again. */
function goToStart(visit: Visit, pending: PendingRequest | null): FastifyReply {
  const login = pathWithRequest(visit.ctx, "/login", pending);
  return visit.reply.redirect(`${login}${pending === null ? "?" : "&"}ended=1`, 303);
}

/** Is what a sign-in rested on no more: the session, the password or the factors? */
export function isOutdated(error: unknown): boolean {
  if (error instanceof FactorsChanged) return true;
  return error instanceof AuthError && (error.code === "login_required" || error.code === "invalid_credentials");
}

/**
 * What the second step is added to, if the user has factors still.
 * @returns raises: the session that stood for the password, or the one that the same press opened in its place; null: the password was given.
 * Null: the session has ended, or there is no factor
 */
async function baseOf(
  visit: Visit,
  { user, sessionHash }: FirstFactor,
  form: Parameters,
): Promise<{ readonly raises: string | null } | null> {
  const { ctx } = visit;
  if (!(await hasSecondFactor(ctx, user))) return null;
  if (sessionHash === null || (await isSessionOf(ctx, sessionHash, user.uuid))) return { raises: sessionHash };
  const press = pressOf(visit, user, form, path);
  if (press === null) return null;
  const passkeys = PASSKEY_WAYS.map((way) => ["pwd", ...way]);
  const look = () => findOpenedBy(ctx, press, user, [PASSWORD_AND_CODE, ...passkeys]);
  const guess = { code: form["code"] ?? "", guesser: guesserOf(visit, { user, sessionHash }) };
  const opened = form["credential"] === undefined ? await counted(ctx, user, guess, look) : await look();
  return opened === null ? null : { raises: opened.idHash };
}

/** A right second factor. */
export interface CheckedFactor {
  /** How the user has proved to be it, the password included (`amr` values). */
  readonly methods: readonly string[];
  /** Names what was sent, in place of the form's id; null: nothing does. */
  readonly press: string | null;
  /** `again`: the same form used it before; `repeated`: the same press did, with another form. */
  readonly use: "used" | "again" | "repeated";
}

/**
 * Checks the passkey's answer or the code that a form brings.
 * @param purpose where the form is sent
 * @throws AuthError invalid_credentials, rate_limited, unavailable
 */
export async function checkSecondFactor(
  visit: Visit,
  { user, sessionHash }: Pick<FirstFactor, "user" | "sessionHash">,
  form: Parameters,
  purpose: string,
): Promise<CheckedFactor> {
  const { ctx, request } = visit;
  const press = pressOf(visit, user, form, purpose);
  if (form["credential"] !== undefined) {
    const { methods, use } = await checkPasskey(ctx, passkeyAnswerOf(form), askerOfPasskey(visit, user));
    return { methods: ["pwd", ...methods], press, use };
  }
  const guesser = guesserOf(visit, { user, sessionHash });
  const formId = formIdOf(form) ?? randomToken();
  const given = { code: form["code"] ?? "", press: press ?? formId, form: formId, guesser };
  const use = await checkCode(ctx, user, given, askerOf(request));
  return { methods: PASSWORD_AND_CODE, press, use };
}

/**
 * A code is good for one press, which may come from several tabs of a browser, as after it restored its windows: its secret cookie, the account
 * and the code name it. Another browser has another one. Each answer of a passkey is for its own form, which names it.
 */
export function pressOf(visit: Visit, { uuid }: UserToSignIn, form: Parameters, purpose: string): string | null {
  const browser = cookieOf(visit, "auth_browser");
  const { code = "", credential } = form;
  if (browser === undefined || credential !== undefined) return formIdOf(form);
  return hashOf([purpose, browser, uuid, plainCode(code)].join("\n"));
}

/**
 * A device in which the account gave a second factor is its owner's: others cannot use up what it may guess. Who has a session and not the
 * password uses up the guesses of sessions alone.
 */
export function guesserOf(visit: Visit, { user, sessionHash }: Pick<FirstFactor, "user" | "sessionHash">): Guesser {
  const { deviceProof } = browserOf(visit);
  const own = knownDevice(visit.ctx, deviceProof, user, "second factor");
  if (own !== null) return { id: own, oneOf: null };
  if (sessionHash !== null) return { id: `session ${sessionHash}`, oneOf: "sessions" };
  const id = knownDevice(visit.ctx, deviceProof, user);
  return { id, oneOf: id === null ? null : "devices" };
}

/** What the page says of a refusal. */
export type SecondFactorProblem = "code" | "codeLate" | "codeRecovery" | "rate_limited" | PasskeyProblem;

export function problemOf(error: AuthError, form: Parameters): SecondFactorProblem {
  if (error.code === "rate_limited") return error.code;
  if (form["credential"] !== undefined) return passkeyProblemOf(error);
  if (error instanceof CodeLate) return "codeLate";
  // an app shows digits alone
  return /[a-z]/.test(plainCode(form["code"] ?? "")) ? "codeRecovery" : "code";
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
export function showStepUp(
  visit: Visit,
  { user, session }: { readonly user: UserToSignIn; readonly session: BrowserSession },
  pending: PendingRequest,
  to: Acr,
): Promise<FastifyReply> {
  const first = sealFirstFactor(visit.ctx, user, session.idHash);
  return showSecondStep(visit, { user, first, pending, stepsUpTo: to });
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
