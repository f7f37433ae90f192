import type { FastifyInstance, FastifyReply } from "fastify";
import { randomToken } from "../crypto/hashes.ts";
import { listFactors } from "../factors/factors.ts";
import { hasSecondFactor } from "../factors/second-step.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { loginOf, storeLogin } from "../sessions/sessions.ts";
import type { UserToSignIn } from "../store/users.ts";
import { checkCurrentPassword } from "../users/users.ts";
import { refusalOn } from "./error-table.ts";
import { formFields, formIdOf } from "./forms.ts";
import { type Owner, ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readQuery } from "./parameters.ts";
import { checkPasskeyOf, ownPasskeyButton } from "./passkey-button.ts";
import { checkSecondFactor, problemOf, type SecondFactorProblem } from "./second-step.ts";
import { browserOf, pathOf, setDeviceCookie, setSessionCookie, type Visit } from "./visit.ts";

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
    if (owner === null) return visit.reply.redirect(pathOf(ctx, "/login"), 302);
    return showConfirm(visit, owner, { next: nextOf(readQuery(visit.request)["next"]), problem: null });
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
      return visit.reply.redirect(pathOf(ctx, nextOf(form["next"])), 303);
    } catch (error) {
      const refusal = refusalOn(visit.reply, error, ["invalid_credentials", "rate_limited"]);
      return showConfirm(visit, owner, { next: nextOf(form["next"]), problem: problemOf(refusal, form) });
    }
  });
}

/**
 * A passkey alone, or the password and then the code: strangers at an open session cannot use the codes' count up.
 * @returns the user, and how they proved to be it (`amr` values)
 */
async function checkAgain(
  visit: Visit,
  user: UserToSignIn,
  form: Parameters,
): Promise<{ user: UserToSignIn; methods: readonly string[] }> {
  const { ctx } = visit;
  if (form["credential"] !== undefined) return checkPasskeyOf(visit, form, user);
  const checked = await checkCurrentPassword(ctx, user.uuid, form["password"] ?? "");
  if (!(await hasSecondFactor(ctx, checked))) return { user: checked, methods: ["pwd"] };
  return { user: checked, methods: await checkSecondFactor(visit, checked, form) };
}

async function showConfirm(
  visit: Visit,
  { session, user }: Owner,
  { next, problem }: { readonly next: NextPage; readonly problem: SecondFactorProblem | null },
): Promise<FastifyReply> {
  const { totp, passkeys, recoveryCodes } = await listFactors(visit.ctx, user.uuid);
  const fields = { ...formFields(session, CONFIRM_PATH, { next }), form: randomToken() };
  const hasCode = totp !== null || (passkeys.length > 0 && recoveryCodes > 0);
  return renderPage(visit, "confirm", {
    fields,
    email: user.email,
    takesPassword: user.hasPassword && (passkeys.length === 0 || hasCode),
    takesCode: user.hasPassword && hasCode,
    ...ownPasskeyButton(visit, fields.csrf, { uuid: user.uuid, passkeys }, CONFIRM_PATH),
    problem,
  });
}
