import type { FastifyReply } from "fastify";
import { hashOf, randomToken } from "../crypto/hashes.ts";
import { type PendingRequest, withChoice, withLogin } from "../oauth/authorization/pending-request.ts";
import { rememberDevice } from "../sessions/known-devices.ts";
import { type BrowserSession, findRaisedSession, raisedSession } from "../sessions/sessions.ts";
import type { ActingSession } from "../store/session.ts";
import type { UserToSignIn } from "../store/users.ts";
import { getUserToSignIn } from "../users/users.ts";
import { FormRefused, formFields, formIdOf, isOfEndedSession, openAccount, sealAccount } from "./forms.ts";
import { type Owner, ownerOfForm } from "./fresh-sign-in.ts";
import { type Parameters, readForm } from "./parameters.ts";
import { browserOf, cookieOf, setDeviceCookie, setSessionCookie, type Visit } from "./visit.ts";
import { carriedBy, onTheWay, rememberLatest, requestOf } from "./waiting-request.ts";

/**
 * A form that sets up a factor. Whoever makes a factor proves that they have it: the session in which they do so is raised, by the transaction
 * that stores the factor. So an application that wants the factor asks for it no second time. As at any other sign-in a new session takes the
 * place of the old one.
 */

/** The hidden fields of such a form. @param path where it is sent */
export function enrolmentFields(
  { ctx }: Visit,
  { session, user }: Owner,
  path: string,
  fields: Record<string, string>,
) {
  const account = sealAccount(ctx, path, user.uuid);
  return { ...formFields(session, path, { ...fields, account }), form: randomToken() };
}

/** What such a form brings. */
export interface Enrolment extends Owner {
  readonly form: Parameters;
  /** The session for the change, given what the new factor proves (`amr` values). */
  readonly actingBy: (methods: readonly string[]) => ActingSession;
}

/** The session that a form raised, and whose it is. */
export interface Raised {
  readonly session: BrowserSession;
  readonly user: UserToSignIn;
}

/** @returns `repeated`: what the first press of the form led to @throws FormRefused */
export async function enrolmentOf(
  visit: Visit,
  path: string,
): Promise<{ readonly repeated: Raised } | { readonly repeated: null; readonly enrolment: Enrolment }> {
  try {
    const owner = await ownerOfForm(visit, () => path);
    return { repeated: null, enrolment: { ...owner, actingBy: (methods) => actingOf(visit, owner, methods) } };
  } catch (error) {
    const repeated = error instanceof FormRefused ? await raisedByForm(visit, path) : null;
    if (repeated === null) throw error;
    return { repeated };
  }
}

function actingOf(
  visit: Visit,
  { session, user, form }: Owner & { readonly form: Parameters },
  methods: readonly string[],
) {
  const formId = formIdOf(form);
  // the form of a replica of the previous release has no id
  if (formId === null) return session;
  const raise = { browser: browserOf(visit), formId, methods };
  const { cookie: _, ...raisedTo } = raisedSession(visit.ctx, user, session, raise);
  return { idHash: session.idHash, raisedTo };
}

/** The session that this form has raised, where its browser has that or the one before; null: it has raised none. */
export async function raisedByForm(visit: Visit, path: string): Promise<Raised | null> {
  const { ctx } = visit;
  const form = readForm(visit.request);
  const [uuid, formId] = [openAccount(ctx, path, form["account"] ?? ""), formIdOf(form)];
  if (uuid === null || formId === null) return null;
  const user = await getUserToSignIn(ctx, uuid);
  const session = await findRaisedSession(ctx, formId, user);
  if (session === null) return null;
  const isOwn = cookieOf(visit, "auth_session") === session.cookie || (await isOfEndedSession(visit, path, form));
  return isOwn ? { session, user } : null;
}

/** Gives the browser its raised session, with which a request that waits goes on, and sends it to a page. */
export async function goOnRaised(visit: Visit, raised: Raised | null, to: string): Promise<FastifyReply> {
  let carried = carriedBy(visit);
  if (raised !== null) {
    const { ctx } = visit;
    carried = await handOver(visit, raised.session, carried);
    setSessionCookie(visit, raised.session);
    const { session, user } = raised;
    setDeviceCookie(visit, rememberDevice(ctx, browserOf(visit).deviceProof, user, session.methods));
  }
  return visit.reply.redirect(onTheWay(visit, to, carried), 303);
}

/**
 * What a request knows of the session before, as the sign-in that `prompt=login` asked for, holds for the new one: that of the page's own
 * application, and the browser's latest.
 * @returns the request of the page, which is another text by then; empty: it has none
 */
export async function handOver(visit: Visit, session: BrowserSession, carried: string): Promise<string> {
  const latest = await handedOver(visit, session, cookieOf(visit, "auth_request"));
  if (latest !== null) rememberLatest(visit, latest);
  return (await handedOver(visit, session, carried))?.carried ?? carried;
}

/** @returns null: there is none, or it knows nothing of a session */
async function handedOver(
  visit: Visit,
  session: BrowserSession,
  carried: string | undefined,
): Promise<PendingRequest | null> {
  const { ctx } = visit;
  const before = hashOf(cookieOf(visit, "auth_session") ?? "");
  const pending = carried === "" ? null : await requestOf(visit, session, carried);
  if (pending === null || before === session.idHash) return null;
  if (pending.loginSession === before) return withLogin(ctx, pending, session);
  return pending.chosenSession === before ? withChoice(ctx, pending, session) : null;
}
