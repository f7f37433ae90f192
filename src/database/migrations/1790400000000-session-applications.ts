import type { MigrationInterface, QueryRunner } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";
import { addIndexes, dialectOf, dropIndexes } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `schema` says by now. */
const applications: TableShape = {
  columns: {
    sid: "char(36) pk",
    session_hash: "char(64)",
    client_id: "varchar(191)",
    subject: "varchar(191)",
    created_at: "bigint",
    expires_at: "bigint",
  },
  indexes: {
    ix_application_session: ["session_hash", "created_at"],
    ix_application_expires: ["expires_at"],
  },
};

const noticeIndex = { ix_notice_client: ["status", "client_id", "next_attempt_at"] };

/**
 * The applications that take part in a browser session, and notices by client. Each step looks first whether it was done. The previous
 * release runs on beside it; where it signed a user in, the applications are those that still have an authorization.
 */
export class SessionApplications1790400000000 implements MigrationInterface {
  readonly name = "SessionApplications1790400000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.createTable(tableOf("session_application", applications, dialectOf(queryRunner)), true);
    await addIndexes(queryRunner, "logout_notice", noticeIndex);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable("session_application", true);
    await dropIndexes(queryRunner, "logout_notice", noticeIndex);
  }
}
