import type { MigrationInterface, QueryRunner } from "typeorm";
import { type AddedColumns, addColumns, dropColumns } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. */
const newColumns: AddedColumns = { users: { password_generation: "varchar(129)?" } };

/**
 * Of a password that was hashed again, its generation. The previous release runs on beside it: a hash that it writes has no generation, or
 * that of another hash, and counts as another password.
 */
export class PasswordGeneration1791300000000 implements MigrationInterface {
  readonly name = "PasswordGeneration1791300000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, newColumns);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await dropColumns(queryRunner, newColumns);
  }
}
