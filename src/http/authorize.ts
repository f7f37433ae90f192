import type { FastifyInstance, FastifyReply } from "fastify";
import { authorize, refuseAtClient } from "../oauth/authorization/authorize.ts";
import { resolvePushedRequest } from "../oauth/authorization/pushed-authorization.ts";
import { withoutUnknown } from "../oauth/authorization/request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { goOn } from "./go-on.ts";
import { pageRoutes } from "./page-routes.ts";
import { type Parameters, REPEATABLE, readForm, readQuery, UnreadableRequest } from "./parameters.ts";
import { browserOf, pathOf, sessionOf, type Visit } from "./visit.ts";

/** GET and POST /oauth2/authorize (RFC 6749 section 3.1). */
export function authorizeEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(PATHS.authorize, (visit) =>
    tellingClient(visit, () => answer(visit, readQuery(visit.request, REPEATABLE.resource))),
  );

  page.post(PATHS.authorize, (visit) =>
    tellingClient(visit, () => answerForm(visit, readForm(visit.request, REPEATABLE.resource))),
  );
}

function answerForm(visit: Visit, parameters: Parameters): FastifyReply | Promise<FastifyReply> {
  const { ctx, request, reply } = visit;
  // a cross-site POST comes without the SameSite=Lax cookie: the GET that follows brings it
  if (request.headers["sec-fetch-site"] === "cross-site") {
    return reply.redirect(`${pathOf(ctx, PATHS.authorize)}?${new URLSearchParams(withoutUnknown(parameters))}`, 303);
  }
  return answer(visit, parameters);
}

/**
 * A parameter that cannot be read, as one that stands there twice, is the client's to know (RFC 6749 section 4.1.2.1), unless it leaves client
 * or redirect URI in doubt.
 */
async function tellingClient(visit: Visit, work: () => FastifyReply | Promise<FastifyReply>): Promise<FastifyReply> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof UnreadableRequest)) throw error;
    const { client_id: clientId, redirect_uri: redirectUri, request_uri: pushed } = error.readable;
    if (clientId === undefined || redirectUri === undefined || pushed !== undefined) throw error;
    return goOn(visit, await refuseAtClient(visit.ctx, error.readable, error.description));
  }
}

async function answer(visit: Visit, given: Parameters): Promise<FastifyReply> {
  const { ctx } = visit;
  const { parameters, pushedHash } = await resolvePushedRequest(ctx, given);
  return goOn(visit, await authorize(ctx, parameters, () => sessionOf(visit), browserOf(visit), pushedHash));
}
