import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { ClientsFile } from "../../config/clients-file.ts";
import { hashOf } from "../../crypto/hashes.ts";
import { AuthError, StartRefused } from "../../errors.ts";
import { type ClientRegistration, developmentClients } from "../../store/client-metadata.ts";
import type { AppliedFile, Client } from "../../store/clients.ts";
import type { Lease } from "../../store/leases.ts";
import { hasServedScheme } from "../authorization/request.ts";
import type { OAuthContext } from "../context.ts";
import { scopesKeptFrom } from "../scopes.ts";

/** A secret that the file changes works for so much longer, for clients that are deployed after the service (milliseconds). */
const overlapMs = 3_600_000;
const leaseMs = 15_000;
/** Longer than the lease of a replica that died in the middle (milliseconds). */
const patienceMs = 30_000;
const retryMs = 200;

/**
 * Brings the registered clients in line with the configuration, at start: the clients file's, or the development clients.
 * What the command line did (disable, rotate a secret) is never undone.
 * @throws StartRefused: production finds development clients
 */
export async function applyConfiguredClients(ctx: OAuthContext, file: ClientsFile | null): Promise<void> {
  const { config, store } = ctx;
  if (config.production) {
    const left = (await store.clients.listOfOperator()).filter(
      (c) => c.source === "development" && c.disabledAt === null,
    );
    if (left.length > 0) {
      throw new StartRefused(
        `the database holds the development client${left.length > 1 ? "s" : ""} ${left.map((c) => c.clientId).join(", ")}, ` +
          "whose secret is published: disable with `npm run auth -- client disable CLIENT_ID` before starting in production",
      );
    }
  } else {
    for (const client of developmentClients()) {
      await applyClient(ctx, client, { source: "development", known: await store.clients.find(client.clientId) });
    }
  }
  if (file !== null) await alone(ctx, (held) => applyFile(ctx, file, held));
  await warnOfSettings(ctx);
}

/** Of clients that settings keep from what they are registered for. */
async function warnOfSettings(ctx: OAuthContext): Promise<void> {
  for (const client of await ctx.store.clients.listOfOperator()) {
    const { clientId, metadata, disabledAt } = client;
    if (disabledAt !== null) continue;
    const scopes = scopesKeptFrom(ctx, client);
    if (scopes.length > 0) {
      ctx.log.warn(
        { event: "scopes_kept", client_id: clientId, scopes },
        `${clientId} is registered for ${scopes.join(", ")}, which SCOPES_FILE keeps for others: requests for it are refused`,
      );
    }
    const uris = [...metadata.redirect_uris, ...metadata.post_logout_redirect_uris];
    const schemes = [...new Set(uris.filter((uri) => !hasServedScheme(ctx, uri)).map((uri) => uri.split(":", 1)[0]))];
    if (schemes.length > 0) {
      ctx.log.warn(
        { event: "schemes_not_served", client_id: clientId, schemes },
        `${clientId} has redirect URIs of ${schemes.join(", ")}, which PRIVATE_URI_SCHEMES does not have: requests with them are refused`,
      );
    }
  }
}

/**
 * One replica at a time, so that an old file and a new one do not mix.
 * @param work calls `held` now and then, which throws when another replica has begun
 * @throws AuthError unavailable
 */
async function alone(ctx: OAuthContext, work: (held: () => Promise<void>) => Promise<void>): Promise<void> {
  const { leases } = ctx.store;
  const owner = randomUUID();
  let lease: Lease | null = null;
  for (const giveUp = performance.now() + patienceMs; lease === null; ) {
    lease = await leases.acquire("clients-file", owner, leaseMs);
    if (lease !== null) break;
    if (performance.now() > giveUp) throw new AuthError("unavailable", "another replica applies the clients file");
    await sleep(retryMs);
  }
  const mine = lease;
  let renewedAt = performance.now();
  const held = async () => {
    if (performance.now() - renewedAt < leaseMs / 3) return;
    renewedAt = performance.now();
    if (!(await leases.renew(mine, leaseMs))) {
      throw new AuthError("unavailable", "another replica began to apply its clients file");
    }
  };
  try {
    await work(held);
  } finally {
    await leases.release(mine);
  }
}

/** A file that was applied before is compared all the same: a replica that died half way, or the previous release, may have changed clients. */
async function applyFile(ctx: OAuthContext, file: ClientsFile, held: () => Promise<void>): Promise<void> {
  const { config, store, log } = ctx;
  const applied = await store.clients.appliedFile();
  const isKnown = applied?.contentHash === file.contentHash;
  if (applied !== null && !isKnown && isOlder(file, applied)) {
    const of = ({ version, modifiedAt }: AppliedFile | ClientsFile) =>
      version === null ? `of ${new Date(modifiedAt).toISOString()}` : `version ${version}`;
    const what = `CLIENTS_FILE (${of(file)}) is older than the one that was applied (${of(applied)}): no client was changed`;
    log.warn(`${what}. If it is what you want, ${applied.version === null ? "touch the file" : "raise its version"}`);
    return;
  }
  // read at once: of thousands, few differ
  const known = new Map((await store.clients.listOfOperator()).map((client) => [client.clientId, client]));
  for (const client of file.clients) {
    await held();
    await applyClient(ctx, client, { source: "file", known: known.get(client.clientId) ?? null });
  }
  for (const client of known.values()) {
    if (client.source === "file" && !config.fileClientIds.has(client.clientId) && client.disabledAt === null) {
      await store.clients.disable(client.clientId, "file", ctx.clock.now());
      log.warn({ client_id: client.clientId }, "client is gone from the clients file and was disabled");
    }
  }
  if (isKnown) return;
  // last: a replica that dies before is followed by one that does it again
  await held();
  const { version, modifiedAt, contentHash } = file;
  await store.clients.recordAppliedFile({ version, modifiedAt, contentHash }, ctx.clock.now());
}

/** By the version, once one was applied; else by the time of the file. */
function isOlder(file: ClientsFile, applied: AppliedFile): boolean {
  if (applied.version !== null) return file.version === null || file.version <= applied.version;
  return file.version === null && file.modifiedAt < applied.modifiedAt;
}

/** @param known as it is in the store; null: it was not there, or registered itself */
async function applyClient(
  ctx: OAuthContext,
  registration: ClientRegistration,
  { source, known: before }: { source: "development" | "file"; known: Client | null },
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
  if (before === null && (await clients.create(fresh, secretHash)) !== null) return;
  const known = before ?? (await clients.find(clientId));
  if (known === null || (known.source !== source && source === "development")) return;
  if (known.source !== source || !isDeepStrictEqual(known.metadata, metadata)) {
    await clients.replaceMetadata(clientId, metadata, source, now);
  }
  if (secretHash !== null && known.fileSecretHash !== secretHash) {
    await clients.addSecret(clientId, secretHash, { now, olderEndAt: now + overlapMs, fileSecretHash: secretHash });
  }
  if (known.disabledBy === "file") await clients.enable(clientId, "file", now);
}
