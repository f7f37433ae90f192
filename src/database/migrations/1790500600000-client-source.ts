import { type MigrationInterface, type QueryRunner, TableIndex } from "typeorm";
import { tableNow } from "./steps.ts";

const table = "oauth2_registered_client";
const index = { name: "ix_client_source", columnNames: ["source"] };

/** Finds the operator's clients among those that registered themselves. */
export class ClientSource1790500600000 implements MigrationInterface {
  readonly name = "ClientSource1790500600000";

  async up(queryRunner: QueryRunner): Promise<void> {
    const clients = await tableNow(queryRunner, table);
    if (clients.indices.some(({ name }) => name === index.name)) return;
    await queryRunner.createIndex(clients, new TableIndex(index));
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    const clients = await queryRunner.getTable(table);
    if (clients?.indices.some(({ name }) => name === index.name)) await queryRunner.dropIndex(clients, index.name);
  }
}
