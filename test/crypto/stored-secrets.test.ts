import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { hashOf } from "../../src/crypto/hashes.ts";
import { readClientRegistration } from "../../src/store/client-metadata.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { secretsIn } from "../support/find-secrets.ts";
import { claimsOf } from "../support/flow.ts";
import { makeKey } from "../support/keys.ts";
import { everySecret, secretClients } from "../support/secrets.ts";
import { rowsOf } from "../support/sqlite.ts";

const logins = 1_000;

describe("the contents of the database's files", () => {
  let app: TestApp;
  let secrets: Map<string, string>;
  let files: Buffer;
  beforeAll(async () => {
    const key = await makeKey();
    app = await startApp({}, secretClients(key));
    secrets = await everySecret([app], key, logins);
    const file = app.secrets.databaseUrl.slice("sqlite:".length);
    files = Buffer.concat([file, `${file}-wal`].filter((each) => existsSync(each)).map((each) => readFileSync(each)));
  });
  afterAll(() => app.close());

  const named = (name: string) => [...secrets].filter(([key]) => key.startsWith(name)).map(([, value]) => value);

  it(`S-086 is no token, code, cookie or password that ${logins} logins and every other flow gave or took`, () => {
    expect(secrets.size).toBeGreaterThan(logins * 8);
    expect(secretsIn(files, secrets)).toEqual([]);
    const everyone = Buffer.from([...secrets.values()].join(""));
    expect(secretsIn(everyone, secrets)).toHaveLength(secrets.size);
    // they are where they were looked for: by their hashes and identifiers
    for (const code of named("code ")) expect(files.includes(hashOf(code))).toBe(true);
    for (const token of named("refresh_token ")) expect(files.includes(String(claimsOf(token)["sid"]))).toBe(true);
    expect(files.includes(hashOf(named("reset token")[0] ?? ""))).toBe(true);
  });

  it("S-086 is found by a unique index over the hash or identifier", () => {
    const keys = {
      oauth2_authorization_code: "code_hash",
      oauth2_authorization: "id",
      oauth2_device_code: "device_code_hash",
      oauth2_pushed_request: "uri_hash",
      oauth2_initial_access_token: "token_hash",
      password_reset_token: "token_hash",
      browser_session: "id_hash",
    };
    for (const [table, column] of Object.entries(keys)) {
      const primary = rowsOf<{ name: string }>(app, `SELECT name FROM pragma_table_info('${table}') WHERE pk > 0`);
      expect([table, primary.map(({ name }) => name)]).toEqual([table, [column]]);
    }
  });

  it("S-098 is client secrets as SHA-256 only: 256 bits where they are made here, 32 characters or more in production", () => {
    const rows = rowsOf<{ client_id: string; secret_hash: string }>(app, "SELECT * FROM oauth2_client_secret");
    const known = [
      ...named("client secret"),
      ...named("generated client secret"),
      ...named("registered client's secret"),
    ];
    expect(rows.map((row) => row.secret_hash).sort()).toEqual(known.map(hashOf).sort());
    for (const made of [...named("generated client secret"), ...named("registered client's secret")]) {
      expect(Buffer.from(made, "base64url")).toHaveLength(32);
    }
    const registration = { client_id: "x", grant_types: ["client_credentials"], scope: "read" };
    const short = readClientRegistration({ ...registration, client_secret: "s".repeat(31) }, true);
    expect(short).toEqual(["client_secret: must have at least 32 characters in production"]);
    expect(readClientRegistration({ ...registration, client_secret: "s".repeat(32) }, true)).toHaveProperty("clientId");
  });
});
