import type { MigrationInterface, QueryRunner } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";
import { dialectOf } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. */
const issuer: TableShape = { columns: { id: "int pk", url: "text", since: "bigint" } };

/** The issuer that a database is of. */
export class Issuer1791100000000 implements MigrationInterface {
  readonly name = "Issuer1791100000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.createTable(tableOf("issuer", issuer, dialectOf(queryRunner)), true);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable("issuer", true);
  }
}
