import { AuthError } from "../errors.ts";
import type { Client } from "../store/clients.ts";
import { haveSameUri, normalizedUri } from "../token/uri.ts";
import type { OAuthContext } from "./context.ts";
import { PATHS } from "./paths.ts";
import { mayBeFor, resourcesOfScopes, scopesOf, scopesOfClient } from "./scopes.ts";

/** What a token is for: one audience as a string, several as a list (RFC 7519 section 4.1.3). */
export type Audience = string | readonly string[];

/** What a client may ask tokens for (RFC 8707): its own resources, those of its scopes, and those that any client may ask for. */
function resourcesFor(ctx: OAuthContext, client: Client): readonly string[] {
  const { resources, default_resource: byDefault = [] } = client.metadata;
  return [...resources, ...byDefault, ...ctx.config.resources, ...resourcesOfScopes(ctx, scopesOfClient(ctx, client))];
}

/**
 * Finds each name in a list, by RFC 3986 section 6.2.3 where both are URIs.
 * @param names space-separated: a resource has no spaces
 * @returns as the list spells them, each once; null: one is not there
 */
export function findNames(list: readonly string[], names: string): string[] | null {
  const found = scopesOf(names).map((name) => {
    const uri = normalizedUri(name);
    return list.find((each) => each === name) ?? list.find((each) => uri !== null && normalizedUri(each) === uri);
  });
  return found.every((name) => name !== undefined) ? [...new Set(found)] : null;
}

/**
 * The scopes that a request asks for. One that names none asks for those of the client that belong to no resource, or to one that the token is
 * for; where the client has no others, for all of them: the token is then for their resources.
 * @param allowed that the client may have
 * @param parameters scope and resource, space-separated
 * @returns not compared with what is allowed
 */
export function askedScopes(
  ctx: OAuthContext,
  client: Client,
  allowed: readonly string[],
  { scope, resource }: Readonly<Record<string, string>>,
): readonly string[] {
  if (scope !== undefined) return scopesOf(scope);
  const resources = resource === undefined ? (client.metadata.default_resource ?? []) : scopesOf(resource);
  const fitting = allowed.filter((each) => mayBeFor(ctx, each, resources));
  return fitting.length > 0 ? fitting : allowed;
}

/**
 * The resources of a request to the token, device or authorization endpoint.
 * @param asked the `resource` parameters, space-separated; undefined: the resources that the scopes belong to, else the client's
 * `default_resource`
 * @param scopes of the request
 * @returns as registered, space-separated; null: the token is for the client itself
 * @throws AuthError invalid_target, invalid_scope
 */
export function readResources(
  ctx: OAuthContext,
  client: Client,
  asked: string | undefined,
  scopes: readonly string[],
): string | null {
  if (asked === undefined) {
    const owners = resourcesOfScopes(ctx, scopes);
    return owners.length > 0 ? owners.join(" ") : (client.metadata.default_resource?.join(" ") ?? null);
  }
  const found = findNames(resourcesFor(ctx, client), asked);
  if (found === null) throw new AuthError("invalid_target", "the client may not request this resource");
  if (!scopes.every((scope) => mayBeFor(ctx, scope, found))) {
    throw new AuthError("invalid_scope", "a scope belongs to a resource that was not requested");
  }
  return found.length === 0 ? null : found.join(" ");
}

/**
 * The resources of a token of an authorization: those asked for now, else all that were agreed to and that the client still may have.
 * @param agreed of the authorization, space-separated
 * @param asked the `resource` parameters, space-separated
 * @throws AuthError invalid_target: one that is asked for was not agreed to, or the client lost it (RFC 8707 section 2.2); invalid_grant: none
 * is asked for, and the client lost all that were agreed to
 */
export function grantedResources(
  ctx: OAuthContext,
  client: Client,
  agreed: string | null,
  asked: string | undefined,
): string | null {
  const wanted = asked === undefined ? scopesOf(agreed ?? "") : findNames(scopesOf(agreed ?? ""), asked);
  if (wanted === null) throw new AuthError("invalid_target", "the resource differs from the one that was authorized");
  const granted = stillAllowed(ctx, client, wanted);
  if (asked !== undefined && granted.length < wanted.length) {
    throw new AuthError("invalid_target", "the client may no longer request this resource");
  }
  if (wanted.length > 0 && granted.length === 0) {
    throw new AuthError(
      "invalid_grant",
      "the client may no longer request any resource that was authorized: sign in again",
    );
  }
  return granted.length === 0 ? null : granted.join(" ");
}

/** Were resources agreed to, and the client lost all of them? @param agreed of the authorization, space-separated */
export function hasLostResources(ctx: OAuthContext, client: Client, agreed: string | null): boolean {
  const wanted = scopesOf(agreed ?? "");
  return wanted.length > 0 && stillAllowed(ctx, client, wanted).length === 0;
}

function stillAllowed(ctx: OAuthContext, client: Client, resources: readonly string[]): string[] {
  const allowed = resourcesFor(ctx, client);
  return resources.flatMap((each) => findNames(allowed, each) ?? []);
}

/**
 * The audience of an access token: the client, or its resources. That of a user's token with scope openid opens userinfo as well (OpenID
 * Connect Core section 5.3.1).
 * @param resource space-separated
 */
export function audienceOf(
  ctx: OAuthContext,
  client: Client,
  resource: string | null,
  opensUserinfo: boolean,
): Audience {
  const resources = scopesOf(resource ?? "");
  if (resources.length === 0) return client.clientId;
  return toAudience(opensUserinfo ? [...resources, userinfoAudience(ctx)] : resources);
}

export function userinfoAudience({ config }: OAuthContext): string {
  return config.issuer + PATHS.userinfo;
}

/** One audience is written as a string, as most resource servers expect it. */
export function toAudience(audiences: readonly string[]): Audience {
  const [only] = audiences;
  return audiences.length === 1 && only !== undefined ? only : audiences;
}

export function audiencesOf(audience: Audience): readonly string[] {
  return typeof audience === "string" ? [audience] : audience;
}

/** Is a token for this client, or for a resource or another client that it serves? */
export function isServedBy({ clientId, metadata }: Client, audience: Audience): boolean {
  const audiences = audiencesOf(audience);
  return audiences.includes(clientId) || haveSameUri(audiences, metadata.resource_server_for);
}
