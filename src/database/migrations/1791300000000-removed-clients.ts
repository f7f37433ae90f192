import type { MigrationInterface, QueryRunner } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";
import { dialectOf } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. */
const removedClient: TableShape = { columns: { client_id: "varchar(191) pk", epoch: "bigint" } };

/** The epochs of clients that were removed, from which later clients of their ids count on. */
export class RemovedClients1791300000000 implements MigrationInterface {
  readonly name = "RemovedClients1791300000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.createTable(tableOf("removed_client", removedClient, dialectOf(queryRunner)), true);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable("removed_client", true);
  }
}
