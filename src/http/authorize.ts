import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { authorize } from "../oauth/authorization/authorize.ts";
import { resolvePushedRequest } from "../oauth/authorization/pushed-authorization.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { paths } from "../oauth/metadata.ts";
import { browserOf, pathOf, sessionOf } from "./browser.ts";
import { goOn } from "./go-on.ts";
import { onErrorPage } from "./pages/error-page.ts";
import { type Parameters, readForm, readQuery } from "./parameters.ts";

/** GET and POST /oauth2/authorize (RFC 6749 section 3.1). */
export function authorizeEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  const answer = async (request: FastifyRequest, reply: FastifyReply, given: Parameters, status: 302 | 303) => {
    const { parameters, pushedHash } = await resolvePushedRequest(ctx, given);
    const session = await sessionOf(ctx, request);
    const next = await authorize(ctx, parameters, session, browserOf(ctx, request), pushedHash);
    return goOn(ctx, request, reply, next, status);
  };

  app.get(paths.authorize, { errorHandler: onErrorPage(ctx) }, (request, reply) =>
    answer(request, reply, readQuery(request), 302),
  );

  app.post(paths.authorize, { errorHandler: onErrorPage(ctx) }, (request, reply) => {
    const parameters = readForm(request);
    // a cross-site POST comes without the SameSite=Lax cookie: the GET that follows brings it
    if (request.headers["sec-fetch-site"] === "cross-site") {
      return reply.redirect(`${pathOf(ctx, paths.authorize)}?${new URLSearchParams(parameters)}`, 303);
    }
    return answer(request, reply, parameters, 303);
  });
}
