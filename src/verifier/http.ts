import type { IncomingMessage, ServerResponse } from "node:http";
import { type Decision, toHttp } from "./decision.ts";
import { setClaims } from "./request-claims.ts";
import type { Verifier, VerifyOptions } from "./verifier.ts";

export { claimsOf } from "./request-claims.ts";

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
