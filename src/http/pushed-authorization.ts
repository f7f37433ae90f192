import type { FastifyInstance } from "fastify";
import { networkOf } from "../limits.ts";
import { pushAuthorizationRequest } from "../oauth/authorization/pushed-authorization.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { proofOf } from "./dpop.ts";
import { REPEATABLE, readForm } from "./parameters.ts";
import { addressOf } from "./request-info.ts";

/** POST /oauth2/par (RFC 9126 section 2). */
export function pushedAuthorizationEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  app.post(PATHS.pushedAuthorization, async (request, reply) => {
    const parameters = readForm(request, REPEATABLE.resource);
    const authorization = request.headers.authorization ?? null;
    const network = networkOf(addressOf(request));
    const credentials = { parameters, authorization, network };
    return reply.code(201).send(await pushAuthorizationRequest(ctx, credentials, proofOf(ctx, request)));
  });
}
