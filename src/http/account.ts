import type { FastifyInstance, FastifyReply } from "fastify";
import { AuthError } from "../errors.ts";
import { listApplications, withdrawConsent } from "../oauth/authorization/consents.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { PATHS } from "../oauth/paths.ts";
import { endOwnSession, listOwnSessions } from "../sessions/sessions.ts";
import { endSessions, getUser } from "../users/users.ts";
import { formFields, isOfEndedSession } from "./forms.ts";
import { isSignedIn, ownForm, type SignedIn } from "./own-form.ts";
import { pageRoutes } from "./page-routes.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { clearSessionCookie, pathOf, sessionOf, type Visit } from "./visit.ts";

const endPath = "/account/sessions/end";
const everywherePath = "/account/sign-out-everywhere";
const removePath = "/account/applications/remove";
/** A program that signs in again and again must not make the page endless. */
const maxSessions = 100;
const maxApplications = 200;

/** What was done is said when the page is loaded again, for so long (milliseconds). */
const saidForMs = 60_000;

/** The user's own page: where they are signed in, which applications have access, and how to end either. */
export function accountPage(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get("/", async (visit) => {
    const session = await sessionOf(visit);
    if (!isSignedIn(session)) return renderPage(visit, "home", {});
    return showAccount(visit, session);
  });

  page.post(endPath, async (visit) => {
    const { session, form } = await ownForm(visit, (fields) => endPurpose(fields["session"]));
    await endOwnSession(ctx, session, form["session"] ?? "");
    return visit.reply.redirect(pathOf(ctx, "/"), 303);
  });

  page.post(everywherePath, async (visit) => {
    // the page that says so is one that can be loaded again
    const signedOut = () => visit.reply.redirect(pathOf(ctx, PATHS.logout), 303);
    // pressed twice: the first press signed this browser out
    if (await isOfEndedSession(visit, everywherePath, readForm(visit.request))) return signedOut();
    const { session } = await ownForm(visit, () => everywherePath);
    await endSessions(ctx, session.userId);
    clearSessionCookie(visit);
    return signedOut();
  });

  page.post(removePath, async (visit) => {
    const { session, form } = await ownForm(visit, (fields) => removePurpose(fields["client_id"]));
    try {
      await withdrawConsent(ctx, session.userId, form["client_id"] ?? "");
    } catch (error) {
      // sent twice, or removed in another window
      if (!(error instanceof AuthError) || error.code !== "not_found") throw error;
    }
    return visit.reply.redirect(pathOf(ctx, "/"), 303);
  });
}

/** Each button is good for what it names alone. */
function endPurpose(handle = ""): string {
  return `${endPath} ${handle}`;
}

function removePurpose(clientId = ""): string {
  return `${removePath} ${clientId}`;
}

async function showAccount(visit: Visit, session: SignedIn): Promise<FastifyReply> {
  const { ctx } = visit;
  const { email, claims } = await getUser(ctx, session.userId);
  const sessions = await listOwnSessions(ctx, session);
  const applications = await listApplications(ctx, session.userId);
  return renderPage(visit, "account", {
    account: email,
    // the session of a changed password is new: a link of somebody else cannot say it
    passwordChanged: readQuery(visit.request)["done"] === "password" && ctx.clock.now() - session.createdAt < saidForMs,
    zone: claims.zoneinfo ?? "UTC",
    more: Math.max(0, sessions.length - maxSessions),
    sessions: sessions.slice(0, maxSessions).map((each) => ({
      ...each,
      fields: formFields(session, endPurpose(each.handle), { session: each.handle }),
    })),
    everywhere: formFields(session, everywherePath, {}),
    moreApplications: Math.max(0, applications.length - maxApplications),
    applications: applications.slice(0, maxApplications).map((each) => ({
      ...each,
      fields: formFields(session, removePurpose(each.clientId), { client_id: each.clientId }),
    })),
  });
}
