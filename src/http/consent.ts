import type { FastifyInstance } from "fastify";
import { continueRequest, describeRequest, findPendingRequest } from "../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { getUser } from "../users/users.ts";
import { browserOf, checkForm, FormRefused, formFields, pathOf, sessionOf } from "./browser.ts";
import { goOn } from "./go-on.ts";
import { onErrorPage } from "./pages/error-page.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";

/** GET and POST /consent: what a client that is not first-party may do, asked once for each set of scopes. */
export function consentPage(app: FastifyInstance, ctx: OAuthContext): void {
  app.get("/consent", { errorHandler: onErrorPage(ctx) }, async (request, reply) => {
    const session = await sessionOf(ctx, request);
    if (session === null || session.userId === null) return reply.redirect(pathOf(ctx, "/login"), 302);
    const pending = await findPendingRequest(ctx, session, readQuery(request)["request"]);
    if (pending === null) throw new FormRefused();
    const about = await describeRequest(ctx, pending);
    if (about === null) throw new FormRefused();
    return renderPage(ctx, request, reply, "consent", {
      fields: formFields(session, "consent", { request: pending.id }),
      account: (await getUser(ctx, session.userId)).email,
      ...about,
    });
  });

  app.post("/consent", { errorHandler: onErrorPage(ctx) }, async (request, reply) => {
    const form = readForm(request);
    const session = checkForm(ctx, request, await sessionOf(ctx, request), "consent", form);
    const pending = await findPendingRequest(ctx, session, form["request"]);
    if (pending === null || session.userId === null) throw new FormRefused();
    const allowed = form["decision"] === "allow";
    return goOn(
      ctx,
      request,
      reply,
      await continueRequest(ctx, pending, session, browserOf(ctx, request), allowed),
      303,
    );
  });
}
