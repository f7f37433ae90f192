import { hashOf, randomToken } from "../../crypto/hashes.ts";
import { AuthError } from "../../errors.ts";
import {
  type ClientMetadata,
  type ClientRegistration,
  hasSecret,
  readClientRegistration,
} from "../../store/client-metadata.ts";
import type { Client } from "../../store/clients.ts";
import { securityEvent } from "../../telemetry/security-events.ts";
import { acrOf, isAtLeast } from "../../token/authentication.ts";
import type { OAuthContext } from "../context.ts";

/** A registered client that is not disabled, or null. */
export async function findClient(ctx: OAuthContext, clientId: string): Promise<Client | null> {
  if (!/^[\x21-\x7e]{1,191}$/.test(clientId)) return null;
  const client = await ctx.clients.find(clientId);
  return client === null || client.disabledAt !== null ? null : client;
}

/** Was this given to an earlier client of the same id, which was removed? */
export function isOfEarlierClient(
  client: Client,
  given: { readonly clientEpoch: number | null; readonly createdAt: number },
): boolean {
  return given.clientEpoch === null ? given.createdAt < client.createdAt : given.clientEpoch < client.firstEpoch;
}

/** Did the user sign in by as strong means as the client demands of every sign-in (`require_acr`)? @param methods of the sign-in (RFC 8176) */
export function isStrongEnoughFor({ metadata }: Client, methods: readonly string[]): boolean {
  return metadata.require_acr === undefined || isAtLeast(acrOf(methods), metadata.require_acr);
}

export interface ClientWithSecret {
  readonly client: Client;
  /** Just made, shown this once; null: none was made. */
  readonly clientSecret: string | null;
}

/** Registers a client from the command line. @throws AuthError invalid_request: there is one of this id */
export async function addClient(ctx: OAuthContext, registration: ClientRegistration): Promise<ClientWithSecret> {
  const clientSecret = hasSecret(registration.metadata) ? (registration.clientSecret ?? randomToken()) : null;
  const { clientId, metadata } = registration;
  if (ctx.config.fileClientIds.has(clientId)) throw ofFile(clientId);
  const client = await ctx.store.clients.create(
    { clientId, metadata, source: "command", createdAt: ctx.clock.now(), fileSecretHash: null },
    clientSecret === null ? null : hashOf(clientSecret),
  );
  if (client === null) {
    const known = await ctx.store.clients.find(clientId);
    if (known?.source === "file") throw ofFile(clientId);
    throw new AuthError("invalid_request", `a client ${clientId} is registered already: \`client update\` changes it`);
  }
  securityEvent(ctx, "client_registered", { client_id: clientId });
  return { client, clientSecret };
}

export async function listClients(ctx: OAuthContext): Promise<Client[]> {
  return ctx.store.clients.list();
}

/** Disabled clients too. @throws AuthError not_found */
export async function getClient(ctx: OAuthContext, clientId: string): Promise<Client> {
  const client = await ctx.store.clients.find(clientId);
  if (client === null) throw noClient(clientId);
  return client;
}

/** Refuses the client everywhere from now on; the clients file does not undo it. @throws AuthError not_found */
export async function disableClient(ctx: OAuthContext, clientId: string): Promise<void> {
  await getClient(ctx, clientId);
  await ctx.store.clients.disable(clientId, "command", ctx.clock.now());
  securityEvent(ctx, "client_disabled", { client_id: clientId });
}

/**
 * Accepts a client again that `disableClient` refused. Its access tokens of before stay revoked; its refresh tokens work again.
 * @throws AuthError not_found, invalid_request: something else than a command disabled it
 */
export async function enableClient(ctx: OAuthContext, clientId: string): Promise<void> {
  const client = await getClient(ctx, clientId);
  const refused = (why: string) => new AuthError("invalid_request", `${clientId} ${why}`);
  if (client.disabledAt === null) throw refused("is not disabled");
  if (client.disabledBy === "file") throw refused("is gone from the clients file: put it back there");
  if (client.source === "development" && ctx.config.production) {
    throw refused("is a development client, whose secret is published: register one of your own");
  }
  await ctx.store.clients.enable(clientId, "command", ctx.clock.now());
  securityEvent(ctx, "client_enabled", { client_id: clientId });
}

