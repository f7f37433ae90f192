import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it, jest } from "@jest/globals";
import { startApp } from "../support/app.ts";
import { getTokens, introspect, postForm, signUp } from "../support/flow.ts";
import { makeKey } from "../support/keys.ts";
import { Program } from "./program.ts";

// each test starts the program several times
jest.setTimeout(120_000);

interface ErrorJson {
  error: { code: string; message: string };
}
interface ClientJson {
  client: { client_id: string; disabled_at: string | null; [name: string]: unknown };
  client_secret?: string;
}
interface UserJson {
  user: { uuid: string; email: string; roles: string[]; disabledAt: string | null };
}

describe("the command line", () => {
  let program: Program;
  beforeAll(async () => {
    program = await Program.migrated({}, [
      { client_id: "from-file", client_secret: "a-secret-of-the-file", grant_types: ["client_credentials"] },
    ]);
  });

  it("names the database that does not answer", async () => {
    const env = {
      DATABASE_URL: "mysql://auth:secret@127.0.0.1:1/auth",
      KEY_ENCRYPTION_KEY: Buffer.alloc(32, 3).toString("base64"),
    };
    const { status, stderr } = await program.run(["key", "list"], { env });
    expect(status).toBe(1);
    expect(stderr).toMatch(/temporarily unavailable: .*127\.0\.0\.1:1/);
    expect(stderr).not.toContain("secret");
  });

  it.each([
    ["--help"],
    ...["serve", "migrate", "client add", "client list", "client show", "client disable", "client rotate-secret"].map(
      (command) => [`${command} --help`],
    ),
    ...[
      "user add",
      "user show",
      "user grant",
      "user claims",
      "user disable",
      "key list",
      "key rotate",
      "key distrust",
      "outbox list",
      "outbox retry",
      "outbox discard",
      "client update",
      "client enable",
      "client remove",
      "user list",
      "user enable",
      "user remove",
      "user set-password",
      "user sessions",
      "user sign-out",
      "user reset-factors",
    ].map((command) => [`${command} --help`]),
  ])("explains itself: %s", async (line) => {
    const { status, stdout } = await program.run(line.split(" "));
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Usage: auth /);
    if (line !== "--help") expect(stdout).toMatch(/Examples:\n {2}\S/);
  });

  it.each([
    ["clients", "client"],
    ["clent add", "client"],
    ["user lst", "list"],
    ["help clients", "client"],
    ["client list --jsn", "--json"],
    ["--jsn", "--json"],
  ])("suggests what was meant by %s: %s", async (line, meant) => {
    const { status, stderr } = await program.run(line.split(" "));
    expect([status, stderr]).toEqual([2, expect.stringMatching(new RegExp(`did you mean ${meant}\\?`, "i"))]);
  });

  it("answers a usage error with 2, as JSON where asked", async () => {
    for (const args of [
      ["bogus"],
      ["client", "bogus"],
      ["client", "show"],
      ["client", "list", "--bogus"],
      ["outbox", "retry"],
    ]) {
      const plain = await program.run(args);
      expect([args, plain.status, plain.stdout]).toEqual([args, 2, ""]);
      expect(plain.stderr).not.toBe("");
      const asked = await program.run([...args, "--json"]);
      expect(asked.status).toBe(2);
      expect(asked.json<ErrorJson>().error.code).toBe("usage");
      expect(asked.stderr).toBe("");
    }
  });

  it("answers a wrong configuration with 78 and every problem", async () => {
    const env = { HTTP_PORT: "none", ISSUER: "nonsense" };
    const plain = await program.run(["client", "list"], { env });
    expect(plain.status).toBe(78);
    expect(plain.stderr).toMatch(/HTTP_PORT: [\s\S]*ISSUER: /);
    const asked = await program.run(["client", "list", "--json"], { env });
    expect(asked.status).toBe(78);
    expect(asked.json<ErrorJson>().error.code).toBe("configuration");
  });

  it("registers a client and shows its secret once", async () => {
    const options = ["--grant-type", "client_credentials", "--scope", "auth.introspect", "--name", "Billing"];
    const added = await program.run(["client", "add", "billing", ...options, "--json"]);
    expect(added.status).toBe(0);
    const { client, client_secret: secret } = added.json<ClientJson>();
    expect(secret).toMatch(/^[\w-]{43}$/);
    expect(client).toMatchObject({ client_id: "billing", client_name: "Billing", source: "command" });
    for (const args of [
      ["client", "show", "billing"],
      ["client", "list"],
      ["client", "show", "billing", "--json"],
    ]) {
      const { stdout } = await program.run(args);
      expect(stdout).toContain("billing");
      expect(stdout).not.toContain(secret);
    }
    const again = await program.run(["client", "add", "billing", ...options, "--json"]);
    expect(again.status).toBe(1);
    expect(again.json<ErrorJson>().error).toEqual({
      code: "invalid_request",
      message: "a client billing is registered already: `client update` changes it",
    });
  });

  it("registers a public client with every member of RFC 7591 and of this service", async () => {
    const { status, stdout, stderr } = await program.run([
      ..."client add shop --public --first-party --no-rotation --reuse-window 5 --access-token-typ JWT --json".split(
        " ",
      ),
      ..."--redirect-uri https://shop.example.com/a --redirect-uri https://shop.example.com/b".split(" "),
      ..."--resource https://api.example.com --access-token-alg RS256 --post-logout-redirect-uri https://shop.example.com/".split(
        " ",
      ),
      ...["--scope", "openid profile"],
    ]);
    expect([status, stderr]).toEqual([0, ""]);
    const json = JSON.parse(stdout) as ClientJson;
    expect(json.client_secret).toBeUndefined();
    expect(json.client).toMatchObject({
      redirect_uris: ["https://shop.example.com/a", "https://shop.example.com/b"],
      grant_types: ["authorization_code", "refresh_token"],
      token_endpoint_auth_method: "none",
      first_party: true,
      refresh_token_rotation: false,
      refresh_token_reuse_window: 5,
      resources: ["https://api.example.com"],
      access_token_typ: "JWT",
      access_token_signed_response_alg: "RS256",
      scope: "openid profile",
    });
  });

  it("creates a token with which clients register themselves, stored only as a hash", async () => {
    const { status, stdout } = await program.run("client registration-token --uses 2 --expires 60 --json".split(" "));
    expect(status).toBe(0);
    const made = JSON.parse(stdout) as { initial_access_token: string; uses: number; expires_at: string };
    expect(made).toMatchObject({ initial_access_token: expect.stringMatching(/^[\w-]{43}$/), uses: 2 });
    const left = Date.parse(made.expires_at) - Date.now();
    expect(left).toBeGreaterThan(40_000);
    expect(left).toBeLessThan(70_000);
    for (const wrong of ["--uses 0", "--expires 0", "--expires soon"]) {
      expect((await program.run(["client", "registration-token", ...wrong.split(" ")])).status).toBe(2);
    }
  });

  it("registers from a file or standard input, and reports every error", async () => {
    const file = path.join(program.folder, "registration.json");
    writeFileSync(
      file,
      JSON.stringify({
        client_id: "reports",
        token_endpoint_auth_method: "client_secret_post",
        grant_types: ["client_credentials"],
        resource_server_for: ["https://api.example.com"],
      }),
    );
    const added = await program.run(["client", "add", "--from-file", file, "--json"]);
    expect(added.json<ClientJson>()).toMatchObject({
      client: { client_id: "reports" },
      client_secret: expect.any(String),
    });

    const input = JSON.stringify({
      client_id: "own",
      client_secret: "known-already-0123456789012345678",
      grant_types: ["client_credentials"],
    });
    const own = await program.run(["client", "add", "--from-file", "-"], { input });
    expect(own.status).toBe(0);
    expect(own.stdout).not.toContain("known-already");

    const keyed = {
      client_id: "with-keys",
      token_endpoint_auth_method: "private_key_jwt",
      jwks: { keys: [(await makeKey()).jwk] },
      grant_types: ["client_credentials"],
    };
    const shown = await program.run(["client", "add", "--from-file", "-", "--json"], { input: JSON.stringify(keyed) });
    expect(shown.json<ClientJson>()).toMatchObject({ client: { client_id: "with-keys", secrets: [] } });
    expect(shown.json<ClientJson>()).not.toHaveProperty("client_secret");
    const rotated = await program.run(["client", "rotate-secret", "with-keys", "--json"]);
    expect(rotated.json<ErrorJson>().error.message).toMatch(/authenticates with its key/);

    const wrong = { client_id: "w", redirect_uris: ["http://example.com/"], grant_types: ["password"] };
    const refused = await program.run(["client", "add", "--from-file", "-", "--json"], {
      input: JSON.stringify(wrong),
    });
    expect(refused.status).toBe(1);
    expect(refused.json<ErrorJson>().error.message).toMatch(/redirect_uris.*grant_types/);
    expect((await program.run(["client", "add", "--from-file", "/nowhere.json"])).status).toBe(2);
    expect((await program.run(["client", "add", "--from-file", "-"], { input: "[]" })).status).toBe(2);
  });

  it("says which scopes of a client SCOPES_FILE keeps for others", async () => {
    const catalogue = path.join(program.folder, "scopes.json");
    writeFileSync(catalogue, JSON.stringify([{ scope: "vip", description: { en: "be first" }, who: ["shop"] }]));
    const env = { SCOPES_FILE: catalogue };
    const options = ["--grant-type", "client_credentials", "--scope", "read vip"];
    const added = await program.run(["client", "add", "not-the-shop", ...options], { env });
    const shown = await program.run(["client", "show", "not-the-shop"], { env });
    const updated = await program.run(["client", "update", "not-the-shop", "--scope", "vip"], { env });
    for (const { stdout } of [added, shown, updated]) {
      expect(stdout).toContain("vip (SCOPES_FILE keeps that for others)");
    }
    await program.run(["client", "update", "not-the-shop", "--scope", "read"], { env });
    expect((await program.run(["client", "show", "not-the-shop"], { env })).stdout).not.toContain("SCOPES_FILE");
  });

  it("disables a client and rotates secrets, and only disables and rotates those of the clients file", async () => {
    await program.run(["client", "add", "old", "--grant-type", "client_credentials"]);
    const rotated = await program.run(["client", "rotate-secret", "old", "--overlap", "3600", "--json"]);
    expect(rotated.json()).toMatchObject({
      client_id: "old",
      client_secret: expect.any(String),
      older_secrets_end_in: 3600,
    });
    const shown = await program.run(["client", "show", "old", "--json"]);
    expect(shown.json<{ client: { secrets: { expires_at: string | null }[] } }>().client.secrets).toEqual([
      expect.objectContaining({ expires_at: null }),
      expect.objectContaining({ expires_at: expect.any(String) }),
    ]);
    expect((await program.run(["client", "rotate-secret", "old", "--overlap", "soon"])).status).toBe(2);
    const disabled = await program.run(["client", "disable", "old", "--json"]);
    expect(disabled.json<ClientJson>().client.disabled_at).toEqual(expect.any(String));

    const refused = await program.run(["client", "add", "from-file", "--grant-type", "client_credentials", "--json"]);
    expect(refused.status).toBe(1);
    expect(refused.json<ErrorJson>().error.message).toMatch(/clients file/);
    const unknown = await program.run(["client", "disable", "nobody", "--json"]);
    expect([unknown.status, unknown.json<ErrorJson>().error.code]).toEqual([1, "not_found"]);
  });

  it("adds a user with a password from standard input or a file, never from an argument", async () => {
    const added = await program.run(["user", "add", "Ada@Example.com", "--nickname", "Ada", "--json"], {
      input: "correct horse battery\n",
    });
    expect([added.status, added.stderr]).toEqual([0, ""]);
    const { user } = added.json<UserJson>();
    expect(user).toMatchObject({ email: "ada@example.com", roles: ["ROLE_USER"], disabledAt: null });

    const file = path.join(program.folder, "password");
    writeFileSync(file, "another horse battery\r\n");
    const bob = [
      "user",
      "add",
      "bob@example.com",
      "--nickname",
      "Bob",
      "--role",
      "ROLE_ADMIN",
      "--password-file",
      file,
    ];
    expect((await program.run(bob)).stdout).toMatch(/roles\s+ROLE_USER ROLE_ADMIN/);
    const taken = await program.run([...bob, "--json"]);
    expect([taken.status, taken.json<ErrorJson>().error.code]).toEqual([1, "email_taken"]);
    const short = await program.run(["user", "add", "c@example.com", "--nickname", "C", "--json"], {
      input: "short\n",
    });
    expect([short.status, short.json<ErrorJson>().error.message]).toEqual([1, expect.stringContaining("password")]);
    const none = await program.run(["user", "add", "c@example.com", "--nickname", "C"]);
    expect([none.status, none.stderr]).toEqual([2, expect.stringContaining("password")]);
    expect((await program.run(["user", "add", "c@example.com", "--nickname", "C", "--password", "x"])).status).toBe(2);
  });

  it("grants and revokes roles by address or UUID, disables and enables", async () => {
    const input = "correct horse battery\n";
    const { user } = (
      await program.run(["user", "add", "eve@example.com", "--nickname", "Eve", "--json"], { input })
    ).json<UserJson>();
    const roles = async (...args: string[]) =>
      (await program.run(["user", "grant", ...args, "--json"])).json<UserJson>().user.roles;
    expect(await roles(user.uuid, "ROLE_ADMIN", "ROLE_AUDIT")).toEqual(["ROLE_USER", "ROLE_ADMIN", "ROLE_AUDIT"]);
    expect(await roles("EVE@example.com", "ROLE_AUDIT", "--revoke")).toEqual(["ROLE_USER", "ROLE_ADMIN"]);
    expect((await program.run(["user", "grant", user.uuid, "admin"])).status).toBe(1);
    await Promise.all([roles(user.uuid, "ROLE_A"), roles(user.uuid, "ROLE_B"), roles(user.uuid, "ROLE_C")]);
    const added = ["ROLE_A", "ROLE_ADMIN", "ROLE_B", "ROLE_C"];
    expect((await roles(user.uuid, "ROLE_ADMIN")).sort()).toEqual([...added, "ROLE_USER"]);
    expect(await roles(user.uuid, ...added, "--revoke")).toEqual(["ROLE_USER"]);
    const none = await program.run(["user", "grant", user.uuid, "ROLE_USER", "--revoke"]);
    expect([none.status, none.stderr]).toEqual([1, expect.stringContaining("at least one role")]);
    const disabled = await program.run(["user", "disable", "eve@example.com", "--json"]);
    expect(disabled.json<UserJson>().user.disabledAt).toEqual(expect.any(String));
    const enabled = await program.run(["user", "enable", user.uuid, "--json"]);
    expect(enabled.json<UserJson>().user.disabledAt).toBeNull();
    const shown = await program.run(["user", "show", user.uuid]);
    expect(shown.stdout).toMatch(/^uuid {6}\S+\nemail {5}eve@example.com\n(.+\n)*signs in {2}password\n/);
    expect((await program.run(["user", "show", "nobody@example.com"])).status).toBe(1);
  });

  it("lists keys and publishes new ones that sign later", async () => {
    type Keys = { keys: { kid: string; alg: string; state: string }[] };
    const rotated = await program.run(["key", "rotate", "--alg", "ES256", "--json"]);
    const [fresh] = rotated.json<Keys>().keys;
    const { keys } = (await program.run(["key", "list", "--json"])).json<Keys>();
    expect(keys.find(({ kid }) => kid === fresh?.kid)).toMatchObject({ alg: "ES256", state: "pending" });
    expect(keys.filter(({ alg, state }) => alg === "ES256" && state === "active")).toHaveLength(1);
    expect((await program.run(["key", "list"])).stdout).toMatch(/^KID +USE +ALG +STATE +ACTIVE FROM\n/);
    expect((await program.run(["key", "rotate", "--alg", "HS256"])).status).toBe(2);
  });

  it("lists events by status, and makes parked ones pending again", async () => {
    const { events } = (await program.run(["outbox", "list", "--json"])).json<{ events: object[] }>();
    expect(events[0]).toMatchObject({ eventType: "USER_SIGNUP", status: "pending" });
    expect((await program.run(["outbox", "list", "--status", "parked", "--json"])).json()).toEqual({ events: [] });
    expect((await program.run(["outbox", "retry", "--all", "--json"])).json()).toEqual({ retried: 0 });
    const unknown = await program.run(["outbox", "retry", "evt-20260118-001"]);
    expect([unknown.status, unknown.stderr]).toEqual([1, expect.stringContaining("not parked: evt-20260118-001")]);
  });
});

