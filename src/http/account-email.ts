import type { FastifyInstance, FastifyReply } from "fastify";
import { randomToken } from "../crypto/hashes.ts";
import type { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { pendingEmailOf, requestEmailChange } from "../users/email-verification.ts";
import { askerOf } from "./asker.ts";
import { confirmFor } from "./confirm.ts";
import { refusalOn } from "./error-table.ts";
import { formFields, formIdOf } from "./forms.ts";
import { mustConfirm, type Owner, ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { pageRoutes } from "./page-routes.ts";
import { fieldProblems } from "./pages/field-problems.ts";
import { renderPage } from "./pages/render.ts";
import { pathOf, type Visit } from "./visit.ts";

const path = "/account/email";

/** GET and POST /account/email: another address, which is the account's once its link was opened. */
export function accountEmailPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(path, async (visit) => {
    const owner = await ownerOf(visit);
    if (owner === null) return visit.reply.redirect(pathOf(ctx, "/login"), 302);
    if (mustConfirm(owner)) return visit.reply.redirect(confirmFor(ctx, path), 302);
    return showForm(visit, owner, { email: "", error: null });
  });

  page.post(path, async (visit) => {
    const owner = await ownerOfForm(visit, () => path);
    const { user, session: acting, isFresh: isFreshSignIn, form } = owner;
    if (mustConfirm(owner)) return visit.reply.redirect(confirmFor(ctx, path), 303);
    const { email = "", current_password: currentPassword = "" } = form;
    try {
      await requestEmailChange(ctx, {
        uuid: user.uuid,
        email,
        currentPassword,
        isFreshSignIn,
        asker: askerOf(visit.request),
        acting,
        form: formIdOf(form),
      });
    } catch (thrown) {
      const error = refusalOn(visit.reply, thrown, ["invalid_input", "invalid_credentials", "rate_limited"]);
      return showForm(visit, owner, { email, error });
    }
    return visit.reply.redirect(pathOf(ctx, path), 303);
  });
}

async function showForm(
  visit: Visit,
  { session, user }: Owner,
  { email, error }: { readonly email: string; readonly error: AuthError | null },
): Promise<FastifyReply> {
  return renderPage(visit, "account-email", {
    fields: { ...formFields(session, path, {}), form: randomToken() },
    own: user.email,
    takesPassword: user.hasPassword,
    isVerified: user.emailVerified,
    waiting: await pendingEmailOf(visit.ctx, user.uuid),
    email,
    isWrong: error?.code === "invalid_credentials",
    problem: error?.code === "rate_limited" ? error.code : null,
    problems: fieldProblems(error),
  });
}
