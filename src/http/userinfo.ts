import type { FastifyInstance, FastifyRequest } from "fastify";
import { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { userinfoAudience } from "../oauth/resources.ts";
import { requireBearer } from "../oauth/tokens/bearer.ts";
import { userinfo } from "../oauth/userinfo.ts";
import { proofOf } from "./dpop.ts";
import { isForm, readForm } from "./parameters.ts";

/** GET and POST /userinfo (OpenID Connect Core section 5.3). */
export function userinfoEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  const handler = async (request: FastifyRequest) => {
    const claims = await requireBearer(ctx, bearerOf(request), "openid", proofOf(ctx, request), userinfoAudience(ctx));
    return userinfo(ctx, claims);
  };
  app.get(PATHS.userinfo, handler);
  app.head(PATHS.userinfo, handler);
  app.post(PATHS.userinfo, handler);
}

/** RFC 6750 section 2: in the header, or in a form body; never in both, never in the query. */
function bearerOf(request: FastifyRequest): string | null {
  const header = request.headers.authorization ?? null;
  // a GET has no body to read, whatever type its headers name (RFC 9110 section 9.3.1), and what is no form has no token
  const form = request.method === "POST" && isForm(request) ? readForm(request) : {};
  const token = form["access_token"];
  if (token === undefined) return header;
  if (header !== null) throw new AuthError("invalid_request", "send the access token in one place");
  return `Bearer ${token}`;
}
