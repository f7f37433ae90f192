import { AuthError } from "../../errors.ts";
import { originOf } from "../../net/origin.ts";
import { type Browser, type BrowserSession, type Login, startSession } from "../../sessions/sessions.ts";
import { type Acr, acrOf, isAcr, isAtLeast, offeredAcr } from "../../token/authentication.ts";
import { isUnverified, shownLink, shownName } from "../clients/names.ts";
import type { OAuthContext } from "../context.ts";
import { scopesOf } from "../scopes.ts";
import { answeringClient, type ClientAnswer } from "./client-answer.ts";
import { issueCode, pushedOf } from "./code.ts";
import {
  isLoginOf,
  newPendingRequest,
  type PendingRequest,
  type ShownConsent,
  storePendingRequest,
} from "./pending-request.ts";
import {
  type AuthorizationRequest,
  ClientError,
  metAcr,
  type Parameters,
  readDestination,
  readRequest,
  weakestAcr,
} from "./request.ts";
import { lacksVerifiedEmail } from "./verified-email.ts";

/** What happens next in the browser. */
export type Next = ClientAnswer | Waiting | StepUp;

/** A page of this service comes first; the request waits in the browser. */
interface Waiting {
  readonly to: "login" | "signup" | "select-account" | "consent" | "verify-email" | "device";
  readonly session: BrowserSession | null;
  readonly request: PendingRequest;
  /** The client asks for another user than the one who is signed in (`id_token_hint`, `claims`). */
  readonly expectsOther?: boolean;
}

/** The user is signed in, by weaker means than the client wants. */
interface StepUp extends Omit<Waiting, "to"> {
  readonly to: "step-up";
  /** The weakest class that will do. */
  readonly acr: Acr;
}

/**
 * The authorization endpoint (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2.1): a signed-in browser gets its code,
 * another one a login, through which the request travels with it.
 * @param parameters each stood there once, none is empty
 * @param findSession looks up the browser's session: if that fails, the client is told, as its redirect URI is known by then
 * @param pushedHash of the request_uri that brought them (`resolvePushedRequest`); null: they came by the browser
 * @throws AuthError invalid_request, invalid_client, invalid_request_uri: shown on a page, never sent to a redirect URI that is not registered
 */
export async function authorize(
  ctx: OAuthContext,
  parameters: Parameters,
  findSession: () => Promise<BrowserSession | null>,
  browser: Browser,
  pushedHash: string | null = null,
): Promise<Next> {
  const destination = await readDestination(ctx, parameters);
  return answeringClient(ctx, destination, async () => {
    if (destination.client.metadata.require_pushed_authorization_requests && pushedHash === null) {
      throw new ClientError("invalid_request", "this client must push its authorization requests (RFC 9126 section 5)");
    }
    const request = await readRequest(ctx, destination, parameters);
    const session = await findSession();
    const fresh = session !== null && !asksForLogin(request) && fits(ctx, session, request) ? session : null;
    if (fresh !== null && mustStepUp(ctx, request, fresh)) {
      if (!request.prompt.includes("none")) {
        const waiting = await wait(ctx, "login", { session, browser, parameters: request.kept, pushedHash });
        return { ...waiting, to: "step-up", acr: weakestAcr(request.acr) };
      }
      if (isDemanded(request))
        throw new ClientError("login_required", "the user signed in by weaker means than required");
    }
    const unverified = fresh !== null && (await lacksVerifiedEmail(ctx, request.client, fresh.userId));
    if (fresh !== null && !unverified) {
      const consented = !request.prompt.includes("consent") && (await hasConsent(ctx, request, fresh));
      if (consented) {
        const pushed = pushedOf(pushedHash, false);
        const answer = await issueCode(ctx, request, { session: fresh, browser, login: null, pushed });
        if (answer !== null) return answer;
        if (request.prompt.includes("none")) throw new ClientError("login_required", "the session has ended");
        return wait(ctx, "login", { session: null, browser, parameters: request.kept, pushedHash });
      }
    }
    if (request.prompt.includes("none")) {
      if (fresh === null) throw new ClientError("login_required", "the user is not signed in, or another user is");
      if (unverified) throw new ClientError("interaction_required", "the user's e-mail address is not verified");
      throw new ClientError("consent_required", "the user has not consented to this request");
    }
    if (unverified) return wait(ctx, "verify-email", { session, browser, parameters: request.kept, pushedHash });
    const to =
      fresh !== null ? "consent" : request.prompt.includes("create") ? "signup" : loginPageOf(ctx, session, request);
    return wait(ctx, to, { session, browser, parameters: request.kept, pushedHash });
  });
}

