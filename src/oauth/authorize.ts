import { randomBytes } from "node:crypto";
import type { Context } from "../context.ts";
import { AuthError, type AuthErrorCode } from "../errors.ts";
import { hashOf, randomToken } from "../hashes.ts";
import { type Browser, type BrowserSession, startSession } from "../sessions/sessions.ts";
import type { Client, PendingRequest } from "../store.ts";
import { INTERNAL_SCOPES } from "./client-metadata.ts";
import { findClient, scopesOf } from "./clients.ts";

const codeLifeMs = 60_000;
const requestLifeMs = 3_600_000;
/** Tabs of one browser that may wait for a login at once. */
const requestsPerSession = 20;

/** What happens next in the browser. */
export type Next =
  | { readonly to: "client"; readonly location: string }
  | { readonly to: "login"; readonly session: BrowserSession; readonly request: PendingRequest }
  | { readonly to: "consent"; readonly session: BrowserSession; readonly request: PendingRequest };

type Parameters = Readonly<Record<string, string>>;

interface AuthorizationRequest {
  readonly client: Client;
  readonly redirectUri: string;
  readonly state: string | undefined;
  readonly scope: string;
  readonly nonce: string | null;
  readonly codeChallenge: string;
  readonly resource: string | null;
  readonly prompt: readonly string[];
  /** Seconds. */
  readonly maxAge: number | null;
}

/** An error that the client is told of, at its redirect URI. */
class ClientError extends Error {
  readonly code: AuthErrorCode;
  constructor(code: AuthErrorCode, description: string) {
    super(description);
    this.code = code;
  }
}

/**
 * The authorization endpoint (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2.1): a signed-in browser gets its code,
 * another one a login for which the request is kept with the browser's session.
 * @param parameters each stood there once, none is empty
 * @throws AuthError invalid_request, invalid_client: shown on a page, never sent to a redirect URI nobody registered
 */
export async function authorize(
  ctx: Context,
  parameters: Parameters,
  session: BrowserSession | null,
  browser: Browser,
): Promise<Next> {
  const destination = await readDestination(ctx, parameters);
  return answeringClient(ctx, destination, async () => {
    const request = readRequest(destination, parameters);
    const signedIn = session?.userId !== null && session !== null;
    const fresh =
      signedIn && !request.prompt.includes("login") && isRecent(ctx, session, request.maxAge) ? session : null;
    if (fresh !== null) {
      const consented = !request.prompt.includes("consent") && (await hasConsent(ctx, request, fresh));
      if (consented) return issueCode(ctx, request, fresh, browser);
    }
    if (request.prompt.includes("none")) {
      if (fresh === null) throw new ClientError("login_required", "the user is not signed in");
      throw new ClientError("consent_required", "the user has not allowed this client what it asks for");
    }
    const kept = session ?? (await startSession(ctx, browser));
    const now = ctx.clock.now();
    const pending: PendingRequest = {
      id: randomBytes(16).toString("base64url"),
      sessionHash: kept.idHash,
      parameters,
      pushedHash: null,
      createdAt: now,
      expiresAt: now + requestLifeMs,
    };
    await ctx.store.sessions.saveRequest(pending, requestsPerSession);
    return { to: fresh === null ? "login" : "consent", session: kept, request: pending };
  });
}

/**
 * Goes on with a kept request after a login or a consent.
 * @param allowed the user's answer on the consent page; undefined: it was not asked
 * @throws AuthError as `authorize`
 */
export async function continueRequest(
  ctx: Context,
  pending: PendingRequest,
  session: BrowserSession,
  browser: Browser,
  allowed?: boolean,
): Promise<Next> {
  const destination = await readDestination(ctx, pending.parameters);
  return answeringClient(ctx, destination, async () => {
    const request = readRequest(destination, pending.parameters);
    // prompt=login and max_age are met by a login later than the request
    const loggedInSince = session.authTime !== null && session.authTime >= pending.createdAt;
    const mustLogIn =
      session.userId === null ||
      (!loggedInSince && (request.prompt.includes("login") || !isRecent(ctx, session, request.maxAge)));
    if (mustLogIn) return { to: "login", session, request: pending };
    if (allowed === false) {
      await ctx.store.sessions.deleteRequest(pending.id);
      throw new ClientError("access_denied", "the user did not allow it");
    }
    if (allowed === true && session.userId !== null) {
      const { clientId } = request.client;
      const before = scopesOf((await ctx.store.authorizations.findConsent(session.userId, clientId)) ?? "");
      const scope = [...new Set([...before, ...scopesOf(request.scope)])].join(" ");
      await ctx.store.authorizations.saveConsent(session.userId, clientId, scope, ctx.clock.now());
    } else if (request.prompt.includes("consent") || !(await hasConsent(ctx, request, session))) {
      return { to: "consent", session, request: pending };
    }
    const next = await issueCode(ctx, request, session, browser);
    await ctx.store.sessions.deleteRequest(pending.id);
    return next;
  });
}

