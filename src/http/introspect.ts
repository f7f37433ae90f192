import type { FastifyInstance } from "fastify";
import type { Context } from "../context.ts";
import { AuthError } from "../errors.ts";
import { networkOf } from "../limits.ts";
import { authenticateHttpCaller } from "../oauth/callers.ts";
import { forms, introspect } from "../oauth/introspection.ts";
import { paths } from "../oauth/metadata.ts";
import { readForm } from "./parameters.ts";

/** POST /oauth2/introspect (RFC 7662): the HTTP twin of IntrospectionService.Introspect. */
export function introspectEndpoint(app: FastifyInstance, ctx: Context): void {
  app.post(paths.introspect, async (request, reply) => {
    const parameters = readForm(request);
    const authorization = request.headers.authorization ?? null;
    const credentials = {
      authorization,
      parameters,
      get network() {
        return networkOf(request.ip);
      },
    };
    const caller = await authenticateHttpCaller(ctx, credentials);
    if (!caller.scopes.has("auth.introspect")) throw new AuthError("forbidden", "scope auth.introspect is needed");
    const token = parameters["token"];
    if (token === undefined) throw new AuthError("invalid_request", "token is missing");
    const introspection = await introspect(ctx, caller.client, token);
    const kept = introspection.active ? introspection[forms] : undefined;
    if (kept === undefined) return introspection;
    kept.json ??= JSON.stringify(introspection);
    return reply.type("application/json; charset=utf-8").send(kept.json);
  });
}
