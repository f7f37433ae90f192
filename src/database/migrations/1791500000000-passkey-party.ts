import type { MigrationInterface, QueryRunner } from "typeorm";
import { type AddedColumns, addColumns, dropColumns } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. */
const newColumns: AddedColumns = { issuer: { rp_id: "text?" } };

/** The domain that the passkeys of a database are for. */
export class PasskeyParty1791500000000 implements MigrationInterface {
  readonly name = "PasskeyParty1791500000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, newColumns);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await dropColumns(queryRunner, newColumns);
  }
}
