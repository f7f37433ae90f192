import type { FastifyInstance } from "fastify";
import { continueRequest } from "../oauth/authorization/authorize.ts";
import { withChoice } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { getUser } from "../users/users.ts";
import { checkForm, formFields } from "./forms.ts";
import { goOn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { browserOf, sessionOf } from "./visit.ts";
import { demandRequest, forgetLatest, shownOf } from "./waiting-request.ts";

/** GET and POST /select-account: who is signed in may go on, or another account (`prompt=select_account`). GET /cancel: neither. */
export function selectAccountPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/select-account", async (visit) => {
    const session = await sessionOf(visit);
    const pending = await demandRequest(visit, session, readQuery(visit.request)["request"]);
    if (session === null || session.userId === null) {
      // signed out meanwhile: a login comes first
      return goOn(visit, await continueRequest(ctx, pending, session, browserOf(visit)));
    }
    return renderPage(visit, "select-account", {
      ...(await shownOf(visit, pending)),
      fields: formFields(session, "select-account", { request: pending.carried }),
      account: (await getUser(ctx, session.userId)).email,
    });
  });

  page.post("/select-account", async (visit) => {
    const form = readForm(visit.request);
    const session = await checkForm(visit, "select-account", form);
    const pending = await demandRequest(visit, session, form["request"]);
    return goOn(visit, await continueRequest(ctx, withChoice(ctx, pending, session), session, browserOf(visit)));
  });

  page.get("/cancel", async (visit) => {
    const session = await sessionOf(visit);
    const pending = await demandRequest(visit, session, readQuery(visit.request)["request"]);
    forgetLatest(visit, pending);
    return goOn(visit, await continueRequest(ctx, pending, session, browserOf(visit), { allowed: false }));
  });
}
