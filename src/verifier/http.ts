import type { IncomingMessage, ServerResponse } from "node:http";
import { type Decision, toHttp } from "./decision.ts";
import { DOCUMENT_HEADERS, DOCUMENT_METHODS, PREFLIGHT_HEADERS } from "./protected-resource.ts";
import { setClaims } from "./request-claims.ts";
import type { Verifier, VerifyOptions } from "./verifier.ts";

export { claimsOf } from "./request-claims.ts";

/**
 * Middleware that serves the metadata document of the verifier's `protectedResource` (RFC 9728 section 3) and passes every other request on:
 * put it before `requireToken`. With Connect (the RPC framework) it goes in front of the adapter.
 * @throws Error the verifier has no such option
 */
export function serveProtectedResource(
  verifier: Verifier,
): (request: IncomingMessage, response: ServerResponse, next: () => void) => void {
  const resource = verifier.protectedResource();
  if (resource === null) throw new Error("the verifier has no option protectedResource");
  return (request, response, next) => {
    const { method, url } = request;
    const { originalUrl = url } = request as { originalUrl?: string };
    if (originalUrl !== resource.path || method === undefined || !DOCUMENT_METHODS.includes(method)) return next();
    if (method === "OPTIONS") return void response.writeHead(204, PREFLIGHT_HEADERS).end();
    const length = Buffer.byteLength(resource.document);
    response.writeHead(200, { ...DOCUMENT_HEADERS, "content-length": length }).end(resource.document);
  };
}

/**
 * Middleware for Express, Connect (the middleware framework) and plain node:http. Lets a request with a good token through to
 * `next`, where `claimsOf(request)` has its claims; answers every other one as the gateway's table says.
 */
export function requireToken(
  verifier: Verifier,
  options?: VerifyOptions,
): (request: IncomingMessage, response: ServerResponse, next: () => void) => void {
  return (request, response, next) => {
    const settle = (decision: Decision) => {
      if (decision.allowed) {
        setClaims(request, decision.claims);
        return next();
      }
      const { status, headers, body } = toHttp(decision);
      response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) }).end(body);
    };
    const { method = "", headers } = request;
    // Express and Connect remove the path that they are mounted at from `url`
    const { originalUrl = request.url ?? "" } = request as { originalUrl?: string };
    const signed = { method, url: originalUrl, dpop: headers["dpop"] };
    void verifier.verifyHeader(headers.authorization, options, signed).then(settle);
  };
}
