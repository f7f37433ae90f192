import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { UNKNOWN_ASKER, userDeleted } from "../../src/events.ts";
import { deleteUser, forgetDeleted } from "../../src/users/deletion.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { claimsOf, getTokens, signUp } from "../support/flow.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.close());

/** Asks the database in a process of its own: a second SQLite in one process takes the locks of the first away as it closes. */
function ask(sql: string, ...values: (string | number)[]): Record<string, unknown>[] {
  const script = `
    const { DatabaseSync } = await import("node:sqlite");
    const [, file, sql, ...values] = process.argv;
    const database = new DatabaseSync(file);
    database.exec("PRAGMA busy_timeout = 60000");
    process.stdout.write(JSON.stringify(database.prepare(sql).all(...values)));`;
  const file = app.secrets.databaseUrl.slice("sqlite:".length);
  const args = ["--no-warnings", "--input-type=module", "-e", script, file, sql, ...values.map(String)];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" })) as Record<string, unknown>[];
}

/** A user with so many authorizations. */
async function userOf(count: number): Promise<string> {
  const account = await signUp(app.url);
  const sid = String(claimsOf((await getTokens(app.url, account)).access_token)["sid"]);
  const columns = ask("SELECT name FROM pragma_table_info('oauth2_authorization') WHERE name <> 'id'");
  const names = columns.map(({ name }) => name).join(", ");
  ask(
    `INSERT INTO oauth2_authorization (id, ${names})
     WITH RECURSIVE copy (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM copy WHERE number < CAST(? AS INTEGER))
     SELECT lower(hex(randomblob(16))), ${names} FROM oauth2_authorization, copy WHERE id = ?`,
    count - 1,
    sid,
  );
  return account.uuid;
}

/** How many authorizations there are of a user, and how many of them say where they came from. */
function left(uuid: string): Record<string, unknown> | undefined {
  const traced = "CASE WHEN ip_address <> '' OR user_agent <> '' THEN 1 END";
  return ask(
    `SELECT COUNT(*) AS "all", COUNT(${traced}) AS traced FROM oauth2_authorization WHERE subject = ?`,
    uuid,
  )[0];
}

it("C-02 a deleted user's thousands of authorizations forget where they came from, most of them after the answer", async () => {
  const [some, many] = [await userOf(900), await userOf(3_500)];
  await deleteUser(app.context, some);
  expect(left(some)).toEqual({ all: 900, traced: 0 });
  await deleteUser(app.context, many);
  expect(left(many)).toEqual({ all: 3_500, traced: 2_500 });
  await forgetDeleted(app.context);
  expect(left(many)).toEqual({ all: 3_500, traced: 0 });
});

it("what a process left that died right after it deleted a user is forgotten by the next turn", async () => {
  const uuids = [await userOf(2), await userOf(2)];
  for (const uuid of uuids) {
    const user = await app.context.store.users.find(uuid);
    if (user === null) throw new Error("no such user");
    await app.context.store.users.delete(uuid, userDeleted(user, UNKNOWN_ASKER, app.clock.now()));
    expect(left(uuid)).toEqual({ all: 2, traced: 2 });
  }
  await forgetDeleted(app.context);
  for (const uuid of uuids) expect(left(uuid)).toEqual({ all: 2, traced: 0 });
});

it("an account is deleted though the database is away before its traces are forgotten", async () => {
  const uuid = await userOf(2);
  const { users } = app.context.store;
  const failing = new Proxy(users, {
    get: (target, name) =>
      name === "forgetTraces" ? () => Promise.reject(new Error("away")) : Reflect.get(target, name).bind(target),
  });
  await deleteUser({ ...app.context, store: { ...app.context.store, users: failing } }, uuid);
  expect(await users.find(uuid)).toBeNull();
  expect(left(uuid)).toEqual({ all: 2, traced: 2 });
  await forgetDeleted(app.context);
  expect(left(uuid)).toEqual({ all: 2, traced: 0 });
});
