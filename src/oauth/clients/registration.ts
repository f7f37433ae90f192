import { randomUUID } from "node:crypto";
import { hashOf, isSameSecret, randomToken } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import type { ClientMetadata } from "../../store/client-metadata.ts";
import {
  INTERNAL_SCOPES,
  isReadable,
  METADATA_MEMBERS,
  namesDefault,
  readClientRegistration,
  TOKEN_EXCHANGE_GRANT,
  usesDotlessScheme,
} from "../../store/client-metadata.ts";
import type { Client } from "../../store/clients.ts";
import { hidesCharacters } from "../../store/visible-text.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { OAuthContext } from "../context.ts";
import { PATHS } from "../paths.ts";
import { openScopes, scopesOf } from "../scopes.ts";
import { CLAIM_SCOPES } from "../tokens/user-claims.ts";
import { isNameTaken, vouchingProblem } from "./names.ts";

/** Members that widen what a client may do, or weaken it: an operator's, never its own. */
const operatorsOnly: readonly string[] = [
  "first_party",
  "require_pkce",
  "resources",
  "default_resource",
  "resource_server_for",
  "token_exchange_audiences",
  "access_token_typ",
  "refresh_token_rotation",
  "refresh_token_reuse_window",
  "tls_client_auth_subject_dn",
];
const ownMembers = METADATA_MEMBERS.filter((member) => !operatorsOnly.includes(member));

/** What cannot be left out silently (RFC 7591 section 2 lets a server ignore the rest): the client would wait for it in vain. */
const notSupported: readonly string[] = [
  "software_statement",
  "userinfo_signed_response_alg",
  "userinfo_encrypted_response_alg",
  "userinfo_encrypted_response_enc",
  "id_token_encrypted_response_alg",
  "id_token_encrypted_response_enc",
  "introspection_encrypted_response_alg",
  "introspection_encrypted_response_enc",
  "authorization_signed_response_alg",
  "authorization_encrypted_response_alg",
  "authorization_encrypted_response_enc",
  "tls_client_certificate_bound_access_tokens",
  "require_signed_request_object",
];

/** Of this service's answers: RFC 7592 section 2.2 keeps them out of requests. */
const answersOnly: readonly string[] = [
  "registration_access_token",
  "registration_client_uri",
  "client_secret_expires_at",
  "client_id_issued_at",
];

/** Grants in which no user is asked, or that use the token of another client. */
const operatorsGrants: readonly string[] = ["client_credentials", TOKEN_EXCHANGE_GRANT];

/** Of a client that registers without an initial access token. */
const openGrants: readonly string[] = ["authorization_code", "refresh_token"];
const openMetadataBytes = 8 * 1024;

/**
 * Members of a document, which serves all servers, that mean nothing here where this server does not know their value: texts and links for pages, and
 * wishes that it cannot meet. What decides who the client is, or whom its answers reach, is not among them.
 */
const leftOutUnlessRead: readonly string[] = [
  ...["client_uri", "logo_uri", "policy_uri", "tos_uri", "contacts", "application_type", "subject_type"],
  ...["id_token_signed_response_alg", "introspection_signed_response_alg", "access_token_signed_response_alg"],
  ...["default_acr_values", "default_max_age", "post_logout_redirect_uris"],
];

/** What other servers know and this one has not, as it is without being named. */
const notSupportedDefaults: Json = {
  tls_client_certificate_bound_access_tokens: false,
  require_signed_request_object: false,
};

type Json = Readonly<Record<string, unknown>>;

/** A request to the client configuration endpoint (RFC 7592). */
export interface ConfigurationRequest {
  readonly clientId: string;
  /** The Authorization header: the registration access token. */
  readonly authorization: string | null;
  readonly network: string;
}

/** A token with which clients may register themselves, told this once. @param options.expiresIn seconds */
export async function createInitialAccessToken(
  ctx: OAuthContext,
  { uses, expiresIn }: { uses: number; expiresIn: number },
): Promise<{ token: string; expiresAt: number }> {
  const token = randomToken();
  const createdAt = ctx.clock.now();
  const expiresAt = createdAt + expiresIn * 1000;
  await ctx.store.clients.saveInitialAccessToken({ tokenHash: hashOf(token), uses, createdAt, expiresAt });
  return { token, expiresAt };
}

/**
 * Client registration (RFC 7591 section 3.1), with an initial access token unless OPEN_REGISTRATION is on. A refused registration does not use
 * the token up.
 * @throws AuthError unauthorized, invalid_token, invalid_redirect_uri, invalid_client_metadata, rate_limited, unavailable
 */
