import type { MigrationInterface, QueryRunner } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";
import { type AddedColumns, addColumns, dialectOf, dropColumns } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `schema` says by now. */
const newColumns: AddedColumns = {
  users: { email_verified_at: "bigint?" },
  user_profiles: { claims: "text?" },
  oauth2_registered_client: { registration_token_hash: "char(64)?" },
  oauth2_authorization: { claims: "text?", dpop_jkt: "varchar(64)?", last_used_at: "bigint?" },
  oauth2_authorization_code: { claims: "text?", dpop_jkt: "varchar(64)?" },
  oauth2_authorization_request: { pushed_hash: "char(64)?" },
};

const newTables: Readonly<Record<string, TableShape>> = {
  oauth2_pushed_request: {
    columns: {
      uri_hash: "char(64) pk",
      client_id: "varchar(191)",
      parameters: "text",
      created_at: "bigint",
      expires_at: "bigint",
      used_at: "bigint?",
    },
    indexes: { ix_pushed_expires: ["expires_at"] },
  },
  oauth2_device_code: {
    columns: {
      device_code_hash: "char(64) pk",
      user_code_hash: "char(64)",
      client_id: "varchar(191)",
      scope: "text",
      resource: "text?",
      dpop_jkt: "varchar(64)?",
      interval_ms: "int",
      last_polled_at: "bigint?",
      user_id: "char(36)?",
      session_hash: "char(64)?",
      auth_time: "bigint?",
      ip_address: "varchar(64)?",
      user_agent: "text?",
      allowed_at: "bigint?",
      denied_at: "bigint?",
      redeemed_at: "bigint?",
      revoked_at: "bigint?",
      attempt_id: "varchar(64)?",
      created_at: "bigint",
      expires_at: "bigint",
    },
    unique: { uq_device_user_code: ["user_code_hash"] },
    indexes: {
      ix_device_user: ["user_id"],
      ix_device_session: ["session_hash"],
      ix_device_expires: ["expires_at"],
    },
  },
  oauth2_initial_access_token: {
    columns: {
      token_hash: "char(64) pk",
      uses_left: "int?",
      created_at: "bigint",
      expires_at: "bigint",
    },
    indexes: { ix_initial_expires: ["expires_at"] },
  },
  used_once: {
    columns: { value_hash: "char(64) pk", expires_at: "bigint" },
    indexes: { ix_used_once_expires: ["expires_at"] },
  },
  logout_notice: {
    columns: {
      id: "char(36) pk",
      client_id: "varchar(191)",
      sid: "char(36)",
      sub: "varchar(191)",
      status: "varchar(8)",
      attempts: "int",
      reason: "text?",
      created_at: "bigint",
      next_attempt_at: "bigint",
      expires_at: "bigint",
    },
    indexes: {
      ix_notice_due: ["status", "next_attempt_at"],
      ix_notice_expires: ["expires_at"],
    },
  },
};

/** Claims, DPoP, pushed requests, device codes, registration and back-channel logout. Each step looks first whether it was done. */
export class Protocols1790100000000 implements MigrationInterface {
  readonly name = "Protocols1790100000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, newColumns);
    for (const [name, shape] of Object.entries(newTables)) {
      await queryRunner.createTable(tableOf(name, shape, dialectOf(queryRunner)), true);
    }
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    for (const name of Object.keys(newTables)) await queryRunner.dropTable(name, true);
    await dropColumns(queryRunner, newColumns);
  }
}
