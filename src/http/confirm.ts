import type { FastifyInstance, FastifyReply } from "fastify";
import { randomToken } from "../crypto/hashes.ts";
import type { AuthError } from "../errors.ts";
import { checkCode, hasSecondFactor, PASSWORD_AND_CODE } from "../factors/second-step.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { knownDevice } from "../sessions/known-devices.ts";
import { loginOf, storeLogin } from "../sessions/sessions.ts";
import type { UserToSignIn } from "../store/users.ts";
import { checkCurrentPassword } from "../users/users.ts";
import { askerOf } from "./asker.ts";
import { refusalOn } from "./error-table.ts";
import { formFields, formIdOf } from "./forms.ts";
import { type Owner, ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import type { Parameters } from "./parameters.ts";
import { browserOf, pathOf, setDeviceCookie, setSessionCookie, type Visit } from "./visit.ts";

export const CONFIRM_PATH = "/account/security/confirm";

/** GET and POST /account/security/confirm: signs the same user in again, so that factors may be changed. */
export function confirmPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(CONFIRM_PATH, async (visit) => {
    const owner = await ownerOf(visit);
    if (owner === null) return visit.reply.redirect(pathOf(ctx, "/login"), 302);
    return showConfirm(visit, owner, null);
  });

  page.post(CONFIRM_PATH, async (visit) => {
    const owner = await ownerOfForm(visit, () => CONFIRM_PATH);
    const { session, form } = owner;
    try {
      const { user, methods } = await checkAgain(visit, owner.user, form);
      const login = loginOf(ctx, user, {
        browser: browserOf(visit),
        replaces: session,
        formId: formIdOf(form),
        methods,
      });
      await storeLogin(ctx, login);
      setSessionCookie(visit, login.session);
      setDeviceCookie(visit, login.deviceProof);
      return visit.reply.redirect(pathOf(ctx, "/account/security"), 303);
    } catch (error) {
      return showConfirm(visit, owner, refusalOn(visit.reply, error, ["invalid_credentials", "rate_limited"]));
    }
  });
}

/** The code only after a right password: strangers at an open session cannot use the codes' count up. */
async function checkAgain(
  visit: Visit,
  user: UserToSignIn,
  form: Parameters,
): Promise<{ user: UserToSignIn; methods: readonly string[] }> {
  const { ctx, request } = visit;
  const checked = await checkCurrentPassword(ctx, user.uuid, form["password"] ?? "");
  if (!(await hasSecondFactor(ctx, checked))) return { user: checked, methods: ["pwd"] };
  const device = knownDevice(ctx, browserOf(visit).deviceProof, checked);
  const attempt = formIdOf(form) ?? randomToken();
  await checkCode(ctx, checked, { code: form["code"] ?? "", attempt, device }, askerOf(request));
  return { user: checked, methods: PASSWORD_AND_CODE };
}

async function showConfirm(visit: Visit, { session, user }: Owner, error: AuthError | null): Promise<FastifyReply> {
  return renderPage(visit, "confirm", {
    fields: { ...formFields(session, CONFIRM_PATH, {}), form: randomToken() },
    email: user.email,
    hasPassword: user.hasPassword,
    hasFactor: await hasSecondFactor(visit.ctx, user),
    isWrong: error?.code === "invalid_credentials",
    problem: error?.code === "rate_limited" ? error.code : null,
  });
}