export async function registerClient(
  ctx: OAuthContext,
  { authorization, network, json: given }: { authorization: string | null; network: string; json: Json },
): Promise<Json> {
  const isOpen = authorization === null && ctx.config.openRegistration;
  const json = isOpen ? withOpenGrants(withoutEmpty(given)) : withoutEmpty(given);
  const initialToken = isOpen ? null : hashOf(bearerOf(authorization));
  const refused = () => new AuthError("invalid_token", "the initial access token is unknown, expired or used up");
  if (initialToken !== null && !(await ctx.store.clients.hasInitialAccessToken(initialToken, ctx.clock.now()))) {
    throw refused();
  }
  await ctx.limits.take("client_registration", network);
  if (isOpen) demandOpenMetadata(json);
  logDotlessSchemes(ctx, json);
  for (const member of ["client_id", "client_secret"]) {
    if (json[member] !== undefined) throw metadataError([`${member}: is chosen here`]);
  }
  const { profile, token_endpoint_auth_method: method = profile === "fapi2" ? undefined : "client_secret_basic" } =
    json;
  const clientId = randomUUID();
  const clientSecret = isSecretMethod(method) ? randomToken() : null;
  const metadata = readOwnMetadata(ctx, json, clientId, clientSecret);
  await refuseTakenName(ctx, metadata);
  if (isOpen) await admitWithoutToken(ctx, network);
  const registrationToken = randomToken();
  const client = { clientId, metadata, createdAt: ctx.clock.now() };
  const outcome = await ctx.store.clients.register(client, {
    initialToken,
    registrationToken: hashOf(registrationToken),
    secret: clientSecret === null ? null : hashOf(clientSecret),
  });
  if (outcome === "token_refused") throw refused();
  securityEvent(ctx, "client_registered", { client_id: clientId });
  const secret = clientSecret === null ? {} : { client_secret: clientSecret, client_secret_expires_at: 0 };
  return { ...informationOf(ctx, client, registrationToken), ...secret };
}

/**
 * The metadata in a client's own document, which has no shared secret and asks for no more than an open registration may. The document serves all
 * servers: what this one does not use is left out (RFC 7591 section 2), and only what concerns its security is refused.
 * @throws AuthError invalid_redirect_uri, invalid_client_metadata
 */
export async function readDocumentMetadata(ctx: OAuthContext, document: Json): Promise<ClientMetadata> {
  const { client_id: _, token_endpoint_auth_method: method = "none", ...json } = usedHere(ctx, withoutEmpty(document));
  if (method !== "none" && method !== "private_key_jwt") {
    throw metadataError(["token_endpoint_auth_method: must be none or private_key_jwt"]);
  }
  if (json["client_secret"] !== undefined) throw metadataError(["client_secret: is no secret in a public document"]);
  demandOpenMetadata(json);
  const metadata = readOwnMetadata(ctx, { ...json, token_endpoint_auth_method: method }, randomUUID(), null);
  await refuseTakenName(ctx, metadata);
  return metadata;
}

/** Lists of a document in which other servers find values of theirs. */
const shared: readonly string[] = ["redirect_uris", "post_logout_redirect_uris", "response_types"];

/** A document without what only other servers use. A list of which nothing remains stays as it is, for the reader to say what is wrong with it. */
function usedHere(ctx: OAuthContext, document: Json): Json {
  logDotlessSchemes(ctx, document);
  const members = Object.entries(withOpenGrants(document)).map(([member, value]): [string, unknown] => {
    if (!shared.includes(member) || !Array.isArray(value)) return [member, value];
    const usable = value.filter((one) => isReadable(member, [one]) && !isDotless(ctx, one));
    return [member, usable.length === 0 ? value : usable];
  });
  const isUsed = ([member, value]: [string, unknown]) => {
    if (notSupported.includes(member) || answersOnly.includes(member)) return false;
    return !leftOutUnlessRead.includes(member) || isReadable(member, value);
  };
  return Object.fromEntries(members.filter(isUsed));
}

/** The refusal, which a stranger reads, says what is wrong; the log tells the operator what allows it. */
function logDotlessSchemes(ctx: OAuthContext, { redirect_uris: uris, post_logout_redirect_uris: others }: Json): void {
  const dotless = [uris, others].flat().filter((uri) => isDotless(ctx, uri));
  const schemes = [...new Set(dotless.map((uri) => String(uri).split(":", 1)[0]?.slice(0, 50)))].slice(0, 5);
  if (schemes.length === 0) return;
  ctx.log.warn({ schemes }, "a client's redirect URI was not taken: PRIVATE_URI_SCHEMES does not have its scheme");
}

function isDotless(ctx: OAuthContext, uri: unknown): boolean {
  return typeof uri === "string" && URL.canParse(uri) && usesDotlessScheme(uri, ctx.config.privateUriSchemes);
}