/** The request that a page's hidden field names, or the session's latest; null when it is over. */
export async function findPendingRequest(
  ctx: Context,
  session: BrowserSession,
  id: string | undefined,
): Promise<PendingRequest | null> {
  const { sessions } = ctx.store;
  const now = ctx.clock.now();
  return id === undefined ? sessions.latestRequest(session.idHash, now) : sessions.findRequest(id, session.idHash, now);
}

/** What a page shows of a kept request. @throws AuthError as `authorize` */
export async function describeRequest(
  ctx: Context,
  pending: PendingRequest,
): Promise<{ clientName: string; redirectOrigin: string; scopes: string[]; loginHint: string }> {
  const { client, redirectUri } = await readDestination(ctx, pending.parameters);
  const { origin, protocol } = new URL(redirectUri);
  return {
    clientName: client.metadata.client_name ?? client.clientId,
    redirectOrigin: origin === "null" ? protocol : origin,
    scopes: scopesOf(pending.parameters["scope"] ?? client.metadata.scope),
    loginHint: pending.parameters["login_hint"] ?? "",
  };
}

interface Destination {
  readonly client: Client;
  readonly redirectUri: string;
  readonly state: string | undefined;
}

/** Client and redirect URI: while these are in doubt nothing is ever sent to the URI (RFC 6749 section 4.1.2.1). */
async function readDestination(ctx: Context, parameters: Parameters): Promise<Destination> {
  const { client_id: clientId, redirect_uri: redirectUri, state } = parameters;
  if (clientId === undefined) throw new AuthError("invalid_request", "client_id is missing");
  const client = await findClient(ctx, clientId);
  if (client === null) throw new AuthError("invalid_client", "the client is unknown");
  const registered = client.metadata.redirect_uris;
  const [only] = registered;
  if (redirectUri === undefined) {
    if (registered.length === 1 && only !== undefined) return { client, redirectUri: only, state };
    throw new AuthError("invalid_request", "redirect_uri is missing");
  }
  if (!registered.some((uri) => matchesRedirectUri(uri, redirectUri))) {
    throw new AuthError("invalid_request", "redirect_uri is not registered for this client");
  }
  return { client, redirectUri, state };
}

/**
 * Exact string comparison (RFC 9700 section 2.1); an application registered on a loopback address without a port may
 * listen on any (RFC 8252 section 7.3).
 */
export function matchesRedirectUri(registered: string, given: string): boolean {
  if (registered === given) return true;
  const base = /^http:\/\/(127\.0\.0\.1|\[::1\])(?=[/?]|$)/.exec(registered)?.[0];
  if (base === undefined || !given.startsWith(`${base}:`)) return false;
  const [port] = /^\d{1,5}/.exec(given.slice(base.length + 1)) ?? [];
  return port !== undefined && Number(port) <= 65535 && given === `${base}:${port}${registered.slice(base.length)}`;
}

