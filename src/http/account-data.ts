import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import type { PendingRequest } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { exportUser } from "../oauth/user-export.ts";
import { cancelDeletion, findClosed, requestOwnDeletion } from "../users/deletion.ts";
import { askerOf } from "./asker.ts";
import { confirmFor } from "./confirm.ts";
import { ANSWERS, refusalOn } from "./error-table.ts";
import {
  checkOpenForm,
  FormRefused,
  formFields,
  isOfEndedSession,
  openAccount,
  openFormFields,
  sealAccount,
} from "./forms.ts";
import { mustConfirm, type Owner, ownerOf, ownerOfForm } from "./fresh-sign-in.ts";
import { ownForm } from "./own-form.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { clearSessionCookie, pathOf, type Visit } from "./visit.ts";
import { requestOfForm, shownOf } from "./waiting-request.ts";

const path = "/account/data";
const exportPath = "/account/export";
const deletePath = "/account/delete";
const closedPath = "/account/closed";
const restorePath = "/account/restore";

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
    const { user, isFresh: isFreshSignIn, form } = owner;
    if (mustConfirm(owner)) return visit.reply.redirect(confirmFor(ctx, path), 303);
    const proof = { currentPassword: form["current_password"] ?? "", isFreshSignIn };
    try {
      await requestOwnDeletion(ctx, { uuid: user.uuid, ...proof, asker: askerOf(visit.request) });
    } catch (error) {
      return showData(visit, owner, refusalOn(visit.reply, error, ["invalid_credentials", "rate_limited"]));
    }
    clearSessionCookie(visit);
    return goClosed(visit, sealAccount(ctx, user.uuid));
  });

  // a page of its own, which can be loaded again
  page.get(closedPath, (visit) => showClosed(visit, openAccount(ctx, readQuery(visit.request)["account"] ?? "")));

  page.post(restorePath, async (visit) => {
    const form = readForm(visit.request);
    const session = await checkOpenForm(visit, "restore", form);
    const uuid = openClosed(ctx, form["closed"] ?? "");
    if (uuid === null) throw new FormRefused();
    const pending = await requestOfForm(visit, session, form);
    await cancelDeletion(ctx, uuid, askerOf(visit.request)).catch((error: unknown) => {
      // pressed twice: it is open again
      if (!(error instanceof AuthError) || error.code !== "invalid_request") throw error;
    });
    return renderPage(visit, "account-restored", await shownOf(visit, pending));
  });
}

async function showData(visit: Visit, { session, user }: Owner, error: AuthError | null): Promise<FastifyReply> {
  return renderPage(visit, "account-data", {
    account: user.email,
    takesPassword: user.hasPassword,
    exportFields: formFields(session, exportPath, {}),
    deleteFields: formFields(session, deletePath, { account: sealAccount(visit.ctx, session.userId) }),
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

/** After a login that was right: the account was closed, and may be kept. It is signed in to once it is open. */
export async function showRestore(
  visit: Visit,
  pending: PendingRequest | null,
  account: { readonly email: string } | { readonly uuid: string },
): Promise<FastifyReply> {
  const { ctx } = visit;
  const closed = await findClosed(ctx, account);
  if (closed === null) throw new FormRefused();
  const request = await shownOf(visit, pending);
  visit.reply.code(ANSWERS.account_closed.status);
  return renderPage(visit, "account-restore", {
    ...request,
    fields: await openFormFields(visit, "restore", {
      request: request.carried,
      closed: sealClosed(ctx, closed.user.uuid),
    }),
    at: closed.erasedAt,
    zone: closed.user.claims.zoneinfo ?? "UTC",
  });
}

/** That the password of a closed account was right, for an hour. */
const closedPurpose = "closed account";
const closedForMs = 3_600_000;

function sealClosed(ctx: OAuthContext, uuid: string): string {
  return ctx.derivedKeys.pendingRequests.seal(`${ctx.clock.now() + closedForMs} ${uuid}`, closedPurpose);
}

/** @returns the uuid; null: this service did not make it, or too long ago */
function openClosed(ctx: OAuthContext, sealed: string): string | null {
  try {
    const [until = "", uuid = ""] = ctx.derivedKeys.pendingRequests.open(sealed, closedPurpose).toString().split(" ");
    return Number(until) > ctx.clock.now() ? uuid : null;
  } catch {
    return null;
  }
}
