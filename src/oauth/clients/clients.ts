import { hashOf, randomToken } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import { type ClientRegistration, hasSecret } from "../../store/client-metadata.ts";
import type { Client } from "../../store/clients.ts";
import type { OAuthContext } from "../context.ts";

/** A registered client that is not disabled, or null. */
export async function findClient(ctx: OAuthContext, clientId: string): Promise<Client | null> {
  if (!/^[\x21-\x7e]{1,100}$/.test(clientId)) return null;
  const client = await ctx.clients.find(clientId);
  return client === null || client.disabledAt !== null ? null : client;
}

/** Registers a client from the command line. @returns its new secret, shown this once; null where it has none */
export async function addClient(
  ctx: OAuthContext,
  registration: ClientRegistration,
): Promise<{ clientSecret: string | null }> {
  const clientSecret = hasSecret(registration.metadata) ? (registration.clientSecret ?? randomToken()) : null;
  const { clientId, metadata } = registration;
  const ofFile = `${clientId} comes from the clients file: change it there`;
  if (ctx.config.fileClientIds.has(clientId)) throw new AuthError("invalid_request", ofFile);
  const outcome = await ctx.store.clients.create(
    { clientId, metadata, source: "command", createdAt: ctx.clock.now(), fileSecretHash: null },
    clientSecret === null ? null : hashOf(clientSecret),
  );
  if (outcome === "exists") {
    const known = await ctx.store.clients.find(clientId);
    const taken = `a client ${clientId} is registered already`;
    throw new AuthError("invalid_request", known?.source === "file" ? ofFile : taken);
  }
  return { clientSecret };
}

export async function listClients(ctx: OAuthContext): Promise<Client[]> {
  return ctx.store.clients.list();
}

/** Disabled clients too. @throws AuthError not_found */
export async function getClient(ctx: OAuthContext, clientId: string): Promise<Client> {
  const client = await ctx.store.clients.find(clientId);
  if (client === null) throw new AuthError("not_found", `no client ${clientId} is registered`);
  return client;
}

/** Refuses the client everywhere from now on; the clients file does not undo it. @throws AuthError not_found */
export async function disableClient(ctx: OAuthContext, clientId: string): Promise<void> {
  await getClient(ctx, clientId);
  await ctx.store.clients.disable(clientId, "command", ctx.clock.now());
}

/**
 * Gives the client a new secret. @param overlap seconds for which the older ones still work; 0 ends them, and the tokens
 * issued for them, at once
 */
export async function rotateClientSecret(
  ctx: OAuthContext,
  clientId: string,
  overlap: number,
): Promise<{ clientSecret: string }> {
  const client = await getClient(ctx, clientId);
  const { token_endpoint_auth_method: method } = client.metadata;
  if (!hasSecret(client.metadata)) {
    const kind = method === "none" ? "is a public client" : "authenticates with its key";
    throw new AuthError("invalid_request", `${clientId} ${kind}: it has no secret`);
  }
  const clientSecret = randomToken();
  const now = ctx.clock.now();
  await ctx.store.clients.addSecret(clientId, hashOf(clientSecret), { now, olderEndAt: now + overlap * 1000 });
  return { clientSecret };
}
