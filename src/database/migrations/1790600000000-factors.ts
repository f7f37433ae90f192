import type { MigrationInterface, QueryRunner } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";
import { addColumns, dialectOf, dropColumns } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. */
const added: Readonly<Record<string, TableShape["columns"]>> = {
  users: { factors_generation: "bigint?", passwordless: "int?" },
  // of a challenge: which form brought its answer
  used_once: { used_by: "varchar(64)?", used_at: "bigint?" },
};

const tables: Readonly<Record<string, TableShape>> = {
  totp_factor: {
    columns: {
      user_id: "char(36) pk",
      sealed_secret: "text",
      last_step: "bigint",
      last_attempt: "varchar(64)?",
      created_at: "bigint",
    },
  },
  recovery_code: {
    columns: {
      code_hash: "char(64) pk",
      user_id: "char(36)",
      used_by: "varchar(64)?",
      used_at: "bigint?",
      created_at: "bigint",
    },
    indexes: { ix_recovery_user: ["user_id"] },
  },
  passkey: {
    columns: {
      id_hash: "char(64) pk",
      credential_id: "text",
      user_id: "char(36)",
      public_key: "text",
      sign_count: "bigint",
      transports: "text",
      synced: "int",
      name: "varchar(255)",
      created_at: "bigint",
      last_used_at: "bigint?",
    },
    indexes: { ix_passkey_user: ["user_id", "created_at"] },
  },
};

/** Second factors. The previous release runs on beside it and asks for the password alone. */
export class Factors1790600000000 implements MigrationInterface {
  readonly name = "Factors1790600000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, added);
    for (const [name, shape] of Object.entries(tables)) {
      await queryRunner.createTable(tableOf(name, shape, dialectOf(queryRunner)), true);
    }
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    for (const name of Object.keys(tables)) await queryRunner.dropTable(name, true);
    await dropColumns(queryRunner, added);
  }
}