function readRequest({ client, redirectUri, state }: Destination, parameters: Parameters): AuthorizationRequest {
  for (const [name, code] of notSupported) {
    if (parameters[name] !== undefined) throw new ClientError(code, `${name} is not supported`);
  }
  const responseType = parameters["response_type"];
  if (responseType === undefined) throw new ClientError("invalid_request", "response_type is missing");
  if (responseType !== "code") throw new ClientError("unsupported_response_type", "response_type must be code");
  if (!client.metadata.grant_types.includes("authorization_code")) {
    throw new ClientError("unauthorized_client", "this client is not registered for the authorization code grant");
  }
  if ((parameters["response_mode"] ?? "query") !== "query") {
    throw new ClientError("invalid_request", "response_mode must be query");
  }
  const codeChallenge = parameters["code_challenge"];
  if (codeChallenge === undefined)
    throw new ClientError("invalid_request", "code_challenge is missing (PKCE, RFC 7636)");
  if (parameters["code_challenge_method"] !== "S256") {
    throw new ClientError("invalid_request", "code_challenge_method must be S256");
  }
  if (!/^[A-Za-z0-9_-]{43}$/.test(codeChallenge)) {
    throw new ClientError("invalid_request", "code_challenge must be 43 characters of base64url");
  }
  const allowed = scopesOf(client.metadata.scope).filter((s) => !(INTERNAL_SCOPES as readonly string[]).includes(s));
  const asked = parameters["scope"] === undefined ? allowed : scopesOf(parameters["scope"]);
  if (!asked.every((scope) => allowed.includes(scope))) {
    throw new ClientError("invalid_scope", "the client may not ask for one of these scopes");
  }
  const resource = parameters["resource"] ?? null;
  if (resource !== null && !client.metadata.resources.includes(resource)) {
    throw new ClientError("invalid_target", "the client may not ask for this resource");
  }
  const prompt = scopesOf(parameters["prompt"] ?? "");
  if (!prompt.every((value) => prompts.includes(value)) || (prompt.includes("none") && prompt.length > 1)) {
    throw new ClientError("invalid_request", "prompt must be none alone, or login and consent");
  }
  const maxAge = parameters["max_age"];
  if (maxAge !== undefined && !/^\d{1,9}$/.test(maxAge)) {
    throw new ClientError("invalid_request", "max_age must be a number of seconds");
  }
  for (const name of ["state", "nonce"]) {
    if ((parameters[name]?.length ?? 0) > 2000) throw new ClientError("invalid_request", `${name} is too long`);
  }
  return {
    client,
    redirectUri,
    state,
    scope: asked.join(" "),
    nonce: parameters["nonce"] ?? null,
    codeChallenge,
    resource,
    prompt,
    maxAge: maxAge === undefined ? null : Number(maxAge),
  };
}

const prompts = ["none", "login", "consent", "select_account"];
const notSupported = [
  ["request", "request_not_supported"],
  ["request_uri", "request_uri_not_supported"],
  ["registration", "registration_not_supported"],
] as const;

function isRecent(ctx: Context, session: BrowserSession, maxAge: number | null): boolean {
  return maxAge === null || (session.authTime !== null && ctx.clock.now() - session.authTime <= maxAge * 1000);
}

async function hasConsent(ctx: Context, request: AuthorizationRequest, session: BrowserSession): Promise<boolean> {
  if (request.client.metadata.first_party) return true;
  if (session.userId === null) return false;
  const given = await ctx.store.authorizations.findConsent(session.userId, request.client.clientId);
  const scopes = scopesOf(given ?? "");
  return given !== null && scopesOf(request.scope).every((scope) => scopes.includes(scope));
}

async function issueCode(
  ctx: Context,
  request: AuthorizationRequest,
  session: BrowserSession,
  browser: Browser,
): Promise<Next> {
  const { client, redirectUri, scope, nonce, codeChallenge, resource } = request;
  if (session.userId === null) throw new Error("a code needs a signed-in session");
  const code = randomToken();
  const now = ctx.clock.now();
  const outcome = await ctx.store.authorizations.createCode(
    {
      codeHash: hashOf(code),
      clientId: client.clientId,
      userId: session.userId,
      sessionHash: session.idHash,
      redirectUri,
      scope,
      nonce,
      claims: null,
      dpopJkt: null,
      codeChallenge,
      resource,
      authTime: session.authTime ?? now,
      ipAddress: browser.ipAddress,
      userAgent: browser.userAgent.slice(0, 500),
      createdAt: now,
      expiresAt: now + codeLifeMs,
    },
    null,
  );
  if (outcome === "session_ended") throw new ClientError("login_required", "the session ended meanwhile");
  return { to: "client", location: responseUrl(ctx, request, { code }) };
}

async function answeringClient(ctx: Context, destination: Destination, work: () => Promise<Next>): Promise<Next> {
  try {
    return await work();
  } catch (error) {
    const told =
      error instanceof ClientError
        ? { code: error.code as string, description: error.message }
        : error instanceof AuthError && error.code === "unavailable"
          ? { code: "temporarily_unavailable", description: "try again in a moment" }
          : null;
    if (told === null) throw error;
    if (!(error instanceof ClientError)) ctx.log.warn({ err: error }, "authorization request not answered");
    const answer = { error: told.code, error_description: told.description };
    return { to: "client", location: responseUrl(ctx, destination, answer) };
  }
}

/** RFC 6749 section 4.1.2 with the issuer of RFC 9207; a query that the client registered is kept as it is. */
function responseUrl(ctx: Context, { redirectUri, state }: Destination, answer: Record<string, string>): string {
  const query = new URLSearchParams(answer);
  if (state !== undefined) query.set("state", state);
  query.set("iss", ctx.config.issuer);
  return `${redirectUri}${redirectUri.includes("?") ? "&" : "?"}${query}`;
}
