import type { PushedRequestStore } from "../store/pushed-requests.ts";
import { insert } from "./authorization-records.ts";
import type { Database } from "./transaction.ts";

interface PushedRow {
  uri_hash: string;
  client_id: string;
  parameters: string;
  created_at: number;
  expires_at: number;
  client_epoch: number | null;
}

export function pushedRequestStore(database: Database): PushedRequestStore {
  return {
    async save(request) {
      await insert(database, "oauth2_pushed_request", {
        uri_hash: request.uriHash,
        client_id: request.clientId,
        parameters: JSON.stringify(request.parameters),
        created_at: request.createdAt,
        expires_at: request.expiresAt,
        client_epoch: request.clientEpoch,
      });
    },
    async find(uriHash, now) {
      const [row] = await database.rows<PushedRow>(
        "SELECT * FROM oauth2_pushed_request WHERE uri_hash = ? AND used_at IS NULL AND expires_at > ?",
        [uriHash, now],
      );
      if (row === undefined) return null;
      return {
        uriHash: row.uri_hash,
        clientId: row.client_id,
        parameters: JSON.parse(row.parameters) as Record<string, string>,
        createdAt: row.created_at,
        expiresAt: row.expires_at,
        clientEpoch: row.client_epoch,
      };
    },
  };
}
