import { hashOf, randomToken } from "../../crypto/hashes.ts";
import { AuthError, StartRefused } from "../../errors.ts";
import { type ClientRegistration, developmentClients, hasSecret } from "../../store/client-metadata.ts";
import type { Client } from "../../store/clients.ts";
import type { OAuthContext } from "../context.ts";

/** A registered client that is not disabled, or null. */
export async function findClient(ctx: OAuthContext, clientId: string): Promise<Client | null> {
  if (!/^[\x21-\x7e]{1,100}$/.test(clientId)) return null;
  const client = await ctx.clients.find(clientId);
  return client === null || client.disabledAt !== null ? null : client;
}

/**
 * Brings the registered clients in line with the configuration, at start: the clients file's, or the development clients.
 * What the command line did (disable, rotate a secret) is never undone.
 */
export async function applyConfiguredClients(
  ctx: OAuthContext,
  fileClients: readonly ClientRegistration[] | null,
): Promise<void> {
  const { config, store, log } = ctx;
  if (config.production) {
    const left = (await store.clients.list()).filter((c) => c.source === "development" && c.disabledAt === null);
    if (left.length > 0) {
      throw new ProductionRefusal(
        `the database holds the development client${left.length > 1 ? "s" : ""} ${left.map((c) => c.clientId).join(", ")}, ` +
          "whose secret is published: disable with `npm run auth -- client disable CLIENT_ID` before starting in production",
      );
    }
  } else {
    for (const client of developmentClients()) await applyClient(ctx, client, "development");
  }
  if (fileClients === null) return;
  for (const client of fileClients) await applyClient(ctx, client, "file");
  for (const client of await store.clients.list()) {
    if (client.source === "file" && !config.fileClientIds.has(client.clientId) && client.disabledAt === null) {
      await store.clients.disable(client.clientId, "file", ctx.clock.now());
      log.warn({ client_id: client.clientId }, "client is gone from the clients file and was disabled");
    }
  }
}

/** Something in the database that production refuses to start with. Exit status 78. */
export class ProductionRefusal extends StartRefused {}

async function applyClient(
  ctx: OAuthContext,
  registration: ClientRegistration,
  source: "development" | "file",
): Promise<void> {
  const { clientId, clientSecret, metadata } = registration;
  const { clients } = ctx.store;
  const now = ctx.clock.now();
  if (metadata.first_party && !metadata.refresh_token_rotation && source === "file") {
    ctx.log.warn(
      { client_id: clientId },
      "refresh tokens of this client are not rotated: a stolen one stays good for its whole life (RFC 9700 section 2.2.2)",
    );
  }
  const secretHash = clientSecret === null ? null : hashOf(clientSecret);
  const fresh = { clientId, metadata, source, createdAt: now, fileSecretHash: secretHash };
  if ((await clients.create(fresh, secretHash)) === "created") return;
  const known = await clients.find(clientId);
  if (known === null || (known.source !== source && source === "development")) return;
  if (known.source !== source || JSON.stringify(known.metadata) !== JSON.stringify(metadata)) {
    await clients.replaceMetadata(clientId, metadata, source, now);
  }
  if (secretHash !== null && known.fileSecretHash !== secretHash) {
    await clients.addSecret(clientId, secretHash, { now, olderEndAt: now, fileSecretHash: secretHash });
  }
  if (known.disabledBy === "file") await clients.enable(clientId, "file", now);
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