/**
 * Changes members of a client's metadata; all others stay. A client that authenticates with a secret from now on and has none gets one.
 * @param change unchecked members; null takes a member away
 * @throws AuthError not_found, invalid_request (every wrong member)
 */
export async function updateClient(
  ctx: OAuthContext,
  clientId: string,
  change: Readonly<Record<string, unknown>>,
): Promise<ClientWithSecret> {
  const spare = randomToken();
  const spareHash = hashOf(spare);
  const changed = await ctx.store.clients.update(
    clientId,
    (client) => {
      refuseOfConfiguration(ctx, client);
      const metadata = changedMetadata(ctx, client, change);
      const isFirstSecret = hasSecret(metadata) && !client.secrets.some(({ expiresAt }) => expiresAt === null);
      const needsOne = isFirstSecret && metadata.tls_client_auth_subject_dn === undefined;
      return { metadata, secretHash: needsOne ? spareHash : null };
    },
    ctx.clock.now(),
  );
  if (changed === null) throw noClient(clientId);
  securityEvent(ctx, "client_changed", { client_id: clientId, members: Object.keys(change) });
  return { client: changed, clientSecret: changed.secrets.some(({ hash }) => hash === spareHash) ? spare : null };
}

function changedMetadata(
  ctx: OAuthContext,
  { clientId, metadata }: Client,
  change: Readonly<Record<string, unknown>>,
): ClientMetadata {
  // these follow from others
  const { response_types: _, any_secret_method, ...kept } = metadata;
  const members = Object.entries({ ...kept, ...change }).filter(([, value]) => value !== null);
  const { token_endpoint_auth_method: method, ...rest } = Object.fromEntries(members);
  const secret = typeof method === "string" && method.startsWith("client_secret_") ? randomToken() : null;
  const read = readClientRegistration(
    {
      ...rest,
      client_id: clientId,
      ...(method === undefined ? {} : { token_endpoint_auth_method: method }),
      // only so that the schema finds one: no secret is changed here
      ...(secret === null ? {} : { client_secret: secret }),
    },
    ctx.config.production,
    ctx.config.privateUriSchemes,
  );
  if (Array.isArray(read)) throw new AuthError("invalid_request", read.join("; "));
  return change["token_endpoint_auth_method"] === undefined ? { ...read.metadata, any_secret_method } : read.metadata;
}

/**
 * Deletes a client that is no longer needed: its tokens are revoked, its users' consents forgotten, its id is free.
 * @throws AuthError not_found, invalid_request: it comes from the clients file
 */
export async function removeClient(ctx: OAuthContext, clientId: string): Promise<void> {
  const client = await getClient(ctx, clientId);
  const isGoneFromFile = client.source === "file" && client.disabledAt !== null;
  if (ctx.config.fileClientIds.has(clientId) || (client.source === "file" && !isGoneFromFile)) throw ofFile(clientId);
  if (!(await ctx.store.clients.remove(clientId, ctx.clock.now()))) {
    throw noClient(clientId);
  }
  securityEvent(ctx, "client_removed", { client_id: clientId });
}

/** Each start would undo what a command changes there. */
function refuseOfConfiguration(ctx: OAuthContext, { clientId, source }: Client): void {
  if (source === "file" || ctx.config.fileClientIds.has(clientId)) throw ofFile(clientId);
  if (source === "development") {
    throw new AuthError("invalid_request", `${clientId} is a development client: register one of your own`);
  }
}

function noClient(clientId: string): AuthError {
  return new AuthError("not_found", `no client ${clientId} is registered`);
}

function ofFile(clientId: string): AuthError {
  return new AuthError("invalid_request", `${clientId} comes from the clients file: change it there`);
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
  securityEvent(ctx, "client_secret_rotated", { client_id: clientId, overlap });
  return { clientSecret };
}