/** The members that say something: programs send null, or an empty text, for what their user did not fill in. */
function withoutEmpty(json: Json): Json {
  return Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null && value !== ""));
}

/**
 * Without the grants that only a registration with a token gets, if there are others: programs ask for all that they know, and the answer says what
 * they got (RFC 7591 section 3.2.1).
 */
function withOpenGrants(json: Json): Json {
  const { grant_types: asked } = json;
  const granted = Array.isArray(asked) ? asked.filter((grant) => openGrants.includes(grant)) : [];
  return granted.length === 0 ? json : { ...json, grant_types: granted };
}

/** A registration that no operator knows of beforehand; those that were refused do not count. @throws AuthError rate_limited */
async function admitWithoutToken(ctx: OAuthContext, network: string): Promise<void> {
  await ctx.limits.take("open_registration", network);
  await ctx.limits.take("open_registration_total", "");
}

function demandOpenMetadata(json: Json): void {
  demandSize(json, openMetadataBytes);
  demandOpenGrants(json, []);
}

function demandSize(json: Json, mostBytes: number): void {
  const length = Buffer.byteLength(JSON.stringify(json));
  if (length > mostBytes) throw metadataError([`registration: has more than ${mostBytes} bytes`]);
}

/** @param held grants that the client has already, from a registration with a token */
function demandOpenGrants(json: Json, held: readonly string[]): void {
  const grants: unknown[] = Array.isArray(json["grant_types"]) ? json["grant_types"] : [];
  const refused = grants.filter((grant) => ![...openGrants, ...held].includes(String(grant)));
  if (refused.length > 0) {
    const needed = "needs a registration with an initial access token";
    throw metadataError(refused.map((grant) => `grant_types: ${String(grant)} ${needed}`));
  }
}

/** @throws AuthError invalid_client_metadata */
async function refuseTakenName(ctx: OAuthContext, { client_name: name }: ClientMetadata): Promise<void> {
  if (name === undefined) return;
  if (hidesCharacters(name))
    throw metadataError(["client_name: must not have control, invisible or bidirectional characters"]);
  const problem = vouchingProblem(name);
  if (problem !== null) throw metadataError([`client_name: ${problem}`]);
  if (!(await isNameTaken(ctx, name))) return;
  throw metadataError(["client_name: is, or looks like, the name of another client"]);
}

/** RFC 7592 section 2.1. @throws AuthError unauthorized, invalid_token, unavailable */
export async function readRegistration(ctx: OAuthContext, request: ConfigurationRequest): Promise<Json> {
  return informationOf(ctx, await registeredClient(ctx, request), bearerOf(request.authorization));
}

/**
 * RFC 7592 section 2.2: what is given takes the place of all there was; secret and tokens stay as they are. A new name counts as a registration
 * does, as it is compared with those of all clients of the operator.
 * @throws AuthError unauthorized, invalid_token, invalid_redirect_uri, invalid_client_metadata, rate_limited, unavailable
 */
export async function replaceRegistration(
  ctx: OAuthContext,
  request: ConfigurationRequest,
  given: Json,
): Promise<Json> {
  const client = await registeredClient(ctx, request);
  const { client_id: clientId, client_secret: secret, ...json } = withoutEmpty(given);
  logDotlessSchemes(ctx, json);
  if (clientId !== client.clientId) throw metadataError(["client_id: must be the client's own"]);
  const { profile, token_endpoint_auth_method: method = profile === "fapi2" ? undefined : "client_secret_basic" } =
    json;
  const live = client.secrets.find(({ expiresAt }) => expiresAt === null);
  if (secret !== undefined && !(live !== undefined && typeof secret === "string" && isHashOf(secret, live.hash))) {
    throw metadataError(["client_secret: is not the client's"]);
  }
  if (isSecretMethod(method) && live === undefined) {
    throw metadataError(["token_endpoint_auth_method: this client was registered without a secret"]);
  }
  const placeholder = isSecretMethod(method) ? randomToken() : null;
  // whether it came with a token is not remembered, and OPEN_REGISTRATION may have changed since
  demandOpenGrants(json, client.metadata.grant_types);
  // what was registered with a token may be longer, and must stay possible to change
  demandSize(json, Math.max(openMetadataBytes, Buffer.byteLength(JSON.stringify(client.metadata))));
  const metadata = readOwnMetadata(ctx, json, client.clientId, placeholder);
  if (metadata.client_name !== client.metadata.client_name) {
    await ctx.limits.take("client_registration", request.network);
    await refuseTakenName(ctx, metadata);
  }
  await ctx.store.clients.replaceMetadata(client.clientId, metadata, "registration", ctx.clock.now());
  return informationOf(ctx, { ...client, metadata }, bearerOf(request.authorization));
}

