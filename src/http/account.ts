import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { AuthError } from "../errors.ts";
import { listApplications, withdrawConsent } from "../oauth/authorization/consents.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type BrowserSession, endOwnSession, listOwnSessions } from "../sessions/sessions.ts";
import { endSessions, getUser } from "../users/users.ts";
import { checkForm, clearSessionCookie, FormRefused, formFields, pathOf, sessionOf } from "./browser.ts";
import { onErrorPage } from "./pages/error-page.ts";
import { renderPage } from "./pages/render.ts";
import { type Parameters, readForm } from "./parameters.ts";

const endPath = "/account/sessions/end";
const everywherePath = "/account/sign-out-everywhere";
const removePath = "/account/applications/remove";
/** A program that signs in again and again must not make the page endless. */
const maxSessions = 100;

type SignedIn = BrowserSession & { readonly userId: string };

/** The user's own page: where they are signed in, which applications have access, and how to end either. */
export function accountPage(app: FastifyInstance, ctx: OAuthContext): void {
  const errorHandler = onErrorPage(ctx);

  app.get("/", { errorHandler }, async (request, reply) => {
    const session = await sessionOf(ctx, request);
    if (session === null || !isSignedIn(session)) return renderPage(ctx, request, reply, "home", {});
    return showAccount(ctx, request, reply, session);
  });

  app.post(endPath, { errorHandler }, async (request, reply) => {
    const { session, form } = await ownForm(ctx, request, (fields) => endPurpose(fields["session"]));
    await endOwnSession(ctx, session, form["session"] ?? "");
    return reply.redirect(pathOf(ctx, "/"), 303);
  });

  app.post(everywherePath, { errorHandler }, async (request, reply) => {
    const { session } = await ownForm(ctx, request, () => everywherePath);
    await endSessions(ctx, session.userId);
    clearSessionCookie(ctx, reply);
    return renderPage(ctx, request, reply, "logged-out", {});
  });

  app.post(removePath, { errorHandler }, async (request, reply) => {
    const { session, form } = await ownForm(ctx, request, (fields) => removePurpose(fields["client_id"]));
    try {
      await withdrawConsent(ctx, session.userId, form["client_id"] ?? "");
    } catch (error) {
      // sent twice, or removed in another window
      if (!(error instanceof AuthError) || error.code !== "not_found") throw error;
    }
    return reply.redirect(pathOf(ctx, "/"), 303);
  });
}

/** Each button is good for what it names alone. */
function endPurpose(handle = ""): string {
  return `${endPath} ${handle}`;
}

function removePurpose(clientId = ""): string {
  return `${removePath} ${clientId}`;
}

function isSignedIn(session: BrowserSession): session is SignedIn {
  return session.userId !== null;
}

/** A form of this page and the signed-in session it belongs to. @throws AuthError forbidden */
async function ownForm(
  ctx: OAuthContext,
  request: FastifyRequest,
  purposeOf: (form: Parameters) => string,
): Promise<{ session: SignedIn; form: Parameters }> {
  const form = readForm(request);
  const session = checkForm(ctx, request, await sessionOf(ctx, request), purposeOf(form), form);
  if (!isSignedIn(session)) throw new FormRefused();
  return { session, form };
}

async function showAccount(
  ctx: OAuthContext,
  request: FastifyRequest,
  reply: FastifyReply,
  session: SignedIn,
): Promise<FastifyReply> {
  const { email, claims } = await getUser(ctx, session.userId);
  const sessions = await listOwnSessions(ctx, session);
  const applications = await listApplications(ctx, session.userId);
  return renderPage(ctx, request, reply, "account", {
    account: email,
    zone: claims.zoneinfo ?? "UTC",
    more: Math.max(0, sessions.length - maxSessions),
    sessions: sessions.slice(0, maxSessions).map((each) => ({
      ...each,
      fields: formFields(session, endPurpose(each.handle), { session: each.handle }),
    })),
    everywhere: formFields(session, everywherePath, {}),
    applications: applications.map((each) => ({
      ...each,
      fields: formFields(session, removePurpose(each.clientId), { client_id: each.clientId }),
    })),
  });
}
