import { beforeAll, describe, expect, it } from "@jest/globals";
import { MIGRATIONS } from "../../../src/database/data-source.ts";
import {
  ForeignSchemaError,
  migrate,
  openDatabase,
  planMigrations,
  schemaDrift,
} from "../../../src/database/migrate.ts";
import type { OpenedStore } from "./fixtures.ts";

const names = MIGRATIONS.map((Migration) => new Migration().name);

/** @param opened gives the store once the tests run */
export function schemaContract(opened: () => OpenedStore): void {
  describe("schema", () => {
    let freshUrl: OpenedStore["freshUrl"];
    beforeAll(() => {
      ({ freshUrl } = opened());
    });

    it("plans every table before it makes one, and makes them once though two start at once", async () => {
      const location = { url: await freshUrl() };
      const plans = await planMigrations(location);
      const tables = plans.map(
        ({ sql }) => sql.filter((statement) => /^CREATE TABLE .(?!temporary)/.test(statement)).length,
      );
      expect(tables).toEqual([15, 5, 1, 0, 1, 1, 0, 0, 3, 2, 0, 0, 0, 1, 1, 0, 0, 0, 0]);
      const both = await Promise.all([openDatabase(location), openDatabase(location)]);
      const ran = await Promise.all(both.map(migrate));
      expect(ran.flat()).toEqual(names);
      expect(await Promise.all(both.map(migrate))).toEqual([[], []]);
      await Promise.all(both.map((each) => each.close()));
      expect(await planMigrations(location)).toEqual([]);
      expect(await schemaDrift(location)).toEqual([]);
    });

    it("refuses a database that holds another program's table, and leaves it alone", async () => {
      const foreign = await openDatabase({ url: await freshUrl() });
      await foreign.change("CREATE TABLE users (id INT PRIMARY KEY, login VARCHAR(20))");
      await expect(migrate(foreign)).rejects.toThrow(ForeignSchemaError);
      await expect(migrate(foreign)).rejects.toThrow(/users.*DATABASE_URL/s);
      await expect(foreign.rows("SELECT name FROM auth_migrations")).rejects.toThrow();
      await foreign.close();
    });

    it("has waiting events that the previous release does not know wait under a status of their own", async () => {
      const database = await openDatabase({ url: await freshUrl() });
      await migrate(database);
      const statuses = { SIGNUP: "pending", SECURITY: "pending", DELETED: "sent", PASSWORD_CHANGED: "parked" };
      for (const [seq, [type, status]] of Object.entries(statuses).entries()) {
        await database.change(
          `INSERT INTO outbox (event_id, event_type, user_id, seq, lane, status, attempts, created_at, payload)
           VALUES (?, ?, 'u', ?, 0, ?, 0, 0, '')`,
          [`e${seq}`, `USER_${type}`, seq, status],
        );
      }
      const name = names.find((each) => each.startsWith("WaitingEvents")) ?? "";
      await database.change("DELETE FROM auth_migrations WHERE name = ?", [name]);
      await migrate(database);
      const rows = await database.rows<{ status: string }>("SELECT status FROM outbox ORDER BY seq");
      expect(rows.map(({ status }) => status)).toEqual(["pending", "waiting", "sent", "parked"]);
      await database.close();
    });

    it("takes the last change of a client that has an idle limit already for the time at which it was set", async () => {
      const database = await openDatabase({ url: await freshUrl() });
      await migrate(database);
      for (const [id, member] of [
        ["limited", "refresh_token_idle_ttl"],
        ["unlimited", "default_max_age"],
      ] as const) {
        await database.change(
          `INSERT INTO oauth2_registered_client (client_id, metadata, source, created_at, updated_at)
           VALUES (?, ?, 'command', 1, 5)`,
          [id, JSON.stringify({ [member]: 600 })],
        );
      }
      await database.change("DELETE FROM auth_migrations WHERE name = ?", ["IdleLimit1791000000000"]);
      await migrate(database);
      const rows = await database.rows<object>(
        "SELECT client_id, idle_limit_since FROM oauth2_registered_client ORDER BY client_id",
      );
      expect(rows).toEqual([
        { client_id: "limited", idle_limit_since: 5 },
        { client_id: "unlimited", idle_limit_since: null },
      ]);
      await database.close();
    });

    it("finishes a migration that was killed half way", async () => {
      const location = { url: await freshUrl() };
      const first = await openDatabase(location);
      await migrate(first);

      await first.change("DROP TABLE oauth2_initial_access_token");
      await first.change("ALTER TABLE oauth2_authorization DROP COLUMN dpop_jkt");
      await first.change("DELETE FROM auth_migrations WHERE name = ?", [names[1] ?? ""]);
      await first.change("UPDATE lease SET expires_at = 0");
      expect(await migrate(first)).toEqual(names.slice(1, 2));
      expect(await schemaDrift(location)).toEqual([]);

      await first.change("DROP TABLE access_token_lifetime");
      await first.change("ALTER TABLE users DROP COLUMN row_version");
      await first.change("DELETE FROM auth_migrations WHERE name = ?", [names[2] ?? ""]);
      await first.change("UPDATE lease SET expires_at = 0");
      expect(await migrate(first)).toEqual(names.slice(2, 3));
      expect(await schemaDrift(location)).toEqual([]);

      const outbox = first.dataSource.createQueryRunner();
      await outbox.dropIndex("outbox", "ix_outbox_user_type");
      await outbox.release();
      await first.change("DELETE FROM auth_migrations WHERE name = ?", [names[3] ?? ""]);
      await first.change("UPDATE lease SET expires_at = 0");
      expect(await migrate(first)).toEqual(names.slice(3, 4));
      expect(await schemaDrift(location)).toEqual([]);

      await first.change("DROP TABLE session_application");
      await first.change("DELETE FROM auth_migrations WHERE name = ?", [names[4] ?? ""]);
      await first.change("UPDATE lease SET expires_at = 0");
      expect(await migrate(first)).toEqual(names.slice(4, 5));
      expect(await schemaDrift(location)).toEqual([]);

      const accounts = names.indexOf("Accounts1790700000000");
      await first.change("DROP TABLE mail");
      await first.change("DELETE FROM auth_migrations WHERE name = ?", [names[accounts] ?? ""]);
      await first.change("UPDATE lease SET expires_at = 0");
      expect(await migrate(first)).toEqual(names.slice(accounts, accounts + 1));
      expect(await schemaDrift(location)).toEqual([]);

      await first.change("ALTER TABLE oauth2_device_code DROP COLUMN client_epoch");
      const given = names.indexOf("GivenToClients1791400000000");
      await first.change("DELETE FROM auth_migrations WHERE name = ?", [names[given] ?? ""]);
      await first.change("UPDATE lease SET expires_at = 0");
      expect(await migrate(first)).toEqual(names.slice(given, given + 1));
      expect(await schemaDrift(location)).toEqual([]);

      const runner = first.dataSource.createQueryRunner();
      for (const Migration of MIGRATIONS.slice(1).reverse()) await new Migration().down(runner);
      await runner.release();
      for (const table of ["revocation", "outbox", "rate_limit"]) await first.change(`DROP TABLE ${table}`);
      await first.change("DELETE FROM auth_migrations");
      await first.change("UPDATE lease SET expires_at = 0");
      expect(await migrate(first)).toEqual(names);
      await first.close();
      expect(await schemaDrift(location)).toEqual([]);
    });
  });
}
