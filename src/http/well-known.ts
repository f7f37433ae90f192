import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { OAuthContext } from "../oauth/context.ts";
import { authorizationServerMetadata, openidConfiguration } from "../oauth/metadata.ts";
import { PATHS } from "../oauth/paths.ts";
import { apiDocument } from "./api-document.ts";

export const OPEN_API_PATH = "/api/openapi.json";

/** Is this one of the documents below? They cost nothing and every verifier needs them. */
export function isPublicDocument(url: string): boolean {
  const [path = ""] = url.split("?", 1);
  return path === PATHS.jwks || path === OPEN_API_PATH || path.startsWith("/.well-known/");
}

const withHead = { exposeHeadRoute: true };

/** Discovery documents, the account API's description and the key set: public, cacheable, answered from memory. */
export function wellKnownEndpoints(app: FastifyInstance, ctx: OAuthContext): void {
  const { pathname } = new URL(ctx.config.issuer);
  const openid = JSON.stringify(openidConfiguration(ctx));
  const server = JSON.stringify(authorizationServerMetadata(ctx));
  const maxAge = ctx.config.jwksMaxAge;
  app.get("/.well-known/openid-configuration", withHead, (request, reply) =>
    sendCacheable(request, reply, openid, maxAge),
  );
  app.get("/.well-known/oauth-authorization-server", withHead, (request, reply) =>
    sendCacheable(request, reply, server, maxAge),
  );
  // RFC 8414 section 3.1: of an issuer with a path, clients look between host and path
  if (pathname !== "/") {
    const suffix = pathname.replace(/\/$/, "");
    app.get(`/.well-known/openid-configuration${suffix}`, withHead, (request, reply) =>
      sendCacheable(request, reply, openid, maxAge),
    );
    app.get(`/.well-known/oauth-authorization-server${suffix}`, withHead, (request, reply) =>
      sendCacheable(request, reply, server, maxAge),
    );
  }
  const api = JSON.stringify(apiDocument(ctx.config));
  app.get(OPEN_API_PATH, withHead, (request, reply) => sendCacheable(request, reply, api, maxAge));
  app.get(PATHS.jwks, withHead, (request, reply) =>
    sendCacheable(request, reply, JSON.stringify(ctx.keys.jwks()), maxAge),
  );
}

/** If-None-Match: a list of tags or `*`, compared weakly (RFC 9110 sections 8.8.3.2 and 13.1.2). */
function matchesTag(header: string | undefined, etag: string): boolean {
  const tags = (header ?? "").split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes(etag) || tags.includes("*");
}

function sendCacheable(request: FastifyRequest, reply: FastifyReply, json: string, maxAge: number): FastifyReply {
  const etag = `"${createHash("sha256").update(json).digest("base64url").slice(0, 22)}"`;
  reply.header("cache-control", `public, max-age=${maxAge}`).header("etag", etag);
  // the same for everybody: browser apps of any origin verify signatures, and caches keep one copy
  reply.header("access-control-allow-origin", "*").removeHeader("vary");
  if (matchesTag(request.headers["if-none-match"], etag)) return reply.code(304).send();
  return reply.type("application/json").send(json);
}
