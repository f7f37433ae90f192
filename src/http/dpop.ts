import type { FastifyInstance, FastifyRequest } from "fastify";
import type { OAuthContext } from "../oauth/context.ts";
import { dpopNonce, type PresentedProof } from "../oauth/tokens/dpop.ts";

/** The DPoP header of a request. The URL it must speak of is ours as clients know it, whatever proxies made of it. */
export function proofOf(ctx: OAuthContext, request: FastifyRequest): PresentedProof | null {
  const proof = request.headers["dpop"];
  if (proof === undefined) return null;
  const url = `${ctx.config.issuer}${request.routeOptions.url ?? ""}`;
  return { proof: String(proof), method: request.method, url };
}

/** Who sends a proof learns the nonce of the next one, whatever the answer is (RFC 9449 section 8.2). */
export function offerNonces(app: FastifyInstance, ctx: OAuthContext): void {
  app.addHook("onRequest", (request, reply, done) => {
    if (request.headers["dpop"] !== undefined) reply.header("dpop-nonce", dpopNonce(ctx));
    done();
  });
}