/**
 * Tells the client that its request cannot be read.
 * @param readable parameters of it that can be
 * @throws AuthError as `authorize`
 */
export async function refuseAtClient(ctx: OAuthContext, readable: Parameters, description: string): Promise<Next> {
  const destination = await readDestination(ctx, readable);
  return answeringClient(ctx, destination, async () => {
    throw new ClientError("invalid_request", description);
  });
}

/**
 * Sends the browser of the device page (RFC 8628 section 3.3) to the login, and back to the page with its code. Its request has no `client_id`, which tells it from every
 * request of a client.
 */
export async function requestDeviceLogin(
  ctx: OAuthContext,
  session: BrowserSession | null,
  browser: Browser,
  userCode: string | null,
): Promise<Waiting> {
  const parameters: Parameters = userCode === null ? {} : { user_code: userCode };
  return wait(ctx, "login", { session, browser, parameters, pushedHash: null });
}

/** Sends a signed-in browser of the device page to a stronger sign-in, and back to the page with its code. */
export async function requestDeviceStepUp(
  ctx: OAuthContext,
  session: BrowserSession,
  browser: Browser,
  { userCode, acr }: { readonly userCode: string; readonly acr: Acr },
): Promise<Next> {
  if (!offeredAcr(ctx.config.passkeys !== null).includes(acr)) {
    throw new AuthError("unmet_authentication_requirements", `no user of this service can reach ${acr}`);
  }
  const parameters: Parameters = { user_code: userCode, acr_values: acr };
  return { ...(await wait(ctx, "login", { session, browser, parameters, pushedHash: null })), to: "step-up", acr };
}

interface Arrival {
  readonly session: BrowserSession | null;
  readonly browser: Browser;
  readonly parameters: Parameters;
  readonly pushedHash: string | null;
}

async function wait(
  ctx: OAuthContext,
  to: Waiting["to"],
  { session, browser, parameters, pushedHash }: Arrival,
): Promise<Waiting> {
  if (!ctx.replicas.hasOlder) return { to, session, request: newPendingRequest(ctx, parameters, pushedHash) };
  const kept = session ?? (await startSession(ctx, browser));
  return { to, session: kept, request: await storePendingRequest(ctx, kept, parameters, pushedHash) };
}

function isOfDevicePage({ parameters }: PendingRequest): boolean {
  return parameters["client_id"] === undefined;
}

/**
 * Goes on with a request after a login or a consent, however long it waited. Its form may be sent again: it ends where it ended before.
 * @param step.allowed the user's answer on the consent page; undefined: it was not asked
 * @param step.login of which `session` is, not stored yet: it is stored with the code, if there is one
 * @throws AuthError as `authorize`
 */
