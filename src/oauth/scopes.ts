import { AuthError } from "../errors.ts";
import type { Client } from "../store/clients.ts";
import { isSameUri } from "../token/uri.ts";
import { isUnverified } from "./clients/names.ts";
import type { OAuthContext } from "./context.ts";

/** The scopes of a space-separated list (RFC 6749 section 3.3), each once. */
export function scopesOf(text: string): string[] {
  return [...new Set(text.split(" ").filter((scope) => scope !== ""))];
}

/**
 * The scopes that a client may have now: those of its registration, without those that the catalogue keeps for others. One that the catalogue does
 * not describe is for every client that is registered for it.
 */
export function scopesOfClient(ctx: OAuthContext, client: Client): string[] {
  return scopesOf(client.metadata.scope).filter((scope) => mayHave(ctx, client, scope));
}

/** The scopes of its registration that a client does not get, because the catalogue keeps them for others. */
export function scopesKeptFrom(ctx: OAuthContext, client: Client): string[] {
  return scopesOf(client.metadata.scope).filter((scope) => !mayHave(ctx, client, scope));
}

function mayHave({ config }: OAuthContext, client: Client, scope: string): boolean {
  const who = config.scopes.get(scope)?.who ?? "anyone";
  if (who === "anyone") return true;
  if (isUnverified(client)) return false;
  if (who === "registered") return true;
  return who === "first_party" ? client.metadata.first_party : who.includes(client.clientId);
}

/** The scopes that clients which register themselves may have, besides those of the standards. */
export function openScopes({ config }: OAuthContext): string[] {
  return [...config.scopes.values()].filter(({ who }) => who === "anyone").map(({ scope }) => scope);
}

/** The scopes of the catalogue that the discovery documents name. */
export function listedScopes({ config }: OAuthContext): string[] {
  return [...config.scopes.values()].filter(({ who, listed }) => listed ?? who === "anyone").map(({ scope }) => scope);
}

/** The resources that these scopes belong to. */
export function resourcesOfScopes({ config }: OAuthContext, scopes: readonly string[]): string[] {
  return [...new Set(scopes.flatMap((scope) => config.scopes.get(scope)?.resource ?? []))];
}

/** Does a scope belong to no resource, or to one of these? */
export function mayBeFor({ config }: OAuthContext, scope: string, resources: readonly string[]): boolean {
  const owner = config.scopes.get(scope)?.resource;
  return owner === undefined || resources.some((one) => isSameUri(one, owner));
}

/**
 * The scopes of an authorization that the client may still have: what was agreed to, without what the client has lost since, and without what
 * SCOPES_FILE has given since to resources that were not agreed to.
 */
export function permittedScope(
  ctx: OAuthContext,
  agreed: { readonly scope: string; readonly resource: string | null },
  client: Client,
): string {
  const allowed = scopesOfClient(ctx, client);
  const resources = scopesOf(agreed.resource ?? "");
  return scopesOf(agreed.scope)
    .filter((scope) => allowed.includes(scope) && mayBeFor(ctx, scope, resources))
    .join(" ");
}

/**
 * The scopes of a token: a scope that belongs to a resource is only in tokens for that resource.
 * @param resource of the token, space-separated; null: it is for the client itself
 * @throws AuthError invalid_scope: none is left
 */
export function scopeForResource(ctx: OAuthContext, scope: string, resource: string | null): string {
  const resources = scopesOf(resource ?? "");
  const scopes = scopesOf(scope);
  const left = scopes.filter((each) => mayBeFor(ctx, each, resources));
  if (scopes.length > 0 && left.length === 0) {
    throw new AuthError("invalid_scope", "none of the scopes belongs to this resource");
  }
  return left.join(" ");
}

/**
 * RFC 6749 section 6 and RFC 8693 section 2.1: a token request may ask for less than was granted, never for more.
 * @param asked the `scope` parameter; undefined: all that was granted
 * @throws AuthError invalid_scope
 */
export function narrowedScope(granted: string, asked: string | undefined): string {
  if (asked === undefined) return granted;
  const allowed = scopesOf(granted);
  const scopes = scopesOf(asked);
  if (scopes.length > 0 && scopes.every((scope) => allowed.includes(scope))) return scopes.join(" ");
  throw new AuthError("invalid_scope", "scope exceeds what was granted");
}
