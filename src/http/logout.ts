import type { FastifyInstance, FastifyReply } from "fastify";
import { originOf } from "../net/origin.ts";
import { languagesOf } from "../oauth/authorization/authorize.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { logOut, mustAsk, readLogoutRequest } from "../oauth/logout/logout.ts";
import { PATHS } from "../oauth/paths.ts";
import { checkForm, formFields } from "./forms.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm, readQuery } from "./parameters.ts";
import { clearCookie, clearSessionCookie, pathOf, sessionOf, type Visit } from "./visit.ts";

/** GET and POST /connect/logout (OpenID Connect RP-Initiated Logout 1.0). */
export function logoutEndpoint(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(PATHS.logout, (visit) => answer(visit, readQuery(visit.request)));

  page.post(PATHS.logout, (visit) => {
    const form = readForm(visit.request);
    if (form["csrf"] !== undefined) return answer(visit, form);
    // a form of another site comes without the SameSite=Lax cookie: the GET that follows brings it
    return visit.reply.redirect(`${pathOf(ctx, PATHS.logout)}?${new URLSearchParams(form)}`, 303);
  });
}

async function answer(visit: Visit, parameters: Parameters): Promise<FastifyReply> {
  const { ctx, reply } = visit;
  const languages = languagesOf({ parameters });
  visit.request.wantedLanguages = languages;
  const asked = await readLogoutRequest(ctx, parameters);
  const answered = parameters["csrf"] !== undefined;
  const own = await sessionOf(visit);
  // sent again, or after the session ended elsewhere: there is nothing left to sign out of, and nothing to prove
  const session = answered && own !== null ? await checkForm(visit, "logout", parameters) : own;
  if (!answered && session !== null && mustAsk(session, asked)) {
    const { post_logout_redirect_uri: uri, state, ui_locales: locales } = parameters;
    const fields = Object.entries({
      post_logout_redirect_uri: uri,
      client_id: asked.clientId,
      state,
      ui_locales: locales,
    });
    return renderPage(visit, "logout", {
      fields: formFields(session, "logout", Object.fromEntries(fields.filter(isPresent))),
      redirectOrigin: originOf(uri ?? ctx.config.issuer),
      languages,
    });
  }
  await logOut(ctx, session, asked);
  if (session !== null) clearSessionCookie(visit);
  clearCookie(visit, "auth_request");
  // no one was signed in or asked: shows a page instead of redirecting, so that this is no open redirector
  const direct = (answered && session !== null) || asked.hint !== null;
  if (asked.location !== null && direct) return reply.redirect(asked.location, 303);
  return renderPage(visit, "logged-out", { location: asked.location, clientName: asked.clientName, languages });
}

function isPresent(field: [string, string | null | undefined]): field is [string, string] {
  return typeof field[1] === "string";
}
