import type { MigrationInterface, QueryRunner } from "typeorm";
import { changeRows } from "./steps.ts";

const types = "'USER_EMAIL_VERIFICATION', 'USER_PASSWORD_CHANGED', 'USER_DELETED', 'USER_SECURITY'";

/** Events of the types that the release before epochs does not know have a status of their own, so that its relay leaves them alone. */
export class WaitingEvents1790900000000 implements MigrationInterface {
  readonly name = "WaitingEvents1790900000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    const sql = `UPDATE outbox SET status = 'waiting' WHERE status = 'pending' AND event_type IN (${types})`;
    await changeRows(queryRunner, sql);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await changeRows(queryRunner, "UPDATE outbox SET status = 'pending' WHERE status = 'waiting'");
  }
}