export async function continueRequest(
  ctx: OAuthContext,
  pending: PendingRequest,
  session: BrowserSession | null,
  browser: Browser,
  { allowed, login = null }: { readonly allowed?: boolean; readonly login?: Login | null } = {},
): Promise<Next> {
  if (isOfDevicePage(pending)) return continueDevice(pending, session);
  const destination = await readDestination(ctx, pending.parameters);
  return answeringClient(ctx, destination, async () => {
    const request = await readRequest(ctx, destination, pending.parameters);
    if (allowed === false) throw new ClientError("access_denied", "the user denied the request");
    if (isDeclined(pending, session)) return { to: "login", session, request: pending };
    if (session?.userId == null || !meets(ctx, pending, session, request)) {
      const expectsOther = session?.userId != null && !isExpectedUser(session, request);
      return { to: loginPageOf(ctx, session, request), session, request: pending, expectsOther };
    }
    if (mustStepUp(ctx, request, session)) {
      return { to: "step-up", session, request: pending, acr: weakestAcr(request.acr) };
    }
    if (await lacksVerifiedEmail(ctx, request.client, session.userId)) {
      return { to: "verify-email", session, request: pending };
    }
    if (allowed === true && wasShown(pending, request)) {
      const { client, consentScopes: scopes } = request;
      const consent = { userId: session.userId, sessionHash: session.idHash, client, scopes };
      const outcome = await ctx.store.authorizations.addConsent(consent, ctx.clock.now());
      if (outcome === "session_ended") return { to: "login", session: null, request: pending };
    } else if (request.prompt.includes("consent") || !(await hasConsent(ctx, request, session))) {
      return { to: "consent", session, request: pending };
    }
    const answer = await issueCode(ctx, request, {
      session,
      browser,
      login,
      pushed: pushedOf(pending.pushedHash, true),
    });
    return answer ?? { to: "login", session: null, request: pending };
  });
}

function continueDevice(pending: PendingRequest, session: BrowserSession | null): Next {
  const acr = pending.parameters["acr_values"];
  if (session?.userId == null || isDeclined(pending, session)) return { to: "login", session, request: pending };
  if (acr !== undefined && isAcr(acr) && !isAtLeast(acrOf(session.methods), acr)) {
    return { to: "step-up", session, request: pending, acr };
  }
  return { to: "device", session, request: pending };
}

/** Did the browser's user ask for another account than this one? */
function isDeclined({ declinedSession }: PendingRequest, session: BrowserSession | null): boolean {
  return session !== null && session.idHash === declinedSession;
}

/** Where a user who has to sign in, or to say who they are, begins: who is signed in and fits may go on as that. */
function loginPageOf(
  ctx: OAuthContext,
  session: BrowserSession | null,
  request: AuthorizationRequest,
): "select-account" | "login" {
  const { prompt } = request;
  // the previous release knows no choice
  const mayChoose = prompt.includes("select_account") && !ctx.replicas.hasOlder;
  const mustSignIn = prompt.includes("login") || prompt.includes("create");
  return mayChoose && !mustSignIn && session !== null && fits(ctx, session, request) ? "select-account" : "login";
}

/** `prompt=login` and `max_age` are met by a login for this very request. */
function meets(
  ctx: OAuthContext,
  pending: PendingRequest,
  session: BrowserSession,
  request: AuthorizationRequest,
): boolean {
  if (isLoginOf(ctx, pending, session)) return isExpectedUser(session, request);
  const { prompt } = request;
  const isChosen = pending.chosenSession === session.idHash;
  if (isChosen && !prompt.includes("login") && !prompt.includes("create")) return fits(ctx, session, request);
  return !asksForLogin(request) && fits(ctx, session, request);
}

/**
 * Does the client want more than the session's user gave, and can the user give it?
 * @throws ClientError no user can give what the client demands
 */
function mustStepUp({ config }: OAuthContext, request: AuthorizationRequest, { methods }: BrowserSession): boolean {
  if (metAcr(request.acr, methods) !== null) return false;
  const offered = offeredAcr(config.passkeys !== null);
  if (offered.includes(weakestAcr(request.acr))) return true;
  if (!isDemanded(request)) return false;
  throw new ClientError("unmet_authentication_requirements", `acr must be one of ${offered.join(", ")}`);
}

/** Will no weaker sign-in do? */
function isDemanded({ acr }: AuthorizationRequest): boolean {
  return acr.isEssential || acr.atLeast !== null;
}

