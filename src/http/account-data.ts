import type { FastifyInstance, FastifyReply } from "fastify";
import type { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { exportUser } from "../oauth/user-export.ts";
import { findClosed, requestOwnDeletion } from "../users/deletion.ts";
import { askerOf } from "./asker.ts";
import { confirmFor } from "./confirm.ts";
import { refusalOn } from "./error-table.ts";
import { FormRefused, formFields, isOfEndedSession, openAccount, sealAccount } from "./forms.ts";
import { mustConfirm, type Owner, ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { ownForm } from "./own-form.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { clearSessionCookie, pathOf, type Visit } from "./visit.ts";

const path = "/account/data";
const exportPath = "/account/export";
const deletePath = "/account/delete";
const closedPath = "/account/closed";

/** What is stored about a user as a file, and the way to have it erased. */
export function accountDataPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(path, async (visit) => {
    const owner = await ownerOf(visit);
    if (owner === null) return visit.reply.redirect(pathOf(ctx, "/login"), 302);
    return showData(visit, owner, null);
  });

  page.post(exportPath, async (visit) => {
    const { session } = await ownForm(visit, () => exportPath);
    const data = await exportUser(ctx, session.userId);
    return visit.reply
      .header("content-disposition", 'attachment; filename="account.json"')
      .type("application/json; charset=utf-8")
      .send(`${JSON.stringify(data, null, 2)}\n`);
  });

  page.post(deletePath, async (visit) => {
    const typed = readForm(visit.request);
    // pressed twice: the first press ended the session
    if (await isOfEndedSession(visit, deletePath, typed)) return goClosed(visit, typed["account"] ?? "");
    const owner = await ownerOfForm(visit, () => deletePath);
    const { user, session: acting, isFresh: isFreshSignIn, form } = owner;
    if (mustConfirm(owner)) return visit.reply.redirect(confirmFor(ctx, path), 303);
    const proof = { currentPassword: form["current_password"] ?? "", isFreshSignIn };
    try {
      await requestOwnDeletion(ctx, { uuid: user.uuid, ...proof, asker: askerOf(visit.request), acting });
    } catch (error) {
      // pressed twice at the same moment, or in another tab: it is closed already
      const isClosed = (await findClosed(ctx, { uuid: user.uuid })) !== null;
      if (!isClosed) {
        return showData(visit, owner, refusalOn(visit.reply, error, ["invalid_credentials", "rate_limited"]));
      }
    }
    clearSessionCookie(visit);
    return goClosed(visit, sealAccount(ctx, closedPath, user.uuid));
  });

  // a page of its own, which can be loaded again
  page.get(closedPath, (visit) =>
    showClosed(visit, openAccount(ctx, closedPath, readQuery(visit.request)["account"] ?? "")),
  );
}

async function showData(visit: Visit, { session, user }: Owner, error: AuthError | null): Promise<FastifyReply> {
  return renderPage(visit, "account-data", {
    account: user.email,
    takesPassword: user.hasPassword,
    exportFields: formFields(session, exportPath, {}),
    deleteFields: formFields(session, deletePath, { account: sealAccount(visit.ctx, closedPath, session.userId) }),
    isWrong: error?.code === "invalid_credentials",
    problem: error?.code === "rate_limited" ? error.code : null,
  });
}

function goClosed(visit: Visit, account: string): FastifyReply {
  return visit.reply.redirect(`${pathOf(visit.ctx, closedPath)}?${new URLSearchParams({ account })}`, 303);
}

async function showClosed(visit: Visit, uuid: string | null): Promise<FastifyReply> {
  const closed = uuid === null ? null : await findClosed(visit.ctx, { uuid });
  if (closed === null) throw new FormRefused();
  return renderPage(visit, "account-closed", { at: closed.erasedAt, zone: closed.user.claims.zoneinfo ?? "UTC" });
}
