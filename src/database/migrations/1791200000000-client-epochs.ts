import type { MigrationInterface, QueryRunner } from "typeorm";
import { type AddedColumns, addColumns, dropColumns } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. Null: the client was never disabled. */
const newColumns: AddedColumns = { oauth2_registered_client: { epoch: "bigint?" } };

/**
 * Epochs of clients: what ends all tokens of a client is a number in its row. The previous release runs on beside it: what it disables has
 * no epoch, and is judged by time as before.
 */
export class ClientEpochs1791200000000 implements MigrationInterface {
  readonly name = "ClientEpochs1791200000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, newColumns);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await dropColumns(queryRunner, newColumns);
  }
}