/** Did the consent page show this client, and every scope? Its registration may have changed since, or another client may have its id. */
function wasShown(
  { shownScopes, shownClientEpoch, storedId }: PendingRequest,
  { client, consentScopes }: AuthorizationRequest,
): boolean {
  // the previous release does not keep what it showed
  if (storedId !== null) return true;
  if (shownClientEpoch !== null && shownClientEpoch < client.firstEpoch) return false;
  return shownScopes !== null && consentScopes.every((scope) => shownScopes.includes(scope));
}

export interface RequestDescription {
  readonly clientId: string;
  readonly clientName: string;
  /** The version of its logo (`ClientLogos`); null: none is shown. */
  readonly logoVersion: string | null;
  /** Where its privacy policy and its terms are. */
  readonly clientPolicy: string | null;
  readonly clientTerms: string | null;
  /** The client gave itself its name. */
  readonly unverified: boolean;
  readonly redirectOrigin: string;
  readonly loginHint: string;
  /** Preferred languages of the pages (`ui_locales`), most wanted first. */
  readonly languages: readonly string[];
}

/** The languages that the application asks for (`ui_locales`), most wanted first. */
export function languagesOf({ parameters }: Pick<PendingRequest, "parameters">): string[] {
  return scopesOf(parameters["ui_locales"] ?? "");
}

/** What a page shows of a pending request; null where no client made it. @throws AuthError as `authorize` */
export async function describeRequest(ctx: OAuthContext, pending: PendingRequest): Promise<RequestDescription | null> {
  if (isOfDevicePage(pending)) return null;
  const destination = await readDestination(ctx, pending.parameters);
  const { client } = destination;
  const redirectOrigin = originOf(destination.redirectUri);
  return {
    clientId: client.clientId,
    clientName: shownName(client),
    logoVersion: ctx.clientLogos.peek(ctx, client)?.version ?? null,
    clientPolicy: shownLink(client, client.metadata.policy_uri, redirectOrigin),
    clientTerms: shownLink(client, client.metadata.tos_uri, redirectOrigin),
    unverified: isUnverified(client),
    redirectOrigin,
    loginHint: pending.parameters["login_hint"] ?? "",
    languages: languagesOf(pending),
  };
}

/** What the user of a client's pending request is asked for; no scopes where it can no longer be read. @throws AuthError as `authorize` */
export async function consentToShow(ctx: OAuthContext, { parameters }: PendingRequest): Promise<ShownConsent> {
  const destination = await readDestination(ctx, parameters);
  return readRequest(ctx, destination, parameters).then(
    ({ consentScopes, client }) => ({ scopes: consentScopes, clientEpoch: client.epoch }),
    () => ({ scopes: [], clientEpoch: null }),
  );
}

function asksForLogin({ prompt }: AuthorizationRequest): boolean {
  return ["login", "select_account", "create"].some((each) => prompt.includes(each));
}

/** Is the session signed in, recently enough, by the user that the request names? */
function fits(ctx: OAuthContext, session: BrowserSession, request: AuthorizationRequest): boolean {
  const { maxAge } = request;
  const recent = maxAge === null || (session.authTime !== null && ctx.clock.now() - session.authTime <= maxAge * 1000);
  return session.userId !== null && recent && isExpectedUser(session, request);
}

function isExpectedUser(session: BrowserSession, { subject }: AuthorizationRequest): boolean {
  return subject === null || subject === session.userId;
}

async function hasConsent(ctx: OAuthContext, request: AuthorizationRequest, session: BrowserSession): Promise<boolean> {
  if (request.client.metadata.first_party) return true;
  if (session.userId === null) return false;
  const given = await ctx.store.authorizations.findConsent(session.userId, request.client.clientId);
  const scopes = scopesOf(given ?? "");
  return given !== null && request.consentScopes.every((scope) => scopes.includes(scope));
}
