import type { FastifyInstance, FastifyReply } from "fastify";
import { authorize } from "../oauth/authorization/authorize.ts";
import { resolvePushedRequest } from "../oauth/authorization/pushed-authorization.ts";
import { withoutUnknown } from "../oauth/authorization/request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { goOn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { type Parameters, REPEATABLE, readForm, readQuery } from "./parameters.ts";
import { browserOf, pathOf, sessionOf, type Visit } from "./visit.ts";

/** GET and POST /oauth2/authorize (RFC 6749 section 3.1). */
export function authorizeEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(PATHS.authorize, (visit) => answer(visit, readQuery(visit.request, REPEATABLE.resource)));

  page.post(PATHS.authorize, (visit) => {
    const { request, reply } = visit;
    const parameters = readForm(request, REPEATABLE.resource);
    // a cross-site POST comes without the SameSite=Lax cookie: the GET that follows brings it
    if (request.headers["sec-fetch-site"] === "cross-site") {
      return reply.redirect(`${pathOf(ctx, PATHS.authorize)}?${new URLSearchParams(withoutUnknown(parameters))}`, 303);
    }
    return answer(visit, parameters);
  });
}

async function answer(visit: Visit, given: Parameters): Promise<FastifyReply> {
  const { ctx } = visit;
  const { parameters, pushedHash } = await resolvePushedRequest(ctx, given);
  return goOn(visit, await authorize(ctx, parameters, () => sessionOf(visit), browserOf(visit), pushedHash));
}
