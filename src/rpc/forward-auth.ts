import { METHODS } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type Demands, decideForProxy } from "../oauth/tokens/forward-auth.ts";
import type { AccessTokenClaims } from "../token/access-token.ts";
import { wwwAuthenticate } from "../token/gateway.ts";

const path = "/authorize-request";
const operation = "authorize-request";
/** Envoy asks with the method of the request, which may be one of WebDAV. CONNECT is no request for a path. */
const methods = METHODS.filter((method) => method !== "CONNECT");
/** The answer while a token cannot be told good from bad. */
export const COME_AGAIN = { status: 503, error: "Service Unavailable", retryAfterSeconds: 1 } as const;

/**
 * What proxies ask about a request before they let it through: nginx `auth_request`, Traefik `forwardAuth`, Caddy `forward_auth`, HAProxy,
 * Envoy's `ext_authz` over HTTP. 200 with headers that name the user and the client, else a row of the gateway's table.
 */
export async function addForwardAuth(server: FastifyInstance, ctx: OAuthContext): Promise<void> {
  for (const method of methods.filter((each) => !server.supportedMethods.includes(each))) {
    server.addHttpMethod(method, { hasBody: true });
  }
  await server.register(async (scope) => {
    // the body belongs to the proxied request: it is not read, whatever its content type is, or if that is none at all
    scope.addHook("onRequest", async ({ headers }) => {
      headers["content-type"] = "application/octet-stream";
    });
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", (_request, _body, done) => done(null));
    scope.addHook("onResponse", (_request, reply, done) => {
      const outcome = String(reply.statusCode);
      ctx.metrics.requests.observe({ edge: "proxy", operation, outcome }, reply.elapsedTime / 1000);
      done();
    });
    const byQuery = (request: FastifyRequest) => new URL(request.url, "http://proxy").searchParams;
    // Envoy appends path and query of the request, which its sender chooses: only what is before them counts
    const byPath = ({ params }: FastifyRequest) =>
      new URLSearchParams((params as { demands: string }).demands.replace(/^-$/, ""));
    for (const [url, demandsOf] of [
      [path, byQuery],
      [`${path}/:demands`, byPath],
      [`${path}/:demands/*`, byPath],
    ] as const) {
      scope.route({
        method: [...methods],
        url,
        exposeHeadRoute: false,
        handler: (request, reply) => answer(ctx, request, reply, demandsOf(request)),
      });
    }
  });
}

async function answer(
  ctx: OAuthContext,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: URLSearchParams,
): Promise<FastifyReply> {
  const demands = readDemands(ctx, asked, path);
  if (demands === null) return reply.code(400).send({ error: "Bad Request" });
  try {
    const decision = await decideForProxy(ctx, request.headers.authorization ?? null, demands);
    if (decision.allowed) return reply.headers(identityOf(decision.claims)).send();
    const { status, error } = decision.refusal;
    return reply.code(status).header("www-authenticate", wwwAuthenticate(decision.refusal, "Bearer")).send({ error });
  } catch (error) {
    if (!(error instanceof AuthError) || error.code !== "unavailable") throw error;
    const { status, error: text, retryAfterSeconds } = COME_AGAIN;
    return reply.code(status).header("retry-after", String(retryAfterSeconds)).send({ error: text });
  }
}

/** @param place for the log @returns null where something else or nothing is asked: a misspelt or unset parameter would let everybody in who has any token */
export function readDemands(ctx: OAuthContext, asked: URLSearchParams, place: string): Demands | null {
  const isDemand = ([name, value]: [string, string]) =>
    (name === "scope" || name === "audience") && value.trim() !== "";
  const others = [...asked].filter((pair) => !isDemand(pair)).map(([name]) => name.slice(0, 100));
  if (others.length > 0) {
    ctx.log.warn(
      { parameters: others.slice(0, 10) },
      `a proxy asks ${place} with another parameter than scope and audience, or with an empty one: correct its settings`,
    );
    return null;
  }
  const scopes = asked.getAll("scope").flatMap((scope) => scope.split(" ").filter((each) => each !== ""));
  return { scopes, audiences: asked.getAll("audience") };
}

/** All of them each time: a proxy that copies them replaces what the sender of the request claimed. */
export function identityOf({ sub, client_id, scope, aud, roles }: AccessTokenClaims): Record<string, string> {
  return {
    "x-auth-subject": sub,
    "x-auth-client": client_id,
    "x-auth-scope": scope,
    "x-auth-audience": [aud].flat().join(" "),
    "x-auth-roles": (roles ?? []).join(" "),
  };
}
