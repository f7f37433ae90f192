import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "@jest/globals";
import { startApp, type TestApp } from "../support/app.ts";
import { authorizeUrl, internalBasic, postForm, TestBrowser } from "../support/flow.ts";
import { countOf } from "../support/sqlite.ts";
import { Program } from "./program.ts";

const production = { NODE_ENV: "production", ISSUER: "https://auth.example" };

async function keysOf(app: TestApp): Promise<string[]> {
  const { keys } = (await (await fetch(`${app.url}/oauth2/jwks`)).json()) as { keys: { kid: string; x?: string }[] };
  return keys.flatMap(({ kid, x }) => [kid, x ?? kid]);
}

describe("a fresh installation in production", () => {
  it("S-050 does not start without its secrets, and names each", async () => {
    const program = await Program.empty(production);
    for (const name of ["KEY_ENCRYPTION_KEY", "DATABASE_URL"]) delete program.env[name];
    const { status, stdout, stderr } = await program.run(["serve"]);
    expect(status).toBe(78);
    const said = stdout + stderr;
    for (const name of ["KEY_ENCRYPTION_KEY", "DATABASE_URL"]) expect(said).toMatch(new RegExp(`${name}: .*Example: `));
    expect(existsSync(path.join(program.folder, "data"))).toBe(false);

    const empty = await program.run(["serve"], { env: { KEY_ENCRYPTION_KEY: "", DATABASE_URL: "", ISSUER: "" } });
    expect([empty.status, empty.stdout + empty.stderr]).toEqual([78, expect.stringContaining("KEY_ENCRYPTION_KEY: ")]);
    const missing = { KEY_ENCRYPTION_KEY_FILE: "/nowhere/key", DATABASE_URL: "mysql://auth:secret@127.0.0.1:1/auth" };
    const unreadable = await program.run(["serve"], { env: missing });
    expect([unreadable.status, unreadable.stdout + unreadable.stderr]).toEqual([
      78,
      expect.stringContaining("KEY_ENCRYPTION_KEY_FILE: cannot read"),
    ]);
  });

  it("S-050 takes no secret that can be guessed", async () => {
    const short = { client_id: "billing", client_secret: "secret", grant_types: ["client_credentials"] };
    const program = await Program.empty({ ...production, ALLOW_SQLITE: "1" }, [short]);
    for (const [env, said] of [
      [{}, "client_secret: must have at least 32 characters in production"],
      [{ KEY_ENCRYPTION_KEY: "c2hvcnQ=" }, "KEY_ENCRYPTION_KEY: must be 32 bytes"],
    ] as const) {
      const { status, stdout, stderr } = await program.run(["serve"], { env });
      expect([status, stdout + stderr]).toEqual([78, expect.stringContaining(said)]);
    }
  });

  it("S-050 has no user, no client and no key that another installation has", async () => {
    const apps = [
      await startApp({ ...production, ALLOW_SQLITE: "1" }),
      await startApp({ ...production, ALLOW_SQLITE: "1" }),
    ];
    try {
      const [app] = apps as [TestApp];
      for (const table of ["users", "oauth2_registered_client", "oauth2_client_secret"])
        expect(countOf(app, table)).toBe(0);
      expect((await new TestBrowser().get(authorizeUrl(app.url))).status).toBe(400);
      const parameters = { grant_type: "client_credentials", scope: "auth.users.admin" };
      const byDefault = await postForm(`${app.url}/oauth2/token`, parameters, { authorization: internalBasic });
      expect([byDefault.status, ((await byDefault.json()) as { error: string }).error]).toEqual([
        401,
        "invalid_client",
      ]);
      const [first = [], second = []] = await Promise.all(apps.map(keysOf));
      expect(first.length).toBeGreaterThan(0);
      expect(first.filter((value) => second.includes(value))).toEqual([]);
    } finally {
      for (const app of apps) await app.close();
    }
  });

  it("S-050 does not start on a database that development left its clients in", async () => {
    const development = await startApp();
    await development.close();
    const { DATABASE_URL, KEY_ENCRYPTION_KEY } = development.env as {
      DATABASE_URL: string;
      KEY_ENCRYPTION_KEY: string;
    };
    const program = await Program.empty({ ...production, ALLOW_SQLITE: "1", DATABASE_URL, KEY_ENCRYPTION_KEY });
    const { status, stdout, stderr } = await program.run(["serve"]);
    expect([status, stdout + stderr]).toEqual([
      78,
      expect.stringMatching(/internal-service.*portal-client|portal-client.*internal-service/),
    ]);
  });
});
