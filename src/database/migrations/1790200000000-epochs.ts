import { type MigrationInterface, type QueryRunner, TableIndex } from "typeorm";
import { type TableShape, tableOf } from "../schema.ts";
import { initialTables } from "./1790000000000-initial.ts";

/** What this migration adds: never edited once released, whatever `schema` says by now. Null where the previous release wrote the row. */
const newColumns: Readonly<Record<string, TableShape["columns"]>> = {
  users: { epoch: "bigint?", row_version: "bigint?" },
  oauth2_authorization: { user_epoch: "bigint?" },
  revocation: { epoch: "bigint?" },
};

const lifetimes: TableShape = { columns: { lifetime_ms: "bigint pk", used_until: "bigint" } };

const clientIndex = {
  name: "ix_authorization_client",
  columnNames: ["subject", "client_id", "created_at"],
};

/**
 * Epochs: what ends all tokens of a user is a number in their row. Each step looks first whether it was done. The previous release runs
 * on with it: every new column may be null.
 */
export class Epochs1790200000000 implements MigrationInterface {
  readonly name = "Epochs1790200000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    const dialect = queryRunner.dataSource.options.type === "better-sqlite3" ? "sqlite" : "mysql";
    for (const [name, columns] of Object.entries(newColumns)) {
      // where only a plan is asked for, the first migration's tables may not be there yet
      const table =
        (await queryRunner.getTable(name)) ?? tableOf(name, initialTables[name] ?? { columns: {} }, dialect);
      const missing = tableOf(name, { columns }, dialect).columns.filter(({ name }) => !table.findColumnByName(name));
      if (missing.length > 0) await queryRunner.addColumns(table, missing);
      const indexed = table.indices.some(({ name }) => name === clientIndex.name);
      if (name === "oauth2_authorization" && !indexed) {
        await queryRunner.createIndex(table, new TableIndex(clientIndex));
      }
    }
    await queryRunner.createTable(tableOf("access_token_lifetime", lifetimes, dialect), true);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable("access_token_lifetime", true);
    const authorizations = await queryRunner.getTable("oauth2_authorization");
    if (authorizations?.indices.some(({ name }) => name === clientIndex.name)) {
      await queryRunner.dropIndex(authorizations, clientIndex.name);
    }
    for (const [name, columns] of Object.entries(newColumns)) {
      const table = await queryRunner.getTable(name);
      const present = Object.keys(columns).filter((column) => table?.findColumnByName(column));
      if (table !== undefined && present.length > 0) await queryRunner.dropColumns(table, present);
    }
  }
}