describe("auth migrate", () => {
  it("says, as every command does, which variable is probably misspelt: another database than was meant may be asked", async () => {
    const program = await Program.migrated();
    for (const command of [
      ["migrate", "--json"],
      ["client", "list", "--json"],
    ]) {
      const { status, stdout, stderr } = await program.run(command, { env: { DATABASE_SSL_CAS: "ca.pem" } });
      expect([status, stderr]).toEqual([0, "DATABASE_SSL_CAS is no setting: did you mean DATABASE_SSL_CA?\n"]);
      expect(() => JSON.parse(stdout)).not.toThrow();
    }
  });

  it("prints a plan without making the database, then applies it once", async () => {
    const program = await Program.empty();
    const file = program.env["DATABASE_URL"]?.slice("sqlite:".length) ?? "";
    const plan = await program.run(["migrate", "--plan"]);
    expect(plan.stdout).toMatch(/^-- \w+\nCREATE TABLE "users" .*;\n/);
    expect(plan.stdout).not.toContain(";;");
    expect(existsSync(file)).toBe(false);
    const early = await program.run(["client", "list"]);
    expect([early.status, early.stderr]).toEqual([1, expect.stringContaining("run `npm run auth -- migrate`")]);
    const json = (await program.run(["migrate", "--plan", "--json"])).json<{ pending: { name: string }[] }>();
    const names = json.pending.map(({ name }) => name);
    expect(names.length).toBeGreaterThan(0);
    expect((await program.run(["migrate", "--json"])).json()).toEqual({ applied: names });
    expect((await program.run(["migrate", "--json"])).json()).toEqual({ applied: [] });
    expect((await program.run(["migrate", "--plan"])).stdout).toBe("The schema is up to date.\n");
  });
});

