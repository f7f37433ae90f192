import type { MigrationInterface, QueryRunner } from "typeorm";
import { addIndexes, dropIndexes } from "./steps.ts";

const table = "oauth2_registered_client";
const added = { ix_client_source: ["source"] };

/** Finds the operator's clients among those that registered themselves. */
export class ClientSource1790500600000 implements MigrationInterface {
  readonly name = "ClientSource1790500600000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addIndexes(queryRunner, table, added);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await dropIndexes(queryRunner, table, added);
  }
}
