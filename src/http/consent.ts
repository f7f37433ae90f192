import type { FastifyInstance, FastifyReply } from "fastify";
import { consentToShow, continueRequest, describeRequest } from "../oauth/authorization/authorize.ts";
import { type PendingRequest, withShown } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import type { BrowserSession } from "../sessions/sessions.ts";
import { getUser } from "../users/users.ts";
import { checkForm, FormRefused, formFields } from "./forms.ts";
import { goOn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { browserOf, sessionOf, type Visit } from "./visit.ts";
import { demandRequest } from "./waiting-request.ts";

/** GET and POST /consent: what a client that is not first-party may do, asked once for each set of scopes. */
export function consentPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/consent", async (visit) => {
    const session = await sessionOf(visit);
    const pending = await demandRequest(visit, session, readQuery(visit.request)["request"]);
    if (session === null || session.userId === null) {
      // signed out meanwhile: the login comes first again
      return goOn(visit, await continueRequest(ctx, pending, session, browserOf(visit)));
    }
    return showConsent(visit, { ...session, userId: session.userId }, pending);
  });

  page.post("/consent", async (visit) => {
    const form = readForm(visit.request);
    const session = await checkForm(visit, "consent", form);
    const pending = await demandRequest(visit, session, form["request"]);
    const { decision } = form;
    // a form without a decision decides nothing: the page is shown again
    const answer = decision === "allow" || decision === "deny" ? { allowed: decision === "allow" } : {};
    return goOn(visit, await continueRequest(ctx, pending, session, browserOf(visit), answer));
  });
}

async function showConsent(
  visit: Visit,
  session: BrowserSession & { readonly userId: string },
  pending: PendingRequest,
): Promise<FastifyReply> {
  const { ctx } = visit;
  const about = await describeRequest(ctx, pending);
  if (about === null) throw new FormRefused();
  const shown = await consentToShow(ctx, pending);
  const { carried } = withShown(ctx, pending, shown);
  return renderPage(visit, "consent", {
    fields: formFields(session, "consent", { request: carried }),
    carried: pending.carried,
    account: (await getUser(ctx, session.userId)).email,
    ...about,
    scopes: shown.scopes,
  });
}
