import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Context } from "../context.ts";
import { logOut, readLogoutRequest } from "../oauth/logout.ts";
import { paths } from "../oauth/metadata.ts";
import { checkForm, clearSessionCookie, formFields, sessionOf } from "./browser.ts";
import { onErrorPage } from "./pages/error-page.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm, readQuery } from "./parameters.ts";

/** GET and POST /connect/logout (OpenID Connect RP-Initiated Logout 1.0). */
export function logoutEndpoint(app: FastifyInstance, ctx: Context): void {
  const answer = async (request: FastifyRequest, reply: FastifyReply, parameters: Parameters) => {
    const asked = await readLogoutRequest(ctx, parameters);
    const session = await sessionOf(ctx, request);
    const answered = parameters["csrf"] !== undefined;
    if (!asked.confirmed && answered) checkForm(ctx, request, session, "logout", parameters);
    if (!asked.confirmed && !answered && session !== null) {
      // without a hint anybody may have sent the browser here: it asks first
      const { post_logout_redirect_uri: uri, client_id: clientId, state } = parameters;
      const fields = Object.fromEntries(
        Object.entries({ post_logout_redirect_uri: uri, client_id: clientId, state }).filter(
          ([, value]) => value !== undefined,
        ),
      ) as Record<string, string>;
      const { origin, protocol } = new URL(uri ?? ctx.config.issuer);
      const redirectOrigin = origin === "null" ? protocol : origin;
      return renderPage(ctx, request, reply, "logout", {
        fields: formFields(session, "logout", fields),
        redirectOrigin,
      });
    }
    await logOut(ctx, session, asked);
    clearSessionCookie(ctx, reply);
    if (asked.location !== null) return reply.redirect(asked.location, 303);
    return renderPage(ctx, request, reply, "logged-out", {});
  };
  app.get(paths.logout, { errorHandler: onErrorPage(ctx) }, (request, reply) =>
    answer(request, reply, readQuery(request)),
  );
  app.post(paths.logout, { errorHandler: onErrorPage(ctx) }, (request, reply) =>
    answer(request, reply, readForm(request)),
  );
}
