import { AuthError, type AuthErrorCode } from "../../errors.ts";
import { INTERNAL_SCOPES, usesDotlessScheme } from "../../store/client-metadata.ts";
import type { Client } from "../../store/clients.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import { ACR_VALUES, type Acr, acrOf, isAcr, isAtLeast, PASSKEY_ACR } from "../../token/authentication.ts";
import { readForeignJson } from "../../token/strict-json.ts";
import { refreshFromDocument } from "../clients/client-documents.ts";
import { findClient } from "../clients/clients.ts";
import type { OAuthContext } from "../context.ts";
import { askedScopes, readResources } from "../resources.ts";
import { scopesOf, scopesOfClient } from "../scopes.ts";
import { readIdTokenHint } from "../tokens/claims.ts";
import { type ClaimsRequest, readClaimsRequest, scopesOfClaims, withinScopes } from "./claims-request.ts";

export type Parameters = Readonly<Record<string, string>>;

export const RESPONSE_MODES = ["query", "form_post"] as const;
/** OpenID Connect Core section 3.1.2.1, and `create` of Initiating User Registration 1.0. */
export const PROMPTS = ["none", "login", "consent", "select_account", "create"] as const;
/** Every parameter that is read here or shown on a page; all others are ignored (RFC 6749 section 3.1). */
const understood = [
  ...["client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "claims", "resource"],
  ...["code_challenge", "code_challenge_method", "dpop_jkt", "prompt", "max_age", "id_token_hint", "login_hint"],
  "ui_locales",
  "acr_values",
];
/** Bytes of these as JSON. Sealed and in a URL they have to pass proxies and servers that take 8 KiB for a line. */
const maxBytes = 5_500;

/** Where the answer goes: client and redirect URI are beyond doubt (RFC 6749 section 4.1.2.1). */
export interface Destination {
  readonly client: Client;
  readonly redirectUri: string;
  readonly responseMode: (typeof RESPONSE_MODES)[number];
  readonly state: string | undefined;
}

/** A valid authorization request (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2.1). */
export interface AuthorizationRequest extends Destination {
  /** The parameters that travel with the browser while its user signs in. */
  readonly kept: Parameters;
  readonly scope: string;
  /** What the user has to agree to: the scopes, and those that the claims asked for one by one belong to. */
  readonly consentScopes: readonly string[];
  readonly nonce: string | null;
  readonly claims: ClaimsRequest | null;
  /** Empty where the client needs none and sent none. */
  readonly codeChallenge: string;
  /** Thumbprint of the key that the code is for (RFC 9449 section 10). */
  readonly dpopJkt: string | null;
  /** Space-separated; null: the client itself. */
  readonly resource: string | null;
  readonly prompt: readonly string[];
  /** Seconds. */
  readonly maxAge: number | null;
  readonly acr: WantedAcr;
  /** The user it must be, from `id_token_hint` or a `sub` that `claims` asks for. */
  readonly subject: string | null;
}

/** How strong a sign-in the client wants. */
export interface WantedAcr {
  /** Classes of which one is enough, most wanted first; empty: any. */
  readonly values: readonly Acr[];
  /** No other class will do (OpenID Connect Core section 5.5.1.1); otherwise these are what the client would like. */
  readonly isEssential: boolean;
  /** What the client's registration demands of every sign-in (`require_acr`); null: nothing. */
  readonly atLeast: Acr | null;
}

/** An error that the client is told of, at its redirect URI. */
export class ClientError extends Error {
  readonly code: AuthErrorCode;
  constructor(code: AuthErrorCode, description: string) {
    super(description);
    this.code = code;
  }
}

/**
 * Client and redirect URI: while these are in doubt nothing is ever sent to the URI.
 * @throws AuthError invalid_request, invalid_client
 */
export async function readDestination(ctx: OAuthContext, parameters: Parameters): Promise<Destination> {
  const { client_id: clientId, redirect_uri: redirectUri, state } = parameters;
  if (clientId === undefined) throw new AuthError("invalid_request", "client_id is missing");
  await refreshFromDocument(ctx, clientId);
  const client = await findClient(ctx, clientId);
  const refuse = (code: "invalid_client" | "invalid_request", reason: string) => {
    const registered = client?.metadata.redirect_uris.slice(0, 10);
    const told = { client_id: clientId.slice(0, 191), redirect_uri: redirectUri?.slice(0, 500), registered };
    securityEvent(ctx, "authorization_refused", { ...told, error: code, reason });
    return new AuthError(code, reason);
  };
  if (client === null) throw refuse("invalid_client", "the client is unknown");
  const responseMode = responseModeOf(parameters) === "form_post" ? "form_post" : "query";
  const registered = client.metadata.redirect_uris;
  const uri = redirectUri ?? (registered.length === 1 ? registered[0] : undefined);
  if (uri === undefined) throw refuse("invalid_request", "redirect_uri is missing");
  if (!registered.some((each) => matchesRedirectUri(each, uri))) {
    throw refuse("invalid_request", "redirect_uri is not registered for this client");
  }
  if (!hasServedScheme(ctx, uri)) {
    throw refuse(
      "invalid_request",
      "redirect_uri has a private scheme without a dot, which this server does not serve",
    );
  }
  return { client, redirectUri: uri, responseMode, state };
}

/**
 * May an answer go to this URI, redirect or post-logout redirect: is it registered, and its scheme one that the operator allows still?
 * @param registered of the client
 */
export function isUsableRedirectUri(ctx: OAuthContext, registered: readonly string[], given: string): boolean {
  return registered.some((uri) => matchesRedirectUri(uri, given)) && hasServedScheme(ctx, given);
}

/** PRIVATE_URI_SCHEMES may have had more schemes when the client was registered. @param uri an absolute URI */
export function hasServedScheme({ config }: OAuthContext, uri: string): boolean {
  return !usesDotlessScheme(uri, config.privateUriSchemes);
}

/**
 * A request object (RFC 9101) is refused, but where the client wants its answers may stand there alone: the refusal goes that way, or the
 * client would not see it.
 */
function responseModeOf({ response_mode: mode, request }: Parameters): unknown {
  if (mode !== undefined || request === undefined) return mode;
  return readForeignJson(request.split(".", 3)[1] ?? "")?.["response_mode"];
}

/**
 * Exact string comparison (RFC 9700 section 2.1), but for the port of a loopback address: an application listens on the one that is
 * free (RFC 8252 section 7.3), whatever port it registered. The name `localhost`, which RFC 8252 section 8.3 advises against, has any port
 * where it was registered without one, as by programs whose metadata is the same for everybody. Holds for redirect and post-logout redirect URIs.
 */
export function matchesRedirectUri(registered: string, given: string): boolean {
  if (registered === given) return true;
  const [one, other] = [registered, given].map((uri) => loopbackUri.exec(uri)?.groups);
  if (one === undefined || other === undefined || Number(other["port"] ?? 0) > 65535) return false;
  if (one["host"] === "localhost" && one["port"] !== undefined) return false;
  return one["host"] === other["host"] && one["rest"] === other["rest"];
}

const loopbackUri = /^http:\/\/(?<host>127\.0\.0\.1|\[::1\]|localhost)(?::(?<port>\d{1,5}))?(?<rest>(?:[/?].*)?)$/;

/** What of a request has a meaning here: its own parameters, and those that stand for others or are refused. */
export function withoutUnknown(parameters: Parameters): Parameters {
  const names = [...understood, ...notSupported.map(([name]) => name)];
  return Object.fromEntries(Object.entries(parameters).filter(([name]) => names.includes(name)));
}

/** @throws ClientError they are too long */
function keptOf(parameters: Parameters, hasValidHint: boolean): Parameters {
  // a hint that cannot be verified counts as none
  const names = hasValidHint ? understood : understood.filter((name) => name !== "id_token_hint");
  const kept = Object.fromEntries(Object.entries(parameters).filter(([name]) => names.includes(name)));
  if (Buffer.byteLength(JSON.stringify(kept)) <= maxBytes) return kept;
  throw new ClientError("invalid_request", `the parameters of the request have more than ${maxBytes} bytes`);
}

/** Everything else about the request. @throws ClientError */
export async function readRequest(
  ctx: OAuthContext,
  destination: Destination,
  parameters: Parameters,
): Promise<AuthorizationRequest> {
  const { client } = destination;
  for (const [name, code] of notSupported) {
    if (parameters[name] !== undefined) throw new ClientError(code, `${name} is not supported`);
  }
  const responseType = parameters["response_type"];
  if (responseType === undefined) throw new ClientError("invalid_request", "response_type is missing");
  if (responseType !== "code") throw new ClientError("unsupported_response_type", "response_type must be code");
  if (!client.metadata.grant_types.includes("authorization_code")) {
    throw new ClientError("unauthorized_client", "this client is not registered for the authorization code grant");
  }
  if (!(RESPONSE_MODES as readonly string[]).includes(parameters["response_mode"] ?? "query")) {
    throw new ClientError("invalid_request", `response_mode must be ${RESPONSE_MODES.join(" or ")}`);
  }
  for (const name of ["state", "nonce"]) {
    if ((parameters[name]?.length ?? 0) > 2000) throw new ClientError("invalid_request", `${name} is too long`);
  }
  const scope = readScope(ctx, client, parameters);
  const claims = readClaims(parameters["claims"]);
  const prompt = readPrompt(parameters["prompt"]);
  const hint = readHint(ctx, client, parameters["id_token_hint"]);
  if (hint === "unknown" && prompt.includes("none")) {
    throw new ClientError("login_required", "id_token_hint is not a valid ID token of this client");
  }
  const hinted = hint === "unknown" ? null : (hint?.sub ?? null);
  const named = claims?.id_token?.["sub"]?.value ?? null;
  if (named !== null && hinted !== null && hinted !== named) {
    throw new ClientError("invalid_request", "id_token_hint and claims name different users");
  }
  const allowed = userScopesOf(ctx, client);
  return {
    ...destination,
    kept: keptOf(parameters, hint !== "unknown"),
    scope: scope.join(" "),
    consentScopes: [...new Set([...scope, ...scopesOfClaims(claims).filter((s) => allowed.includes(s))])],
    nonce: parameters["nonce"] ?? null,
    claims: claims === null ? null : withinScopes(claims, allowed),
    codeChallenge: readChallenge(client, parameters),
    dpopJkt: readThumbprint(parameters["dpop_jkt"]),
    resource: readTarget(ctx, client, parameters["resource"], scope),
    prompt,
    acr: readAcr(client, claims, parameters["acr_values"]),
    maxAge: readMaxAge(parameters["max_age"]) ?? client.metadata.default_max_age ?? null,
    subject: hinted ?? (typeof named === "string" ? named : null),
  };
}

/** Scopes that a user's token of this client may have. */
export function userScopesOf(ctx: OAuthContext, client: Client): string[] {
  return scopesOfClient(ctx, client).filter((scope) => !(INTERNAL_SCOPES as readonly string[]).includes(scope));
}

function readScope(ctx: OAuthContext, client: Client, parameters: Parameters): readonly string[] {
  const allowed = userScopesOf(ctx, client);
  const asked = askedScopes(ctx, client, allowed, parameters);
  if (asked.every((scope) => allowed.includes(scope))) return asked;
  throw new ClientError("invalid_scope", "the client may not request one of these scopes");
}

/** PKCE with S256 alone (RFC 7636 section 4.2, OAuth 2.1 section 4.1.1). */
function readChallenge(client: Client, parameters: Parameters): string {
  const { code_challenge: challenge, code_challenge_method: method } = parameters;
  if (challenge === undefined && method === undefined && !client.metadata.require_pkce) return "";
  if (challenge === undefined) throw new ClientError("invalid_request", "code_challenge is missing (PKCE, RFC 7636)");
  if (method !== "S256") {
    throw new ClientError("invalid_request", "code_challenge_method must be S256");
  }
  if (/^[A-Za-z0-9_-]{43}$/.test(challenge)) return challenge;
  throw new ClientError("invalid_request", "code_challenge must be 43 characters of base64url");
}

function readThumbprint(given: string | undefined): string | null {
  if (given === undefined) return null;
  if (/^[A-Za-z0-9_-]{43}$/.test(given)) return given;
  throw new ClientError("invalid_request", "dpop_jkt must be 43 characters of base64url");
}

function readTarget(
  ctx: OAuthContext,
  client: Client,
  resource: string | undefined,
  scopes: readonly string[],
): string | null {
  try {
    return readResources(ctx, client, resource, scopes);
  } catch (error) {
    throw error instanceof AuthError ? new ClientError(error.code, error.description) : error;
  }
}

function readPrompt(given: string | undefined): string[] {
  const prompt = scopesOf(given ?? "");
  const known = prompt.every((value) => (PROMPTS as readonly string[]).includes(value));
  if (known && !(prompt.includes("none") && prompt.length > 1)) return prompt;
  throw new ClientError(
    "invalid_request",
    "prompt must be none, or one or more of login, consent, select_account and create",
  );
}

function readMaxAge(given: string | undefined): number | null {
  if (given === undefined) return null;
  // also the largest of 32 bits, by which libraries say "any"
  if (/^\d{1,15}$/.test(given)) return Number(given);
  throw new ClientError("invalid_request", "max_age must be a number of seconds");
}

/** OpenID Connect Core section 5.5. */
function readClaims(given: string | undefined): ClaimsRequest | null {
  if (given === undefined) return null;
  const claims = readClaimsRequest(given);
  if (claims === null)
    throw new ClientError("invalid_request", "claims is malformed (OpenID Connect Core section 5.5)");
  return claims;
}

/**
 * The classes that a request asks for: by `claims`, by `acr_values`, or by the client's registration. Unknown ones are ignored (OpenID
 * Connect Core section 3.1.2.1), but where one is essential and none is known.
 */
function readAcr(client: Client, claims: ClaimsRequest | null, acrValues: string | undefined): WantedAcr {
  const { default_acr_values: byDefault = [], require_acr: atLeast = null } = client.metadata;
  const claim = claims?.id_token?.["acr"];
  const claimed = claim?.values ?? (claim?.value === undefined ? [] : [claim.value]);
  const asked = claimed.length > 0 ? claimed : acrValues === undefined ? byDefault : scopesOf(acrValues);
  const values = asked.filter(isAcr);
  const isEssential = claim?.essential === true && claimed.length > 0;
  if (isEssential && values.length === 0) {
    throw new ClientError("unmet_authentication_requirements", `acr must be one of ${ACR_VALUES.join(", ")}`);
  }
  return { values, isEssential, atLeast };
}

/** The class under which a sign-in meets a request; null: it is too weak. @param methods `amr` values */
export function metAcr({ values, atLeast }: WantedAcr, methods: readonly string[]): Acr | null {
  const strongest = acrOf(methods);
  if (atLeast !== null && !isAtLeast(strongest, atLeast)) return null;
  const met = values.filter((value) => isAtLeast(strongest, value));
  if (values.length > 0 && met.length === 0) return null;
  // what the client asked for, by its own name, but not less than its registration demands
  return met.find((value) => atLeast === null || isAtLeast(value, atLeast)) ?? strongest;
}

/** The weakest class that would meet a request. */
export function weakestAcr({ values, atLeast }: WantedAcr): Acr {
  const enough = ACR_VALUES.filter(
    (acr) =>
      (atLeast === null || isAtLeast(acr, atLeast)) &&
      (values.length === 0 || values.some((value) => isAtLeast(acr, value))),
  );
  return enough[0] ?? PASSKEY_ACR;
}

/** An ID token of this client, expired or not. @returns the user it names; `unknown`: it cannot be verified, and counts as none */
function readHint(ctx: OAuthContext, client: Client, hint: string | undefined): { sub: string } | "unknown" | null {
  if (hint === undefined) return null;
  const claims = readIdTokenHint(ctx, hint);
  return claims !== null && claims.aud === client.clientId ? claims : "unknown";
}

const notSupported = [
  ["request", "request_not_supported"],
  ["request_uri", "request_uri_not_supported"],
  ["registration", "registration_not_supported"],
] as const;
