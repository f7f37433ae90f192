import { hashOf, randomToken } from "../crypto/hashes.ts";
import { AuthError } from "../errors.ts";
import type { OAuthContext } from "../oauth/context.ts";
import { type BrowserSession, csrfToken, isCsrfToken } from "../sessions/sessions.ts";
import type { Parameters } from "./parameters.ts";
import { cookieOf, openSession, sessionOf, setCookie, type Visit } from "./visit.ts";

/** A page may wait for this long before its form is sent (seconds): a month. */
const browserCookieAge = 30 * 86_400;

/** The hidden fields of a signed-in user's form: `csrf` binds it to the session and to what it is about. */
export function formFields(session: BrowserSession, purpose: string, fields: Record<string, string>) {
  return { ...fields, csrf: csrfToken(session, `${purpose}\n${fields["request"] ?? ""}`) };
}

/**
 * A form that `formFields` made for this browser's session.
 * @returns the session @throws FormRefused
 */
export async function checkForm(visit: Visit, purpose: string, form: Parameters): Promise<BrowserSession> {
  refuseOtherSites(visit);
  const session = await sessionOf(visit);
  if (session === null || !isOfSession(session, purpose, form)) throw new FormRefused();
  return session;
}

/** Was this form made for the session whose cookie the browser still sends, though that has ended? @throws FormRefused */
export async function isOfEndedSession(visit: Visit, purpose: string, form: Parameters): Promise<boolean> {
  refuseOtherSites(visit);
  const cookie = cookieOf(visit, "auth_session");
  return cookie !== undefined && isOfSession({ cookie }, purpose, form) && (await sessionOf(visit)) === null;
}

/**
 * The hidden fields of a form for which no one needs to be signed in: `csrf` is bound to a random cookie of the browser. Beside replicas
 * of the previous release it is bound to an anonymous session, as those know it.
 */
export async function openFormFields(visit: Visit, purpose: string, fields: Record<string, string>) {
  if (visit.ctx.replicas.hasOlder) return formFields(await openSession(visit), purpose, fields);
  const known = cookieOf(visit, "auth_browser");
  const cookie = known !== undefined && /^[A-Za-z0-9_-]{43}$/.test(known) ? known : randomToken();
  setCookie(visit, "auth_browser", cookie, browserCookieAge);
  const browser = hashOf(cookie);
  return { ...fields, csrf: `${browser}.${visit.ctx.derivedKeys.browserForms.of(`${purpose}\n${browser}`)}` };
}

/** The hidden fields of a form that signs in, or has a mail sent: it has an id of its own, by which a second press of its button is known. */
export async function loginFormFields(visit: Visit, purpose: string, fields: Record<string, string>) {
  return { ...(await openFormFields(visit, purpose, fields)), form: randomToken() };
}

/** The id of a form that `loginFormFields` made. */
export function formIdOf(form: Parameters): string | null {
  const id = form["form"] ?? "";
  return /^[A-Za-z0-9_-]{43}$/.test(id) ? id : null;
}

/**
 * A form that `openFormFields` made, for this browser. Of several tabs that were opened at once each got a cookie, and the last one
 * stayed: the forms of the others are taken where the browser says that they come from a page of this service.
 * @returns the browser's session, if it has one @throws FormRefused, CookiesNeeded
 */
export async function checkOpenForm(visit: Visit, purpose: string, form: Parameters): Promise<BrowserSession | null> {
  refuseOtherSites(visit);
  const session = await sessionOf(visit);
  if (session !== null && isOfSession(session, purpose, form)) return session;
  const [browser = "", mac = ""] = (form["csrf"] ?? "").split(".");
  if (!visit.ctx.derivedKeys.browserForms.verifies(`${purpose}\n${browser}`, mac)) throw new FormRefused();
  const cookie = cookieOf(visit, "auth_browser");
  if (cookie === undefined) throw new CookiesNeeded();
  if (hashOf(cookie) !== browser && !isFromOwnPage(visit)) throw new FormRefused();
  return session;
}

function isOfSession(session: Pick<BrowserSession, "cookie">, purpose: string, form: Parameters): boolean {
  return isCsrfToken(session, `${purpose}\n${form["request"] ?? ""}`, form["csrf"] ?? "");
}

/** Does the browser itself say that the form comes from a page of this service? */
function isFromOwnPage({ ctx, request }: Visit): boolean {
  const { origin, "sec-fetch-site": site } = request.headers;
  return site === "same-origin" || origin === new URL(ctx.config.issuer).origin;
}

/**
 * Own pages post with `Origin: null` under their no-referrer policy; `Sec-Fetch-Site` tells them apart. Browsers that send no
 * `Sec-Fetch-Site`, and proxies that strip it, are taken by the form's own token, which no other site can know.
 */
function refuseOtherSites(visit: Visit): void {
  const { origin, "sec-fetch-site": site } = visit.request.headers;
  const isOpaque = origin === "null" && site === undefined;
  if (origin !== undefined && !isOpaque && !isFromOwnPage(visit)) throw new FormRefused();
}

/** A form that sets a password names its account, in a way that only this service can make: for when its link or its session is over. */
const accountPurpose = (page: string) => `account of a form\n${page}`;

/** @param page on whose form it stands: it names nobody on another one */
export function sealAccount(ctx: OAuthContext, page: string, uuid: string): string {
  return ctx.derivedKeys.pendingRequests.seal(uuid, accountPurpose(page));
}

/** @returns the uuid; null: this service did not make it, or for another page */
export function openAccount(ctx: OAuthContext, page: string, sealed: string): string | null {
  try {
    return ctx.derivedKeys.pendingRequests.open(sealed, accountPurpose(page)).toString();
  } catch {
    return null;
  }
}

/** Status 403 on the pages: the form has expired. */
export class FormRefused extends AuthError {
  readonly statusCode = 403;
  constructor() {
    super("invalid_request", "this form is no longer valid");
  }
}

/** Status 403 on the pages: a form came without any cookie of the page it was on. */
export class CookiesNeeded extends AuthError {
  readonly statusCode = 403;
  constructor() {
    super("invalid_request", "this browser sent no cookie");
  }
}
