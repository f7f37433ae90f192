import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import type { PendingRequest } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { cancelDeletion, findClosed } from "../users/deletion.ts";
import { getUser } from "../users/users.ts";
import { askerOf } from "./asker.ts";
import { ANSWERS } from "./error-table.ts";
import { checkOpenForm, FormRefused, openFormFields } from "./forms.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm } from "./parameters.ts";
import type { Visit } from "./visit.ts";
import { requestOfForm, shownOf } from "./waiting-request.ts";

/** POST /account/restore: opens a closed account again. Its form comes with the answer to a sign-in that was right. */
export function accountRestorePage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.post("/account/restore", async (visit) => {
    const form = readForm(visit.request);
    const session = await checkOpenForm(visit, "restore", form);
    const opened = openClosed(ctx, form["closed"] ?? "");
    if (opened === null) throw new FormRefused();
    const { uuid, erasedAt } = opened;
    const closed = await findClosed(ctx, { uuid });
    // it was kept by this form, and closed again since
    if (closed !== null && erasedAt !== 0 && closed.erasedAt !== erasedAt) throw new FormRefused();
    const pending = await requestOfForm(visit, session, form);
    await cancelDeletion(ctx, uuid, askerOf(visit.request)).catch((error: unknown) => {
      // pressed twice: it is open again
      if (!(error instanceof AuthError) || error.code !== "invalid_request") throw error;
    });
    // it is kept, but an operator has disabled it meanwhile
    if ((await getUser(ctx, uuid)).disabledAt !== null) throw new FormRefused();
    return renderPage(visit, "account-restored", await shownOf(visit, pending));
  });
}

/** After a sign-in that was right, the second step included: the account was closed, and may be kept. It is signed in to once it is open. */
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
      closed: sealClosed(ctx, closed.user.uuid, closed.erasedAt),
    }),
    at: closed.erasedAt,
    zone: closed.user.claims.zoneinfo ?? "UTC",
  });
}

/** That the sign-in to a closed account was right, for an hour. It is good for the time that the account was closed, and not for a later one. */
const closedPurpose = "closed account";
const closedForMs = 3_600_000;

function sealClosed(ctx: OAuthContext, uuid: string, erasedAt: number): string {
  return ctx.derivedKeys.pendingRequests.seal(`${ctx.clock.now() + closedForMs} ${uuid} ${erasedAt}`, closedPurpose);
}

/** @returns the account, and when it was to be erased (0: a replica of the previous release does not say); null: this service did not make it, or too long ago */
function openClosed(ctx: OAuthContext, sealed: string): { readonly uuid: string; readonly erasedAt: number } | null {
  try {
    const text = ctx.derivedKeys.pendingRequests.open(sealed, closedPurpose).toString();
    const [until = "", uuid = "", erasedAt = ""] = text.split(" ");
    return Number(until) > ctx.clock.now() ? { uuid, erasedAt: Number(erasedAt) } : null;
  } catch {
    return null;
  }
}
