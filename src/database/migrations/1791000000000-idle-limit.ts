import type { MigrationInterface, QueryRunner } from "typeorm";
import type { TableShape } from "../schema.ts";
import { addColumns, changeRows, dropColumns } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. */
const oauth2_registered_client: TableShape["columns"] = { idle_limit_since: "bigint?" };

/**
 * When a client's idle limit was set. Of limits from before, the last change of the client is taken for it. The previous release runs on
 * beside it: a limit that it sets has none.
 */
export class IdleLimit1791000000000 implements MigrationInterface {
  readonly name = "IdleLimit1791000000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, { oauth2_registered_client });
    await changeRows(
      queryRunner,
      `UPDATE oauth2_registered_client SET idle_limit_since = updated_at WHERE idle_limit_since IS NULL
        AND metadata LIKE '%"refresh_token_idle_ttl":%'`,
    );
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await dropColumns(queryRunner, { oauth2_registered_client });
  }
}
