import type { MigrationInterface, QueryRunner } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";

/** The tables this migration makes, as they were then: never edited once released, whatever `schema` says by now. */
export const INITIAL_TABLES: Readonly<Record<string, TableShape>> = {
  users: {
    columns: {
      uuid: "char(36) pk",
      email: "varchar(254)",
      password_hash: "varchar(255)",
      roles: "text",
      event_seq: "bigint",
      disabled_at: "bigint?",
      created_at: "bigint",
      updated_at: "bigint",
    },
    unique: { uq_users_email: ["email"] },
    indexes: { ix_users_created: ["created_at", "uuid"] },
  },
  user_profiles: {
    columns: { user_id: "char(36) pk", nickname: "varchar(255)", updated_at: "bigint" },
  },
  oauth2_registered_client: {
    columns: {
      client_id: "varchar(191) pk",
      metadata: "text",
      source: "varchar(16)",
      disabled_at: "bigint?",
      disabled_by: "varchar(16)?",
      file_secret_hash: "char(64)?",
      created_at: "bigint",
      updated_at: "bigint",
    },
  },
  oauth2_client_secret: {
    columns: {
      id: "char(36) pk",
      client_id: "varchar(191)",
      secret_hash: "char(64)",
      authorization_id: "char(36)?",
      created_at: "bigint",
      expires_at: "bigint?",
    },
    indexes: { ix_secret_client: ["client_id", "created_at"], ix_secret_expires: ["expires_at"] },
  },
  oauth2_authorization: {
    columns: {
      id: "char(36) pk",
      grant_type: "varchar(32)",
      client_id: "varchar(191)",
      subject: "varchar(191)",
      session_hash: "char(64)?",
      scope: "text",
      resource: "text?",
      nonce: "text?",
      auth_time: "bigint?",
      ip_address: "varchar(64)",
      user_agent: "text",
      created_at: "bigint",
      expires_at: "bigint",
      revoked_at: "bigint?",
      revoked_reason: "varchar(64)?",
      refresh_jti: "varchar(64)?",
      refresh_iat: "bigint?",
      refresh_exp: "bigint?",
      refresh_kid: "varchar(64)?",
      generation: "int",
      rotations: "text",
    },
    indexes: {
      ix_authorization_subject: ["subject", "created_at", "id"],
      ix_authorization_session: ["session_hash"],
      ix_authorization_expires: ["expires_at"],
    },
  },
  oauth2_authorization_code: {
    columns: {
      code_hash: "char(64) pk",
      client_id: "varchar(191)",
      user_id: "char(36)",
      session_hash: "char(64)",
      redirect_uri: "text",
      scope: "text",
      nonce: "text?",
      code_challenge: "varchar(128)",
      resource: "text?",
      auth_time: "bigint",
      ip_address: "varchar(64)",
      user_agent: "text",
      created_at: "bigint",
      expires_at: "bigint",
      redeemed_at: "bigint?",
      revoked_at: "bigint?",
      attempt_id: "varchar(64)?",
      authorization_id: "char(36)?",
      wrong_verifiers: "int",
    },
    indexes: {
      ix_code_user: ["user_id"],
      ix_code_session: ["session_hash"],
      ix_code_expires: ["expires_at"],
    },
  },
  oauth2_authorization_request: {
    columns: {
      id: "varchar(64) pk",
      session_hash: "char(64)",
      parameters: "text",
      created_at: "bigint",
      expires_at: "bigint",
    },
    indexes: { ix_request_session: ["session_hash", "created_at", "id"], ix_request_expires: ["expires_at"] },
  },
  oauth2_authorization_consent: {
    columns: {
      user_id: "char(36) pk",
      client_id: "varchar(191) pk",
      scope: "text",
      updated_at: "bigint",
    },
  },
  browser_session: {
    columns: {
      id_hash: "char(64) pk",
      user_id: "char(36)?",
      auth_time: "bigint?",
      ip_address: "varchar(64)",
      user_agent: "text",
      created_at: "bigint",
      last_seen_at: "bigint",
      expires_at: "bigint",
    },
    indexes: { ix_session_user: ["user_id"], ix_session_expires: ["expires_at"] },
  },
  password_reset_token: {
    columns: {
      token_hash: "char(64) pk",
      user_id: "char(36)",
      created_at: "bigint",
      expires_at: "bigint",
    },
    indexes: { ix_reset_user: ["user_id"], ix_reset_expires: ["expires_at"] },
  },
  signing_key: {
    columns: {
      kid: "varchar(64) pk",
      key_use: "varchar(16)",
      alg: "varchar(16)",
      generation: "int",
      public_jwk: "text",
      sealed_private_jwk: "text",
      created_at: "bigint",
      active_from: "bigint",
      distrusted_at: "bigint?",
    },
    unique: { uq_key_generation: ["key_use", "alg", "generation"] },
  },
  outbox: {
    columns: {
      event_id: "varchar(64) pk",
      event_type: "varchar(32)",
      user_id: "char(36)",
      seq: "bigint",
      lane: "int",
      status: "varchar(8)",
      attempts: "int",
      payload: "text",
      reason: "text?",
      created_at: "bigint",
      sent_at: "bigint?",
    },
    unique: { uq_outbox_user_seq: ["user_id", "seq"] },
    indexes: {
      ix_outbox_lane: ["lane", "status", "created_at", "event_id"],
      ix_outbox_user: ["user_id", "status", "seq"],
      ix_outbox_status: ["status", "created_at"],
      ix_outbox_sent: ["status", "sent_at"],
    },
  },
  rate_limit: {
    columns: { limit_key: "char(64) pk", used: "int", window_ends_at: "bigint" },
    indexes: { ix_limit_window: ["window_ends_at"] },
  },
  lease: {
    columns: { name: "varchar(128) pk", owner: "varchar(128)", epoch: "bigint", expires_at: "bigint" },
    indexes: { ix_lease_expires: ["expires_at"] },
  },
  revocation: {
    columns: {
      id: "bigint pk auto",
      kind: "varchar(16)",
      value: "varchar(191)",
      reason: "varchar(64)",
      revoked_at: "bigint",
      expires_at: "bigint",
    },
    indexes: { ix_revocation_value: ["kind", "value"], ix_revocation_expires: ["expires_at"] },
  },
};

/**
 * MySQL commits every DDL statement by itself, so a migration that was killed leaves some of its tables:
 * each step looks first whether it was done.
 */
export class Initial1790000000000 implements MigrationInterface {
  readonly name = "Initial1790000000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    const dialect = queryRunner.dataSource.options.type === "better-sqlite3" ? "sqlite" : "mysql";
    for (const [name, shape] of Object.entries(INITIAL_TABLES)) {
      await queryRunner.createTable(tableOf(name, shape, dialect), true);
    }
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    for (const name of Object.keys(INITIAL_TABLES)) await queryRunner.dropTable(name, true);
  }
}
