import type { FastifyInstance } from "fastify";
import { networkOf } from "../limits.ts";
import { authorizeDevice } from "../oauth/authorization/device-authorization.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { REPEATABLE, readForm } from "./parameters.ts";
import { addressOf } from "./request-info.ts";

/** POST /oauth2/device_authorization (RFC 8628 section 3.1). */
export function deviceAuthorizationEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  app.post(PATHS.deviceAuthorization, (request) => {
    const parameters = readForm(request, REPEATABLE.resource);
    const { authorization = null, "user-agent": userAgent = "" } = request.headers;
    const credentials = { parameters, authorization, network: networkOf(addressOf(request)) };
    return authorizeDevice(ctx, credentials, { ipAddress: addressOf(request), userAgent });
  });
}
