import type { FastifyInstance, FastifyReply } from "fastify";
import { randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { loginOf, storeLogin } from "../sessions/sessions.ts";
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
    if (await isOfEndedSession(visit, path, typed)) return signIn(visit, await userOfRepeat(visit, typed), typed);
    const { session, form } = await ownForm(visit, () => path);
    const { current_password: currentPassword = "", password: newPassword = "" } = form;
    try {
      const change = { uuid: session.userId, currentPassword, newPassword, asker: askerOf(visit.request) };
      return await signIn(visit, await changePassword(ctx, change), form);
    } catch (thrown) {
      const error = refusalOn(visit.reply, thrown, ["invalid_input", "invalid_credentials", "rate_limited"]);
      return showForm(visit, session, error);
    }
  });
}

/** A second press ends where that did, if the account has the password that the form brings. */
async function userOfRepeat({ ctx }: Visit, form: Parameters): Promise<UserWithPassword> {
  const uuid = openAccount(ctx, form["account"] ?? "");
  if (uuid === null) throw new FormRefused();
  try {
    return await checkCurrentPassword(ctx, uuid, form["password"] ?? "");
  } catch (error) {
    if (error instanceof AuthError && error.code === "invalid_credentials") throw new FormRefused();
    throw error;
  }
}

/** Every session of the account has ended: this browser goes on in a new one. */
async function signIn(visit: Visit, user: UserWithPassword, form: Parameters): Promise<FastifyReply> {
  const { ctx, reply } = visit;
  const login = loginOf(ctx, user, {
    browser: browserOf(visit),
    replaces: null,
    formId: formIdOf(form),
    isKnown: true,
  });
  await storeLogin(ctx, login);
  setSessionCookie(visit, login.session);
  setDeviceCookie(visit, login.deviceProof);
  return reply.redirect(`${pathOf(ctx, "/")}?done=password`, 303);
}

async function showForm(visit: Visit, session: SignedIn, error: AuthError | null): Promise<FastifyReply> {
  const { ctx } = visit;
  const user = await getUserToSignIn(ctx, session.userId);
  if (!user.hasPassword) return renderPage(visit, "no-password", { section: path, email: user.email });
  return renderPage(visit, "change-password", {
    scripts: ["strength"],
    fields: { ...formFields(session, path, { account: sealAccount(ctx, user.uuid) }), form: randomToken() },
    email: user.email,
    minLength: ctx.config.passwordMinLength,
    isWrong: error?.code === "invalid_credentials",
    problem: error?.code === "rate_limited" ? error.code : null,
    problems: fieldProblems(error),
  });
}