/** RFC 7592 section 2.3: the client is disabled for good and its tokens are worth nothing. @throws AuthError unauthorized, invalid_token */
export async function deleteRegistration(ctx: OAuthContext, request: ConfigurationRequest): Promise<void> {
  const { clientId } = await registeredClient(ctx, request);
  await ctx.store.clients.disable(clientId, "command", ctx.clock.now());
  securityEvent(ctx, "client_deleted", { client_id: clientId });
}

/** The same refusal for an unknown client, a wrong token and a deleted client. */
async function registeredClient(ctx: OAuthContext, { clientId, authorization }: ConfigurationRequest): Promise<Client> {
  const client = await ctx.store.clients.findRegistered(clientId, hashOf(bearerOf(authorization)));
  if (client === null) throw new AuthError("invalid_token", "not the registration access token of this client");
  return client;
}

function bearerOf(authorization: string | null): string {
  if (authorization === null) throw new AuthError("unauthorized", "an access token is required");
  const token = /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i.exec(authorization)?.[1];
  if (token === undefined) throw new AuthError("invalid_token", "the Authorization header is not a Bearer token");
  return token;
}

/** @param secret what the client authenticates with, where it has one */
function readOwnMetadata(ctx: OAuthContext, given: Json, clientId: string, secret: string | null): ClientMetadata {
  const problems: string[] = [];
  const report = (members: readonly string[], problem: string) => {
    problems.push(...members.filter((member) => given[member] !== undefined).map((member) => `${member}: ${problem}`));
  };
  // a member that names its default asks for nothing
  const asksFor = (member: string) => !namesDefault(given, member) && given[member] !== notSupportedDefaults[member];
  report(operatorsOnly.filter(asksFor), "is for the operator of this server to set");
  report(notSupported.filter(asksFor), "is not supported");
  report(answersOnly, "is not part of a request");
  const grants = given["grant_types"] ?? ["authorization_code"];
  if (Array.isArray(grants)) {
    const refused = grants.filter((grant) => operatorsGrants.includes(grant));
    problems.push(...refused.map((grant) => `grant_types: ${grant} is for the operator of this server to allow`));
  }
  const scope = given["scope"] ?? ["openid", ...CLAIM_SCOPES, "offline_access", ...openScopes(ctx)].join(" ");
  if (
    typeof scope === "string" &&
    scopesOf(scope).some((each) => (INTERNAL_SCOPES as readonly string[]).includes(each))
  ) {
    problems.push("scope: internal scopes are for the operator of this server to allow");
  }
  const kept = [...ctx.config.scopes.keys()].filter((each) => !openScopes(ctx).includes(each));
  const refused = typeof scope === "string" ? scopesOf(scope).filter((each) => kept.includes(each)) : [];
  problems.push(...refused.map((each) => `scope: ${each} is for the operator of this server to allow`));
  const own = Object.fromEntries(Object.entries(given).filter(([member]) => ownMembers.includes(member)));
  const registration = {
    ...own,
    grant_types: grants,
    scope,
    client_id: clientId,
    ...(secret === null ? {} : { client_secret: secret }),
  };
  const read = readClientRegistration(registration, ctx.config.production, ctx.config.privateUriSchemes);
  if (Array.isArray(read)) problems.push(...read);
  if (problems.length > 0 || Array.isArray(read)) throw metadataError(problems);
  return read.metadata;
}

/** RFC 7591 section 3.2.2. @param problems `member: what is wrong` */
function metadataError(problems: readonly string[]): AuthError {
  const ofRedirectUri = problems.some((problem) => problem.startsWith("redirect_uris"));
  return new AuthError(ofRedirectUri ? "invalid_redirect_uri" : "invalid_client_metadata", problems.join("; "));
}

function isSecretMethod(method: unknown): boolean {
  return method === "client_secret_basic" || method === "client_secret_post";
}

function isHashOf(secret: string, hash: string): boolean {
  return isSameSecret(hashOf(secret), hash);
}

/** RFC 7591 section 3.2.1, RFC 7592 section 3: what the client may set, and what only this server says. */
function informationOf(
  ctx: OAuthContext,
  { clientId, metadata, createdAt }: Pick<Client, "clientId" | "metadata" | "createdAt">,
  registrationToken: string,
): Json {
  return {
    client_id: clientId,
    client_id_issued_at: Math.floor(createdAt / 1000),
    registration_access_token: registrationToken,
    registration_client_uri: `${ctx.config.issuer}${PATHS.register}/${clientId}`,
    ...Object.fromEntries(Object.entries(metadata).filter(([member]) => ownMembers.includes(member))),
    subject_type: "public",
  };
}
