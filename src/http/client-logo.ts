import type { FastifyInstance } from "fastify";
import { findClient } from "../oauth/clients/clients.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { readQuery } from "./parameters.ts";

const yearSeconds = 31_536_000;
/** An SVG that somebody opens by its address is a document: it runs no script, loads nothing and has no origin. */
const policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'";

interface Named {
  readonly Params: { readonly version: string };
}

/** GET /client-logo/VERSION?client_id=ID: the logo of a client, for the pages that name it. */
export function clientLogo(app: FastifyInstance, ctx: OAuthContext): void {
  app.get<Named>("/client-logo/:version", { exposeHeadRoute: true }, async (request, reply) => {
    const { client_id: clientId = "" } = readQuery(request);
    const client = await findClient(ctx, clientId);
    const logo = client === null ? null : await ctx.clientLogos.find(ctx, client);
    if (logo === null) return reply.code(404).send({ error: "not_found" });
    // another version than the page named: the logo has changed since
    const keeps = request.params.version === logo.version ? `public, max-age=${yearSeconds}, immutable` : "no-store";
    return reply
      .header("content-security-policy", policy)
      .header("cross-origin-resource-policy", "same-origin")
      .header("cache-control", keeps)
      .type(logo.type)
      .send(logo.body);
  });
}
