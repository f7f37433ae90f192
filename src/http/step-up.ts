import type { FastifyInstance } from "fastify";
import { listFactors } from "../factors/factors.ts";
import { continueRequest } from "../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PASSKEY_ACR } from "../token/authentication.ts";
import { getUserToSignIn } from "../users/users.ts";
import { goOn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readQuery } from "./parameters.ts";
import { showStepUp } from "./second-step.ts";
import { browserOf, sessionOf } from "./visit.ts";
import { demandRequest, forgetLatest, rememberLatest, shownOf } from "./waiting-request.ts";

/**
 * GET /step-up: an application wants a second factor of who is signed in (`acr_values`, RFC 9470; `require_acr`). Who has none is asked to set
 * one up first, and comes back here.
 */
export function stepUpPage(app: FastifyInstance, ctx: OAuthContext): void {
  pageRoutes(app, ctx).get("/step-up", async (visit) => {
    const session = await sessionOf(visit);
    const { request: carried, checked } = readQuery(visit.request);
    const pending = await demandRequest(visit, session, carried);
    const next = await continueRequest(ctx, pending, session, browserOf(visit));
    // signed out meanwhile, or stepped up in another tab
    if (next.to !== "step-up" || session === null || session.userId === null) {
      if (next.to === "client" || next.to === "client-form") forgetLatest(visit, pending);
      return goOn(visit, next);
    }
    const user = await getUserToSignIn(ctx, session.userId);
    const { totp, passkeys } = await listFactors(ctx, user.uuid);
    const needsPasskey = next.acr === PASSKEY_ACR;
    if (passkeys.length > 0 || (totp !== null && !needsPasskey))
      return showStepUp(visit, { user, session }, pending, next.acr);
    rememberLatest(visit, pending);
    return renderPage(visit, "step-up", {
      ...(await shownOf(visit, pending)),
      needsPasskey,
      isStillMissing: checked !== undefined,
      offersPasskeys: ctx.config.passkeys !== null,
    });
  });
}
