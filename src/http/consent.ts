import type { FastifyInstance } from "fastify";
import { continueRequest, describeRequest, findPendingRequest } from "../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { getUser } from "../users/users.ts";
import { goOn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { browserOf, checkForm, FormRefused, formFields, pathOf, sessionOf } from "./visit.ts";

/** GET and POST /consent: what a client that is not first-party may do, asked once for each set of scopes. */
export function consentPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/consent", async (visit) => {
    const session = await sessionOf(visit);
    if (session === null || session.userId === null) return visit.reply.redirect(pathOf(ctx, "/login"), 302);
    const pending = await findPendingRequest(ctx, session, readQuery(visit.request)["request"]);
    if (pending === null) throw new FormRefused();
    const about = await describeRequest(ctx, pending);
    if (about === null) throw new FormRefused();
    return renderPage(visit, "consent", {
      fields: formFields(session, "consent", { request: pending.id }),
      account: (await getUser(ctx, session.userId)).email,
      ...about,
    });
  });

  page.post("/consent", async (visit) => {
    const form = readForm(visit.request);
    const session = await checkForm(visit, "consent", form);
    const pending = await findPendingRequest(ctx, session, form["request"]);
    if (pending === null || session.userId === null) throw new FormRefused();
    const allowed = form["decision"] === "allow";
    return goOn(visit, await continueRequest(ctx, pending, session, browserOf(visit), allowed));
  });
}
