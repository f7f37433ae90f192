import { setTimeout } from "node:timers/promises";
import type { FastifyInstance, FastifyReply } from "fastify";
import { randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import { listFactors } from "../factors/factors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { rememberDevice } from "../sessions/known-devices.ts";
import { type BrowserSession, findSessionOfForm, loginOf, storeLogin } from "../sessions/sessions.ts";
import type { UserWithPassword } from "../store/users.ts";
import { changePassword, checkCurrentPassword, getUserToSignIn } from "../users/users.ts";
import { askerOf } from "./asker.ts";
import { refusalOn } from "./error-table.ts";
import { FormRefused, formFields, formIdOf, isOfEndedSession, openAccount, sealAccount } from "./forms.ts";
import { ownForm, type SignedIn, signedInOf } from "./own-form.ts";
import { pageRoutes } from "./page-routes.ts";
import { fieldProblems } from "./pages/field-problems.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm } from "./parameters.ts";
import { browserOf, pathOf, setDeviceCookie, setSessionCookie, type Visit } from "./visit.ts";

const path = "/account/password";

/** GET and POST /account/password, and where password managers look for it (W3C: A Well-Known URL for Changing Passwords). */
export function changePasswordPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/.well-known/change-password", (visit) => visit.reply.redirect(pathOf(ctx, path), 302));

  page.get(path, async (visit) => {
    const session = await signedInOf(visit);
    if (session === null) return visit.reply.redirect(pathOf(ctx, "/login"), 302);
    return showForm(visit, session, null);
  });

  page.post(path, async (visit) => {
    const typed = readForm(visit.request);
    // pressed twice: the first press ended the session
    if (await isOfEndedSession(visit, path, typed)) return repeat(visit, typed);
    if (await isOfOpenedSession(visit, typed)) return visit.reply.redirect(doneAt(ctx), 303);
    const { session, form } = await ownForm(visit, () => path);
    const { current_password: currentPassword = "", password: newPassword = "" } = form;
    try {
      const by = { asker: askerOf(visit.request), acting: session };
      const change = { uuid: session.userId, currentPassword, newPassword, ...by };
      return await signIn(visit, await changePassword(ctx, change), form);
    } catch (thrown) {
      const error = refusalOn(visit.reply, thrown, ["invalid_input", "invalid_credentials", "rate_limited"]);
      return showForm(visit, session, error);
    }
  });
}

/** Has this browser the session that this very form opened? It was sent again, as after the back button. */
async function isOfOpenedSession(visit: Visit, form: Parameters): Promise<boolean> {
  const { ctx } = visit;
  const [uuid, formId] = [openAccount(ctx, path, form["account"] ?? ""), formIdOf(form)];
  const own = await signedInOf(visit);
  if (uuid === null || formId === null || own?.userId !== uuid) return false;
  const opened = await findSessionOfForm(ctx, formId, await getUserToSignIn(ctx, uuid));
  return opened?.idHash === own.idHash;
}

/** A second press ends in the session that the first one opened; it opens none itself. */
async function repeat(visit: Visit, form: Parameters): Promise<FastifyReply> {
  const { ctx } = visit;
  const [uuid, formId] = [openAccount(ctx, path, form["account"] ?? ""), formIdOf(form)];
  if (uuid === null || formId === null) throw new FormRefused();
  const user = await checkCurrentPassword(ctx, uuid, form["password"] ?? "").catch((error: unknown) => {
    if (error instanceof AuthError && error.code === "invalid_credentials") throw new FormRefused();
    throw error;
  });
  // the first press may be about to open it
  let session: BrowserSession | null = null;
  for (const wait of [0, 50, 100, 200, 400, 800]) {
    await setTimeout(wait);
    session = await findSessionOfForm(ctx, formId, user);
    if (session !== null) break;
  }
  if (session === null) throw new FormRefused();
  return goOn(visit, session, rememberDevice(ctx, browserOf(visit).deviceProof, user));
}

/** Every session of the account has ended: this browser goes on in a new one. */
async function signIn(visit: Visit, user: UserWithPassword, form: Parameters): Promise<FastifyReply> {
  const { ctx } = visit;
  const login = loginOf(ctx, user, {
    browser: browserOf(visit),
    replaces: null,
    formId: formIdOf(form),
    isKnown: true,
  });
  await storeLogin(ctx, login);
  return goOn(visit, login.session, login.deviceProof);
}

/** The page that says that the password was changed. */
function doneAt(ctx: OAuthContext): string {
  return `${pathOf(ctx, "/")}?done=password`;
}

function goOn(visit: Visit, session: BrowserSession, deviceProof: string): FastifyReply {
  setSessionCookie(visit, session);
  setDeviceCookie(visit, deviceProof);
  return visit.reply.redirect(doneAt(visit.ctx), 303);
}

async function showForm(visit: Visit, session: SignedIn, error: AuthError | null): Promise<FastifyReply> {
  const { ctx } = visit;
  const user = await getUserToSignIn(ctx, session.userId);
  if (!user.hasPassword)
    return renderPage(visit, "no-password", {
      section: path,
      email: user.email,
      hasPasskey: (await listFactors(ctx, user.uuid)).passkeys.length > 0,
    });
  return renderPage(visit, "change-password", {
    scripts: ["strength"],
    fields: { ...formFields(session, path, { account: sealAccount(ctx, path, user.uuid) }), form: randomToken() },
    email: user.email,
    minLength: ctx.config.passwordMinLength,
    isWrong: error?.code === "invalid_credentials",
    problem: error?.code === "rate_limited" ? error.code : null,
    problems: fieldProblems(error),
  });
}
