import type { FastifyInstance, FastifyReply } from "fastify";
import type { AuthError } from "../errors.ts";
import type { PendingRequest } from "../oauth/authorization/pending-request.ts";
import type { OAuthContext } from "../oauth/context.ts";
import type { BrowserSession } from "../sessions/sessions.ts";
import type { User } from "../store/users.ts";
import {
  findVerification,
  requestEmailVerification,
  VERIFICATION_PATH,
  verifyEmail,
} from "../users/email-verification.ts";
import { normaliseEmail } from "../users/input.ts";
import { getUser } from "../users/users.ts";
import { askerOf } from "./asker.ts";
import { ANSWERS, refusalOn } from "./error-table.ts";
import { checkOpenForm, formIdOf, loginFormFields, openAccount, openFormFields, sealAccount } from "./forms.ts";
import { pageRoutes } from "./page-routes.ts";
import { fieldProblems } from "./pages/field-problems.ts";
import { renderPage } from "./pages/render.ts";
import { readForm, readQuery } from "./parameters.ts";
import { sessionOf, type Visit } from "./visit.ts";
import { pathWithRequest, requestOf, requestOfForm, shownOf } from "./waiting-request.ts";

const sendPath = `${VERIFICATION_PATH}/send`;

/**
 * The page that a mailed link opens, which asks for a press: programs that look at the links of mails use none up. Without a token the
 * page says that a link is on its way, and sends another.
 */
export function verifyEmailPages(app: FastifyInstance, ctx: OAuthContext): void {
  const page = pageRoutes(app, ctx);

  page.get(VERIFICATION_PATH, async (visit) => {
    const { token, request, checked } = readQuery(visit.request);
    if (token !== undefined) return showLink(visit, token);
    const session = await sessionOf(visit);
    const pending = await requestOf(visit, session, request);
    const user = await userOf(visit, session);
    if (pending !== null && user?.emailVerified === true) {
      return visit.reply.redirect(pathWithRequest(ctx, "/login", pending), 302);
    }
    // they came by the button that goes on, and nothing was confirmed yet
    const isStillOpen = checked !== undefined && user !== null;
    return showSend(visit, pending, { user, email: "", isSent: false, isStillOpen, error: null });
  });

  page.post(VERIFICATION_PATH, async (visit) => {
    const form = readForm(visit.request);
    const session = await checkOpenForm(visit, "verify-email", form);
    try {
      const { email } = await verifyEmail(ctx, form["token"], askerOf(visit.request));
      return showDone(visit, email, await requestOfForm(visit, session, form));
    } catch (thrown) {
      const error = refusalOn(visit.reply, thrown, ["verification_token_invalid", "email_taken"]);
      const found = await findVerification(ctx, form["token"]);
      const why = error.code === "email_taken" ? "taken" : (found?.state ?? "unknown");
      return showBad(visit, why);
    }
  });

  page.post(sendPath, async (visit) => {
    const form = readForm(visit.request);
    const session = await checkOpenForm(visit, "verify-email-send", form);
    const pending = await requestOfForm(visit, session, form);
    // the account of the page, even if another user has signed in since
    const uuid = openAccount(ctx, sendPath, form["account"] ?? "");
    const user = uuid === null ? await userOf(visit, session) : await getUser(ctx, uuid);
    const email = form["email"] ?? user?.email ?? "";
    try {
      await requestEmailVerification(ctx, { email, asker: askerOf(visit.request), form: formIdOf(form) });
    } catch (thrown) {
      const error = refusalOn(visit.reply, thrown, ["invalid_input"]);
      return showSend(visit, pending, { user: null, email, isSent: false, error });
    }
    const address = normaliseEmail(email);
    const own = user?.email === address ? user : null;
    return showSend(visit, pending, { user: own, email: address, isSent: true, error: null });
  });
}

async function userOf({ ctx }: Visit, session: BrowserSession | null): Promise<User | null> {
  return session?.userId == null ? null : getUser(ctx, session.userId);
}

/** What a link is worth: nothing is changed. */
async function showLink(visit: Visit, token: string): Promise<FastifyReply> {
  const found = await findVerification(visit.ctx, token);
  if (found?.state === "verified") return showDone(visit, found.email, null);
  if (found?.state !== "open") {
    visit.reply.code(ANSWERS.verification_token_invalid.status);
    return showBad(visit, found?.state ?? "unknown");
  }
  const fields = await openFormFields(visit, "verify-email", { token });
  return renderPage(visit, "verify-email", { fields, email: found.email });
}

function showBad(visit: Visit, why: string): FastifyReply {
  return renderPage(visit, "verify-email-bad", { why });
}

async function showDone(visit: Visit, email: string, pending: PendingRequest | null): Promise<FastifyReply> {
  return renderPage(visit, "verify-email-done", { ...(await shownOf(visit, pending)), email });
}

async function showSend(
  visit: Visit,
  pending: PendingRequest | null,
  shown: {
    readonly user: User | null;
    readonly email: string;
    readonly isSent: boolean;
    readonly isStillOpen?: boolean;
    readonly error: AuthError | null;
  },
): Promise<FastifyReply> {
  const request = await shownOf(visit, pending);
  const own = shown.user;
  return renderPage(visit, "verify-email-send", {
    ...request,
    fields: await loginFormFields(visit, "verify-email-send", {
      request: request.carried,
      account: own === null ? "" : sealAccount(visit.ctx, sendPath, own.uuid),
    }),
    own: own?.email ?? null,
    email: shown.email,
    isSent: shown.isSent,
    isStillOpen: shown.isStillOpen === true,
    problems: fieldProblems(shown.error),
  });
}
