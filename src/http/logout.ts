import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { OAuthContext } from "../oauth/context.ts";
import { logOut, mustAsk, readLogoutRequest } from "../oauth/logout/logout.ts";
import { paths } from "../oauth/metadata.ts";
import { checkForm, clearSessionCookie, formFields, sessionOf } from "./browser.ts";
import { onErrorPage } from "./pages/error-page.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm, readQuery } from "./parameters.ts";

/** GET and POST /connect/logout (OpenID Connect RP-Initiated Logout 1.0). */
export function logoutEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  const answer = async (request: FastifyRequest, reply: FastifyReply, parameters: Parameters) => {
    const asked = await readLogoutRequest(ctx, parameters);
    const session = await sessionOf(ctx, request);
    const answered = parameters["csrf"] !== undefined;
    if (answered) checkForm(ctx, request, session, "logout", parameters);
    if (!answered && session !== null && mustAsk(session, asked)) {
      const { post_logout_redirect_uri: uri, state } = parameters;
      const fields = Object.entries({ post_logout_redirect_uri: uri, client_id: asked.clientId, state });
      const { origin, protocol } = new URL(uri ?? ctx.config.issuer);
      return renderPage(ctx, request, reply, "logout", {
        fields: formFields(session, "logout", Object.fromEntries(fields.filter(isPresent))),
        redirectOrigin: origin === "null" ? protocol : origin,
      });
    }
    await logOut(ctx, session, asked);
    clearSessionCookie(ctx, reply);
    // no one was signed in or asked: shows a page instead of redirecting, so that this is no open redirector
    const direct = answered || asked.hint !== null;
    if (asked.location !== null && direct) return reply.redirect(asked.location, 303);
    return renderPage(ctx, request, reply, "logged-out", { location: asked.location });
  };
  app.get(paths.logout, { errorHandler: onErrorPage(ctx) }, (request, reply) =>
    answer(request, reply, readQuery(request)),
  );
  app.post(paths.logout, { errorHandler: onErrorPage(ctx) }, (request, reply) =>
    answer(request, reply, readForm(request)),
  );
}

function isPresent(field: [string, string | null | undefined]): field is [string, string] {
  return typeof field[1] === "string";
}
