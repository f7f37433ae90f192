import type { MigrationInterface, QueryRunner } from "typeorm";
import { addIndexes, dropIndexes } from "./steps.ts";

const table = "oauth2_authorization_consent";
const added = { ix_consent_client: ["client_id", "user_id"] };

/** What people allowed a client is found by the client too, which is removed with it. */
export class ConsentsByClient1791600000000 implements MigrationInterface {
  readonly name = "ConsentsByClient1791600000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addIndexes(queryRunner, table, added);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await dropIndexes(queryRunner, table, added);
  }
}