/** Asks again until the answer is the one that is waited for, at most 20 s: a busy machine may need more than its usual second. */
async function eventually<T>(ask: () => Promise<T>, arrived: (answer: T) => boolean): Promise<T> {
  const startedAt = performance.now();
  for (;;) {
    const answer = await ask();
    if (arrived(answer) || performance.now() - startedAt > 20_000) return answer;
    await new Promise((done) => setTimeout(done, 50));
  }
}

describe("the command line next to a running service", () => {
  it("disables a user and a client, whose tokens are refused at once", async () => {
    const app = await startApp();
    try {
      const program = await Program.empty({ ...app.env });
      const account = await signUp(app.url);
      const { access_token } = await getTokens(app.url, account);
      expect(await introspect(app.url, access_token)).toMatchObject({ active: true });
      expect((await program.run(["user", "disable", account.email])).status).toBe(0);
      const answer = await eventually(
        () => introspect(app.url, access_token),
        ({ active }) => active === false,
      );
      expect(answer).toEqual({ active: false });

      const rotated = await program.run(["client", "rotate-secret", "internal-service", "--json"]);
      const secret = rotated.json<ClientJson>().client_secret ?? "";
      const grant = (client_secret: string) =>
        postForm(`${app.url}/oauth2/token`, {
          grant_type: "client_credentials",
          client_id: "internal-service",
          client_secret,
        });
      const old = await eventually(
        () => grant("internal-service-secret"),
        ({ status }) => status === 401,
      );
      const statuses = [old.status];
      const basic = `Basic ${Buffer.from(`internal-service:${secret}`).toString("base64")}`;
      // a running service knows a new secret once it has read the feed of changes
      const renewed = await eventually(
        () => postForm(`${app.url}/oauth2/token`, { grant_type: "client_credentials" }, { authorization: basic }),
        ({ status }) => status === 200,
      );
      statuses.push(renewed.status);
      expect(statuses).toEqual([401, 200]);
    } finally {
      await app.close();
    }
  });
});
