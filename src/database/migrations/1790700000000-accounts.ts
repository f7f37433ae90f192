import type { MigrationInterface, QueryRunner } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";
import { addColumns, addIndexes, dialectOf, dropColumns, dropIndexes } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. */
const users: TableShape["columns"] = { signed_in_at: "bigint?", closed_at: "bigint?" };

const closedIndex = { ix_users_closed: ["closed_at"] };

const tables: Readonly<Record<string, TableShape>> = {
  email_verification: {
    columns: {
      token_hash: "char(64) pk",
      user_id: "char(36)",
      email: "varchar(254)",
      created_at: "bigint",
      expires_at: "bigint",
      used_at: "bigint?",
      replaced_at: "bigint?",
    },
    indexes: { ix_verification_user: ["user_id", "created_at"], ix_verification_expires: ["expires_at"] },
  },
  mail: {
    columns: {
      event_id: "varchar(64) pk",
      user_id: "char(36)",
      status: "varchar(8)",
      attempts: "int",
      payload: "text",
      reason: "text?",
      created_at: "bigint",
      next_attempt_at: "bigint",
      sent_at: "bigint?",
    },
    indexes: {
      ix_mail_due: ["status", "next_attempt_at"],
      ix_mail_sent: ["sent_at"],
      ix_mail_user: ["user_id"],
    },
  },
};

/**
 * Links that verify addresses, mails of this service, when users first signed in, and when they closed their accounts. The previous
 * release runs on beside it: to that one a closed account is a disabled one.
 */
export class Accounts1790700000000 implements MigrationInterface {
  readonly name = "Accounts1790700000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, { users });
    await addIndexes(queryRunner, "users", closedIndex);
    for (const [name, shape] of Object.entries(tables)) {
      await queryRunner.createTable(tableOf(name, shape, dialectOf(queryRunner)), true);
    }
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    for (const name of Object.keys(tables)) await queryRunner.dropTable(name, true);
    await dropIndexes(queryRunner, "users", closedIndex);
    await dropColumns(queryRunner, { users });
  }
}
