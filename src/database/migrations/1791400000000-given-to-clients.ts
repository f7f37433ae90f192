import type { MigrationInterface, QueryRunner } from "typeorm";
import { type AddedColumns, addColumns, dropColumns } from "./steps.ts";

/** What this migration adds: never edited once released, whatever `SCHEMA` says by now. */
const newColumns: AddedColumns = {
  oauth2_registered_client: { first_epoch: "bigint?" },
  oauth2_authorization: { client_epoch: "bigint?" },
  oauth2_authorization_code: { client_epoch: "bigint?" },
  oauth2_authorization_consent: { client_epoch: "bigint?" },
  oauth2_pushed_request: { client_epoch: "bigint?" },
  oauth2_device_code: { client_epoch: "bigint?" },
};

/**
 * The epoch of its client stands in whatever was given to a client, and the client's row has the first that is its own: what an earlier
 * client of the same id was given is told by numbers. The previous release runs on beside it: what it writes is judged by time as before.
 */
export class GivenToClients1791400000000 implements MigrationInterface {
  readonly name = "GivenToClients1791400000000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, newColumns);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await dropColumns(queryRunner, newColumns);
  }
}
