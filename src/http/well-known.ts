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

/** A document that is the same for everyone. */
interface Document {
  readonly json: string;
  readonly etag: string;
}

/** Discovery documents, the account API's description and the key set: public, cacheable, answered from memory. */
export function wellKnownEndpoints(app: FastifyInstance, ctx: OAuthContext): void {
  const { pathname } = new URL(ctx.config.issuer);
  const serve = (path: string, document: () => Document) => {
    app.get(path, withHead, (request, reply) => sendCacheable(request, reply, document(), ctx.config.jwksMaxAge));
  };
  const constant = (json: object) => {
    const document = documentOf(json);
    return () => document;
  };
  const openid = constant(openidConfiguration(ctx));
  const server = constant(authorizationServerMetadata(ctx));
  serve("/.well-known/openid-configuration", openid);
  serve("/.well-known/oauth-authorization-server", server);
  // RFC 8414 section 3.1: of an issuer with a path, clients look between host and path
  if (pathname !== "/") {
    const suffix = pathname.replace(/\/$/, "");
    serve(`/.well-known/openid-configuration${suffix}`, openid);
    serve(`/.well-known/oauth-authorization-server${suffix}`, server);
  }
  // WebAuthn section 5.11: where the passkeys of this RP ID are used, beside its own pages
  const [own, ...others] = ctx.config.passkeys?.origins ?? [];
  const related = others.filter((origin) => origin.startsWith("https:"));
  const origins = [own, ...related];
  if (related.length > 0) serve("/.well-known/webauthn", constant({ origins }));
  serve(OPEN_API_PATH, constant(apiDocument(ctx.config)));
  serve(PATHS.jwks, keySetOf(ctx));
}

/** Serializes the key set again only when its keys change. */
function keySetOf({ keys }: OAuthContext): () => Document {
  let written = { kids: "", document: documentOf({ keys: [] }) };
  return () => {
    const set = keys.jwks();
    const kids = set.keys.map(({ kid }) => kid).join(" ");
    if (kids !== written.kids) written = { kids, document: documentOf(set) };
    return written.document;
  };
}

function documentOf(content: object): Document {
  const json = JSON.stringify(content);
  return { json, etag: `"${createHash("sha256").update(json).digest("base64url").slice(0, 22)}"` };
}

/** If-None-Match: a list of tags or `*`, compared weakly (RFC 9110 sections 8.8.3.2 and 13.1.2). */
function matchesTag(header: string, etag: string): boolean {
  const tags = header.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes(etag) || tags.includes("*");
}

function sendCacheable(
  request: FastifyRequest,
  reply: FastifyReply,
  { json, etag }: Document,
  maxAge: number,
): FastifyReply {
  // the same for everybody: browser apps of any origin verify signatures, and caches keep one copy
  reply.headers({ "cache-control": `public, max-age=${maxAge}`, etag, "access-control-allow-origin": "*" });
  const { "if-none-match": known } = request.headers;
  if (known !== undefined && matchesTag(known, etag)) return reply.code(304).send();
  return reply.type("application/json").send(json);
}
