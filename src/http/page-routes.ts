import type { FastifyInstance, FastifyReply, RouteShorthandOptions } from "fastify";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { onErrorPage } from "./pages/error-page.ts";
import type { Visit } from "./visit.ts";
import { speakForRequest } from "./waiting-request.ts";

type AddPage = (
  url: string,
  handler: (visit: Visit) => FastifyReply | Promise<FastifyReply>,
  options?: Pick<RouteShorthandOptions, "onRequest">,
) => void;

/** At these a GET issues a code or signs out: they answer no HEAD. */
const acting: ReadonlySet<string> = new Set([PATHS.authorize, PATHS.logout, "/cancel"]);

/** Adds pages to the public listener: a handler gets the visit, and what it throws becomes an error page. */
export function pageRoutes(app: FastifyInstance, ctx: OAuthContext): { readonly get: AddPage; readonly post: AddPage } {
  const errorHandler = onErrorPage(ctx);
  const add =
    (method: "get" | "post"): AddPage =>
    (url, handler, options = {}) => {
      const exposeHeadRoute = method === "get" && !acting.has(url);
      app[method](url, { ...options, exposeHeadRoute, errorHandler }, async (request, reply) => {
        const visit = { ctx, request, reply };
        if (url.startsWith("/account/security")) await speakForRequest(visit);
        return handler(visit);
      });
    };
  return { get: add("get"), post: add("post") };
}
