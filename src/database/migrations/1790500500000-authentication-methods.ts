import type { MigrationInterface, QueryRunner } from "typeorm";
import { type AddedColumns, addColumns, dropColumns } from "./steps.ts";

/** How a user signed in: with the browser's session and with what came of it. Null, as the previous release writes it: by password. */
const added: AddedColumns = {
  browser_session: { amr: "varchar(100)?" },
  oauth2_authorization_code: { amr: "varchar(100)?", acr: "varchar(100)?" },
  oauth2_device_code: { amr: "varchar(100)?" },
  oauth2_authorization: { amr: "varchar(100)?", acr: "varchar(100)?" },
};

export class AuthenticationMethods1790500500000 implements MigrationInterface {
  readonly name = "AuthenticationMethods1790500500000";

  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, added);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await dropColumns(queryRunner, added);
  }
}
