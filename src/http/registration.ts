import type { FastifyInstance, FastifyRequest } from "fastify";
import { networkOf } from "../limits.ts";
import {
  type ConfigurationRequest,
  deleteRegistration,
  readRegistration,
  registerClient,
  replaceRegistration,
} from "../oauth/clients/registration.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { readJson } from "./parameters.ts";
import { addressOf } from "./request-info.ts";

/** POST /oauth2/register (RFC 7591), and GET, PUT, DELETE /oauth2/register/:client_id (RFC 7592). */
export function registrationEndpoints(app: FastifyInstance, ctx: OAuthContext): void {
  app.post(PATHS.register, async (request, reply) => {
    const { authorization = null } = request.headers;
    const registration = { authorization, network: networkOf(addressOf(request)), json: readJson(request) };
    return reply.code(201).send(await registerClient(ctx, registration));
  });

  const configuration = `${PATHS.register}/:client_id`;
  app.get(configuration, { exposeHeadRoute: true }, (request) => readRegistration(ctx, configurationRequest(request)));
  app.put(configuration, (request) => replaceRegistration(ctx, configurationRequest(request), readJson(request)));
  app.delete(configuration, async (request, reply) => {
    await deleteRegistration(ctx, configurationRequest(request));
    return reply.code(204).send();
  });
}

function configurationRequest(request: FastifyRequest): ConfigurationRequest {
  const { client_id: clientId } = request.params as { client_id: string };
  return { clientId, authorization: request.headers.authorization ?? null, network: networkOf(addressOf(request)) };
}
