import { AuthError } from "../errors.ts";
import type { Authorization } from "../store/authorizations.ts";
import type { ClientMetadata } from "../store/client-metadata.ts";
import {
  type AppliedFile,
  type Client,
  type ClientSource,
  type ClientStore,
  type NewClient,
  OPERATOR_SOURCES,
} from "../store/clients.ts";
import { insert, insertAuthorization } from "./authorization-records.ts";
import {
  type ClientRow,
  clientsOf,
  idleLimitSince,
  insertClient,
  insertSecret,
  newSecret,
  SELECT_CLIENTS,
} from "./client-rows.ts";
import { isUniqueViolation } from "./faults.ts";
import type { RevocationFeed } from "./revocations.ts";
import { type Database, forUpdate, placeholders, rollback, type TransactionSql } from "./transaction.ts";

/** In one statement. */
const foundAtOnce = 500;

export class Clients implements ClientStore {
  readonly #database: Database;
  readonly #feed: RevocationFeed;

  constructor(database: Database, feed: RevocationFeed) {
    this.#database = database;
    this.#feed = feed;
  }

  async find(clientId: string): Promise<Client | null> {
    const rows = await this.#database.rows<ClientRow>(`${SELECT_CLIENTS} WHERE c.client_id = ?`, [clientId]);
    return clientsOf(rows)[0] ?? null;
  }

