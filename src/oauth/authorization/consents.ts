import { AuthError } from "../../errors.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import type { OAuthContext } from "../context.ts";
import { scopesOf } from "../scopes.ts";

/** A client that may do something in a user's name. */
export interface Application {
  readonly clientId: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly since: number;
}

/** What a user allowed, by name: clients with a consent, and those that hold a live authorization without needing one. */
export async function listApplications(ctx: OAuthContext, userId: string): Promise<Application[]> {
  const { authorizations } = ctx.store;
  const consents = await authorizations.listConsents(userId);
  const grants = await authorizations.listGrants(userId, ctx.clock.now());
  const found = new Map<string, { scopes: string[]; since: number }>();
  for (const { clientId, scope, since } of [
    ...consents.map((each) => ({ ...each, since: each.updatedAt })),
    ...grants,
  ]) {
    const known = found.get(clientId);
    const scopes = [...new Set([...(known?.scopes ?? []), ...scopesOf(scope)])];
    found.set(clientId, { scopes, since: Math.min(since, known?.since ?? since) });
  }
  // some programs register a new client at each sign-in, so that a user has thousands: one statement finds hundreds
  const clients = await ctx.store.clients.findMany([...found.keys()]);
  const names = new Map(clients.map(({ clientId, metadata }) => [clientId, metadata.client_name]));
  const applications = [...found].map(([clientId, allowed]) => {
    return { clientId, name: names.get(clientId) ?? clientId, ...allowed };
  });
  return applications.sort((a, b) => a.name.localeCompare(b.name));
}

/**
 * Takes back what a user allowed a client. Everything that came of it ends: the consent, pending codes, authorizations.
 * @throws AuthError not_found: there was nothing
 */
export async function withdrawConsent(ctx: OAuthContext, userId: string, clientId: string): Promise<void> {
  if (!(await ctx.store.authorizations.withdrawConsent(userId, clientId, ctx.clock.now()))) {
    throw new AuthError("not_found", "the user has given this client no consent");
  }
  securityEvent(ctx, "consent_withdrawn", { sub: userId, client_id: clientId });
}
