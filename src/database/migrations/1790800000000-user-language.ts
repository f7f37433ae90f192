import type { MigrationInterface, QueryRunner } from "typeorm";
import type { TableShape } from "../schema.ts";
import { addColumns, dropColumns } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. */
const users: TableShape["columns"] = { language: "varchar(35)?" };

/** The language that a user is written to in. The previous release runs on beside it, and keeps none for those who sign up there. */
export class UserLanguage1790800000000 implements MigrationInterface {
  readonly name = "UserLanguage1790800000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, { users });
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await dropColumns(queryRunner, { users });
  }
}
