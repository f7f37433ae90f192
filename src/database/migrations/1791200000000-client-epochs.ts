import type { MigrationInterface, QueryRunner } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";
import { type AddedColumns, addColumns, dialectOf, dropColumns } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. Null: the client was never disabled. */
const newColumns: AddedColumns = { oauth2_registered_client: { epoch: "bigint?" } };

/** The epochs of clients that were removed, from which later clients of their ids count on. */
const removedClient: TableShape = { columns: { client_id: "varchar(191) pk", epoch: "bigint" } };

/**
 * Epochs of clients: what ends all tokens of a client is a number in its row. The previous release runs on beside it: what it disables has
 * no epoch, and is judged by time as before.
 */
export class ClientEpochs1791200000000 implements MigrationInterface {
  readonly name = "ClientEpochs1791200000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, newColumns);
    await queryRunner.createTable(tableOf("removed_client", removedClient, dialectOf(queryRunner)), true);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable("removed_client", true);
    await dropColumns(queryRunner, newColumns);
  }
}