  async findMany(clientIds: readonly string[]): Promise<Client[]> {
    const clients: Client[] = [];
    for (let at = 0; at < clientIds.length; at += foundAtOnce) {
      const ids = clientIds.slice(at, at + foundAtOnce);
      const sql = `${SELECT_CLIENTS} WHERE c.client_id IN ${placeholders(ids.length)}`;
      clients.push(...clientsOf(await this.#database.rows<ClientRow>(sql, ids)));
    }
    return clients;
  }

  async list(): Promise<Client[]> {
    return clientsOf(await this.#database.rows<ClientRow>(`${SELECT_CLIENTS} ORDER BY c.client_id`));
  }

  async listOfOperator(): Promise<Client[]> {
    const sql = `${SELECT_CLIENTS} WHERE c.source IN ${placeholders(OPERATOR_SOURCES.length)} ORDER BY c.client_id`;
    return clientsOf(await this.#database.rows<ClientRow>(sql, [...OPERATOR_SOURCES]));
  }

  async create(client: NewClient, secretHash: string | null): Promise<Client | null> {
    const secret = secretHash === null ? null : newSecret(secretHash);
    const options = { registrationTokenHash: null, secret };
    try {
      return await this.#database.transaction((sql) => insertClient(sql, client, options), { repeatable: true });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
    }
    // with this very secret, a run before made it, whose answer to COMMIT was lost
    const known = secret === null ? null : await this.find(client.clientId);
    return known?.secrets.some(({ id }) => id === secret?.id) === true ? known : null;
  }

  async saveInitialAccessToken(token: {
    tokenHash: string;
    uses: number;
    createdAt: number;
    expiresAt: number;
  }): Promise<void> {
    await insert(this.#database, "oauth2_initial_access_token", {
      token_hash: token.tokenHash,
      uses_left: token.uses,
      created_at: token.createdAt,
      expires_at: token.expiresAt,
    });
  }

  async hasInitialAccessToken(tokenHash: string, now: number): Promise<boolean> {
    const rows = await this.#database.rows(
      "SELECT 1 AS good FROM oauth2_initial_access_token WHERE token_hash = ? AND uses_left > 0 AND expires_at > ?",
      [tokenHash, now],
    );
    return rows.length === 1;
  }

  async register(
    client: Pick<Client, "clientId" | "metadata" | "createdAt">,
    hashes: { initialToken: string | null; registrationToken: string; secret: string | null },
  ): Promise<"registered" | "token_refused"> {
    const { initialToken } = hashes;
    const secret = hashes.secret === null ? null : newSecret(hashes.secret);
    const options = { registrationTokenHash: hashes.registrationToken, secret };
    const register = async (sql: TransactionSql): Promise<"registered" | "token_refused"> => {
      await insertClient(sql, { ...client, source: "registration", fileSecretHash: null }, options);
      if (initialToken === null) return "registered";
      const used = await sql.change(
        "UPDATE oauth2_initial_access_token SET uses_left = uses_left - 1 WHERE token_hash = ? AND uses_left > 0 AND expires_at > ?",
        [initialToken, client.createdAt],
      );
      return used === 0 ? rollback("token_refused") : "registered";
    };
    try {
      return await this.#database.transaction(register, { repeatable: true });
    } catch (error) {
      // the id is random: a run before, whose answer to COMMIT was lost, made this client
      if (isUniqueViolation(error)) return "registered";
      throw error;
    }
  }

  async findRegistered(clientId: string, registrationTokenHash: string): Promise<Client | null> {
    const rows = await this.#database.rows<ClientRow>(
      `${SELECT_CLIENTS} WHERE c.client_id = ? AND c.registration_token_hash = ? AND c.source = 'registration' AND c.disabled_at IS NULL`,
      [clientId, registrationTokenHash],
    );
    return clientsOf(rows)[0] ?? null;
  }

  async update(
    clientId: string,
    change: (client: Client) => { readonly metadata: ClientMetadata; readonly secretHash: string | null },
    now: number,
  ): Promise<Client | null> {
    const work = async (sql: TransactionSql) => {
      const find = async (lock: string) => {
        const rows = await sql.rows<ClientRow>(`${SELECT_CLIENTS} WHERE c.client_id = ?${lock}`, [clientId]);
        return clientsOf(rows)[0] ?? null;
      };
      const client = await find(forUpdate(sql));
      if (client === null) return null;
      const { metadata, secretHash } = change(client);
      // both are part of this transaction
      await this.replaceMetadata(clientId, metadata, client.source, now);
      if (secretHash !== null) await this.addSecret(clientId, secretHash, { now, olderEndAt: now });
      return find("");
    };
    return this.#database.transaction(work, { repeatable: true });
  }

  async replaceMetadata(clientId: string, metadata: ClientMetadata, source: ClientSource, now: number): Promise<void> {
    await this.#database.transaction(async (sql) => {
      const [row] = await sql.rows<Pick<ClientRow, "metadata" | "idle_limit_since">>(
        `SELECT metadata, idle_limit_since FROM oauth2_registered_client WHERE client_id = ?${forUpdate(sql)}`,
        [clientId],
      );
      if (row === undefined) throw noSuchClient();
      await sql.change(
        "UPDATE oauth2_registered_client SET metadata = ?, source = ?, idle_limit_since = ?, updated_at = ? WHERE client_id = ?",
        [JSON.stringify(metadata), source, idleLimitSince(row, metadata, now), now, clientId],
      );
      await this.#changed(sql, clientId, now);
    });
  }

  async appliedFile(): Promise<AppliedFile | null> {
    const [row] = await this.#database.rows<{ version: number | null; modified_at: number; content_hash: string }>(
      "SELECT version, modified_at, content_hash FROM clients_file WHERE name = 'clients'",
    );
    if (row === undefined) return null;
    return { version: row.version, modifiedAt: row.modified_at, contentHash: row.content_hash };
  }

  async recordAppliedFile({ version, modifiedAt, contentHash }: AppliedFile, now: number): Promise<void> {
    await this.#database.transaction(async (sql) => {
      await sql.change("DELETE FROM clients_file WHERE name = 'clients'");
      await insert(sql, "clients_file", {
        name: "clients",
        version,
        modified_at: modifiedAt,
        content_hash: contentHash,
        applied_at: now,
      });
    });
  }

  /** False: no such client. What a command disabled stays the command's. */
  async disable(clientId: string, by: "file" | "command", now: number): Promise<boolean> {
    return this.#database.transaction(
      async (sql) => {
        const [client] = await sql.rows<Pick<ClientRow, "epoch" | "disabled_at">>(
          `SELECT epoch, disabled_at FROM oauth2_registered_client WHERE client_id = ?${forUpdate(sql)}`,
          [clientId],
        );
        if (client === undefined) return false;
        if (client.disabled_at === null) {
          const epoch = (client.epoch ?? 0) + 1;
          await sql.change(
            "UPDATE oauth2_registered_client SET epoch = ?, disabled_at = ?, disabled_by = ? WHERE client_id = ?",
            [epoch, now, by, clientId],
          );
          await this.#feed.append(sql, "client", [clientId], "client_disabled", now, { epoch });
        } else if (by === "command") {
          await sql.change("UPDATE oauth2_registered_client SET disabled_by = ? WHERE client_id = ?", [by, clientId]);
        }
        return true;
      },
      { repeatable: true },
    );
  }

  async enable(clientId: string, by: "file" | "command", now: number): Promise<boolean> {
    return this.#database.transaction(async (sql) => {
      const undone = await sql.change(
        "UPDATE oauth2_registered_client SET disabled_at = NULL, disabled_by = NULL WHERE client_id = ? AND disabled_by = ?",
        [clientId, by],
      );
      if (undone === 0) return false;
      // what was revoked stays revoked: the epoch stays as it is
      await this.#changed(sql, clientId, now);
      return true;
    });
  }

  async remove(clientId: string, now: number): Promise<boolean> {
    await this.#deleteConsents(clientId);
    return this.#database.transaction(async (sql) => {
      const [client] = await sql.rows<Pick<ClientRow, "epoch">>(
        `SELECT epoch FROM oauth2_registered_client WHERE client_id = ?${forUpdate(sql)}`,
        [clientId],
      );
      if (client === undefined) return false;
      await sql.change("DELETE FROM oauth2_registered_client WHERE client_id = ?", [clientId]);
      await sql.change("DELETE FROM oauth2_client_secret WHERE client_id = ?", [clientId]);
      const epoch = (client.epoch ?? 0) + 1;
      const again = await sql.change("UPDATE removed_client SET epoch = ? WHERE client_id = ?", [epoch, clientId]);
      if (again === 0) await insert(sql, "removed_client", { client_id: clientId, epoch });
      await this.#feed.append(sql, "client", [clientId], "client_removed", now, { epoch });
      return true;
    });
  }

  /** Page by page: millions may have allowed it. */
  async #deleteConsents(clientId: string): Promise<void> {
    for (let after = ""; ; ) {
      const users = await this.#database.rows<{ user_id: string }>(
        "SELECT user_id FROM oauth2_authorization_consent WHERE client_id = ? AND user_id > ? ORDER BY user_id LIMIT 500",
        [clientId, after],
      );
      const last = users.at(-1);
      if (last === undefined) return;
      await this.#database.change(
        `DELETE FROM oauth2_authorization_consent WHERE client_id = ? AND user_id IN ${placeholders(users.length)}`,
        [clientId, ...users.map(({ user_id }) => user_id)],
      );
      after = last.user_id;
    }
  }

  async addSecret(
    clientId: string,
    secretHash: string,
    options: { now: number; olderEndAt: number; fileSecretHash?: string | null },
  ): Promise<void> {
    const { now, olderEndAt, fileSecretHash } = options;
    await this.#database.transaction(async (sql) => {
      const found = await sql.change("UPDATE oauth2_registered_client SET updated_at = ? WHERE client_id = ?", [
        now,
        clientId,
      ]);
      if (found === 0) throw noSuchClient();
      if (fileSecretHash !== undefined) {
        await sql.change("UPDATE oauth2_registered_client SET file_secret_hash = ? WHERE client_id = ?", [
          fileSecretHash,
          clientId,
        ]);
      }
      await sql.change(
        "UPDATE oauth2_client_secret SET expires_at = ? WHERE client_id = ? AND (expires_at IS NULL OR expires_at > ?)",
        [olderEndAt, clientId, olderEndAt],
      );
      const ended = await sql.rows<{ authorization_id: string }>(
        "SELECT authorization_id FROM oauth2_client_secret WHERE client_id = ? AND expires_at <= ? AND authorization_id IS NOT NULL",
        [clientId, now],
      );
      await insertSecret(sql, clientId, newSecret(secretHash), now);
      await this.#changed(sql, clientId, now);
      await this.#feed.revokeAuthorizations(
        sql,
        ended.map(({ authorization_id }) => authorization_id),
        "secret_ended",
        now,
      );
    });
  }

  async endSecrets(now: number): Promise<void> {
    const ended = await this.#database.rows<{ id: string }>(
      `SELECT a.id FROM oauth2_client_secret s JOIN oauth2_authorization a ON a.id = s.authorization_id
       WHERE s.expires_at <= ? AND a.revoked_at IS NULL`,
      [now],
    );
    if (ended.length === 0) return;
    const ids = ended.map(({ id }) => id);
    await this.#database.transaction((sql) => this.#feed.revokeAuthorizations(sql, ids, "secret_ended", now), {
      repeatable: true,
    });
  }

  async standingAuthorization(secretId: string | null, fresh: Authorization, now: number): Promise<string> {
    if (secretId === null) return this.#standingWithoutSecret(fresh, now);
    const current = `SELECT a.id FROM oauth2_client_secret s JOIN oauth2_authorization a ON a.id = s.authorization_id
      WHERE s.id = ? AND (s.expires_at IS NULL OR s.expires_at > ?) AND a.revoked_at IS NULL AND a.expires_at > ?`;
    const [live] = await this.#database.rows<{ id: string }>(current, [secretId, now, now]);
    if (live !== undefined) return live.id;
    return this.#database.transaction(
      async (sql) => {
        const held = await sql.change(
          `UPDATE oauth2_client_secret SET authorization_id = authorization_id
           WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)`,
          [secretId, now],
        );
        if (held === 0) throw new AuthError("invalid_client", "the client's secret has ended");
        const [winner] = await sql.rows<{ id: string }>(current, [secretId, now, now]);
        if (winner !== undefined) return winner.id;
        await insertAuthorization(sql, fresh);
        await sql.change("UPDATE oauth2_client_secret SET authorization_id = ? WHERE id = ?", [fresh.id, secretId]);
        await this.#changed(sql, fresh.clientId, now);
        return fresh.id;
      },
      { repeatable: true },
    );
  }

  async #standingWithoutSecret(fresh: Authorization, now: number): Promise<string> {
    const current = `SELECT id FROM oauth2_authorization WHERE subject = ? AND client_id = ?
      AND grant_type = 'client_credentials' AND revoked_at IS NULL AND expires_at > ? ORDER BY created_at DESC, id DESC LIMIT 1`;
    const values = [fresh.clientId, fresh.clientId, now];
    const [live] = await this.#database.rows<{ id: string }>(current, values);
    if (live !== undefined) return live.id;
    return this.#database.transaction(
      async (sql) => {
        // a row that changes, not only a lock: on a cluster only changes collide
        const change = "UPDATE oauth2_registered_client SET updated_at = ? WHERE client_id = ?";
        if ((await sql.change(change, [now, fresh.clientId])) === 0) throw noSuchClient();
        const [winner] = await sql.rows<{ id: string }>(current, values);
        if (winner !== undefined) return winner.id;
        await insertAuthorization(sql, fresh);
        return fresh.id;
      },
      { repeatable: true },
    );
  }

  /** Tells the replicas that what they remember of the client is old. */
  #changed(sql: TransactionSql, clientId: string, now: number): Promise<void> {
    return this.#feed.append(sql, "client_changed", [clientId], "client_changed", now);
  }
}

function noSuchClient(): AuthError {
  return new AuthError("not_found", "no such client");
}
