import type { MigrationInterface, QueryRunner } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";
import { type AddedColumns, addColumns, addIndexes, dialectOf, dropColumns, dropIndexes } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `schema` says by now. Null where the previous release wrote the row. */
const newColumns: AddedColumns = {
  users: { epoch: "bigint?", row_version: "bigint?" },
  oauth2_authorization: { user_epoch: "bigint?" },
  revocation: { epoch: "bigint?" },
};

const lifetimes: TableShape = { columns: { lifetime_ms: "bigint pk", used_until: "bigint" } };

const indexedTable = "oauth2_authorization";
const clientIndex = { ix_authorization_client: ["subject", "client_id", "created_at"] };

/**
 * Epochs: what ends all tokens of a user is a number in their row. Each step looks first whether it was done. The previous release runs
 * on with it: every new column may be null.
 */
export class Epochs1790200000000 implements MigrationInterface {
  readonly name = "Epochs1790200000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    const dialect = dialectOf(queryRunner);
    await addColumns(queryRunner, newColumns);
    await addIndexes(queryRunner, indexedTable, clientIndex);
    await queryRunner.createTable(tableOf("access_token_lifetime", lifetimes, dialect), true);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable("access_token_lifetime", true);
    await dropIndexes(queryRunner, indexedTable, clientIndex);
    await dropColumns(queryRunner, newColumns);
  }
}
