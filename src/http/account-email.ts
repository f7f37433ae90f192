import type { FastifyInstance, FastifyReply } from "fastify";
import type { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { pendingEmailOf, requestEmailChange } from "../users/email-verification.ts";
import { getUser } from "../users/users.ts";
import { askerOf } from "./asker.ts";
import { refusalOn } from "./error-table.ts";
import { formFields } from "./forms.ts";
import { ownForm, type SignedIn, signedInOf } from "./own-form.ts";
import { pageRoutes } from "./page-routes.ts";
import { fieldProblems } from "./pages/field-problems.ts";
import { renderPage } from "./pages/render.ts";
import { pathOf, type Visit } from "./visit.ts";

const path = "/account/email";

/** GET and POST /account/email: another address, which is the account's once its link was opened. */
export function accountEmailPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(path, async (visit) => {
    const session = await signedInOf(visit);
    if (session === null) return visit.reply.redirect(pathOf(ctx, "/login"), 302);
    return showForm(visit, session, { email: "", error: null });
  });

  page.post(path, async (visit) => {
    const { session, form } = await ownForm(visit, () => path);
    const { email = "", current_password: currentPassword = "" } = form;
    try {
      await requestEmailChange(ctx, {
        uuid: session.userId,
        email,
        currentPassword,
        asker: askerOf(visit.request),
      });
    } catch (thrown) {
      const error = refusalOn(visit.reply, thrown, ["invalid_input", "invalid_credentials", "rate_limited"]);
      return showForm(visit, session, { email, error });
    }
    return visit.reply.redirect(pathOf(ctx, path), 303);
  });
}

async function showForm(
  visit: Visit,
  session: SignedIn,
  { email, error }: { readonly email: string; readonly error: AuthError | null },
): Promise<FastifyReply> {
  const user = await getUser(visit.ctx, session.userId);
  return renderPage(visit, "account-email", {
    fields: formFields(session, path, {}),
    own: user.email,
    isVerified: user.emailVerified,
    waiting: await pendingEmailOf(visit.ctx, user.uuid),
    email,
    isWrong: error?.code === "invalid_credentials",
    problem: error?.code === "rate_limited" ? error.code : null,
    problems: fieldProblems(error),
  });
}
