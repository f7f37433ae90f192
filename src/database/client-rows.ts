import { randomUUID } from "node:crypto";
import { type ClientMetadata, readStoredMetadata } from "../store/client-metadata.ts";
import type { Client, ClientSecret, ClientSource, NewClient } from "../store/clients.ts";
import { insert } from "./authorization-records.ts";
import type { Sql } from "./transaction.ts";

export interface ClientRow {
  client_id: string;
  metadata: string;
  source: ClientSource;
  epoch: number | null;
  first_epoch: number | null;
  disabled_at: number | null;
  disabled_by: "file" | "command" | null;
  file_secret_hash: string | null;
  idle_limit_since: number | null;
  created_at: number;
  secret_id: string | null;
  secret_hash: string;
  secret_created_at: number;
  secret_expires_at: number | null;
  authorization_id: string | null;
}

/** One row for each secret, one with nulls where there is none. */
export const SELECT_CLIENTS = `SELECT c.client_id, c.metadata, c.source, c.epoch, c.first_epoch, c.disabled_at, c.disabled_by, c.file_secret_hash,
    c.idle_limit_since, c.created_at,
    s.id AS secret_id, s.secret_hash, s.created_at AS secret_created_at, s.expires_at AS secret_expires_at, s.authorization_id
  FROM oauth2_registered_client c LEFT JOIN oauth2_client_secret s ON s.client_id = c.client_id`;

/** One client for all rows of its secrets, the newest secret first. @param rows of `SELECT_CLIENTS` */
export function clientsOf(rows: readonly ClientRow[]): Client[] {
  const clients = new Map<string, Client & { secrets: ClientSecret[] }>();
  for (const row of rows) {
    let client = clients.get(row.client_id);
    if (client === undefined) {
      client = {
        clientId: row.client_id,
        metadata: readStoredMetadata(row.metadata),
        source: row.source,
        createdAt: row.created_at,
        epoch: row.epoch ?? 0,
        firstEpoch: row.first_epoch ?? 0,
        disabledAt: row.disabled_at,
        disabledBy: row.disabled_by,
        fileSecretHash: row.file_secret_hash,
        idleLimitSince: row.idle_limit_since,
        secrets: [],
      };
      clients.set(row.client_id, client);
    }
    if (row.secret_id === null) continue;
    client.secrets.push({
      id: row.secret_id,
      hash: row.secret_hash,
      createdAt: row.secret_created_at,
      expiresAt: row.secret_expires_at,
      authorizationId: row.authorization_id,
    });
  }
  // of two secrets of one millisecond the one that was replaced has an end
  const end = ({ expiresAt }: ClientSecret) => expiresAt ?? Number.MAX_SAFE_INTEGER;
  for (const { secrets } of clients.values()) secrets.sort((a, b) => b.createdAt - a.createdAt || end(b) - end(a));
  return [...clients.values()];
}

export type NewSecret = Pick<ClientSecret, "id" | "hash">;

/** Registers a client, whose epoch goes on from that of a removed one with its id. */
export async function insertClient(
  sql: Sql,
  client: NewClient,
  {
    registrationTokenHash,
    secret,
  }: { readonly registrationTokenHash: string | null; readonly secret: NewSecret | null },
): Promise<Client> {
  await insert(sql, "oauth2_registered_client", {
    client_id: client.clientId,
    metadata: JSON.stringify(client.metadata),
    source: client.source,
    file_secret_hash: client.fileSecretHash,
    registration_token_hash: registrationTokenHash,
    created_at: client.createdAt,
    updated_at: client.createdAt,
  });
  const secrets = secret === null ? [] : [await insertSecret(sql, client.clientId, secret, client.createdAt)];
  const epoch = await continuedEpoch(sql, client.clientId);
  const neverDisabled = { disabledAt: null, disabledBy: null };
  return { ...client, ...neverDisabled, epoch, firstEpoch: epoch, idleLimitSince: null, secrets };
}

/** Runs after the insert of the client, which waits for a removal that goes on. */
async function continuedEpoch(sql: Sql, clientId: string): Promise<number> {
  // Of one that was removed and had this id the tokens stay revoked, those of this one are not. The feed does not tell for long enough:
  // replicas and verifiers remember what it said.
  const [earlier] = await sql.rows<{ epoch: number }>("SELECT epoch FROM removed_client WHERE client_id = ?", [
    clientId,
  ]);
  if (earlier === undefined) return 0;
  const epoch = Number(earlier.epoch);
  await sql.change("UPDATE oauth2_registered_client SET epoch = ?, first_epoch = ? WHERE client_id = ?", [
    epoch,
    epoch,
    clientId,
  ]);
  return epoch;
}

/** When the idle limit was set, once the client has this metadata. */
export function idleLimitSince(
  before: Pick<ClientRow, "metadata" | "idle_limit_since">,
  { refresh_token_idle_ttl }: ClientMetadata,
  now: number,
): number | null {
  if (refresh_token_idle_ttl === undefined) return null;
  const hadLimit = readStoredMetadata(before.metadata).refresh_token_idle_ttl !== undefined;
  return hadLimit ? before.idle_limit_since : now;
}

/** What `insertSecret` stores. @param hash SHA-256, hex */
export function newSecret(hash: string): NewSecret {
  return { id: randomUUID(), hash };
}

export async function insertSecret(sql: Sql, clientId: string, secret: NewSecret, now: number): Promise<ClientSecret> {
  const { id, hash } = secret;
  await insert(sql, "oauth2_client_secret", { id, client_id: clientId, secret_hash: hash, created_at: now });
  return { id, hash, createdAt: now, expiresAt: null, authorizationId: null };
}
