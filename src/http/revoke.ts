import type { FastifyInstance } from "fastify";
import { AuthError } from "../errors.ts";
import { networkOf } from "../limits.ts";
import { authenticateClient } from "../oauth/clients/authentication.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { revokeToken } from "../oauth/tokens/revocation.ts";
import { readForm } from "./parameters.ts";
import { addressOf } from "./request-info.ts";

/** POST /oauth2/revoke (RFC 7009). */
export function revokeEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  app.post(PATHS.revoke, async (request, reply) => {
    const parameters = readForm(request);
    const authorization = request.headers.authorization ?? null;
    const { client } = await authenticateClient(ctx, {
      authorization,
      parameters,
      network: networkOf(addressOf(request)),
    });
    const token = parameters["token"];
    if (token === undefined) throw new AuthError("invalid_request", "token is missing");
    await revokeToken(ctx, client, token);
    return reply.code(200).send();
  });
}
