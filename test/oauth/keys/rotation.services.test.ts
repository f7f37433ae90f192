import { afterAll, beforeAll } from "@jest/globals";
import { type MariaDb, startMariaDb } from "../../support/mariadb.ts";
import { rotationCases } from "./rotation-cases.ts";

let database: MariaDb;
beforeAll(async () => {
  database = await startMariaDb();
});
afterAll(() => database?.stop());

rotationCases(async () => ({ DATABASE_URL: await database.createDatabase() }));
