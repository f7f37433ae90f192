import type { MigrationInterface, QueryRunner } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";
import { dialectOf } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `schema` says by now. */
const clientsFile: TableShape = {
  columns: {
    name: "varchar(16) pk",
    version: "bigint?",
    modified_at: "bigint",
    content_hash: "char(64)",
    applied_at: "bigint",
  },
};

/** The clients file that was applied last. */
export class ClientsFile1790500000000 implements MigrationInterface {
  readonly name = "ClientsFile1790500000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.createTable(tableOf("clients_file", clientsFile, dialectOf(queryRunner)), true);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable("clients_file", true);
  }
}
