import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { IntrospectionService } from "../../../gen/auth/v1/introspection_pb.ts";
import { TokenService } from "../../../gen/auth/v1/token_pb.ts";
import { disableClient } from "../../../src/oauth/clients/clients.ts";
import { distrustKey } from "../../../src/oauth/keys/rotation.ts";
import { endSessions, setUserDisabled } from "../../../src/users/users.ts";
import { startApp, startReplicas, type TestApp } from "../../support/app.ts";
import { secretsIn } from "../../support/find-secrets.ts";
import {
  type Account,
  claimsOf,
  getTokens,
  internalBasic,
  introspect,
  introspectSettled,
  patiently,
  postForm,
  postJson,
  refresh,
  signUp,
  type Tokens,
} from "../../support/flow.ts";
import { makeKey } from "../../support/keys.ts";
import { execute, type MariaDb, startMariaDb } from "../../support/mariadb.ts";
import { everySecret, secretClients } from "../../support/secrets.ts";

const rotating = { clientId: "rotating", redirectUri: "https://rotating.example/cb", scope: "openid" };
const leaving = { clientId: "leaving", redirectUri: "https://leaving.example/cb", scope: "openid" };
const operator = { headers: { authorization: internalBasic } };
const key = await makeKey();
const clients = [
  ...secretClients(key),
  { client_id: "leaving", redirect_uris: [leaving.redirectUri], scope: "openid", first_party: true },
];

/** A private server: it is made read-only, and writes down every statement. */
describe("two replicas on one database", () => {
  let server: MariaDb;
  let database: string;
  let env: Record<string, string>;
  let apps: TestApp[] = [];
  beforeAll(async () => {
    delete process.env["TEST_DATABASE_URL"];
    server = await startMariaDb();
    database = await server.createDatabase();
    const own = new URL(database);
    // the tests' account may write though the server is read-only; a service's may not
    const name = own.pathname.slice(1);
    const user = `CREATE USER 'service'@'%' IDENTIFIED BY '${own.password}'`;
    await execute(database, user, `GRANT ALL ON ${name}.* TO 'service'@'%'`);
    own.username = "service";
    env = { DATABASE_URL: own.href };
    apps = await startReplicas(2, env, clients);
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    await server?.stop();
  });

  const a = () => apps[0] as TestApp;
  const b = () => apps[1] as TestApp;
  const bases = () => apps.map(({ url }) => url);
  const transportTo = (app: TestApp) =>
    createGrpcTransport({ baseUrl: `http://${app.grpc}`, idleConnectionTimeoutMs: 100 });
  const renew = (app: TestApp, token: string) => patiently(() => refresh(app.url, token, { client_id: "rotating" }));
  const outcome = async (answering: Promise<Response>) => {
    const response = await answering;
    return [response.status, ((await response.json()) as { error?: string }).error];
  };
  /** Rotated, and presented again after its window: the family is revoked. */
  async function reuse({ refresh_token }: Tokens): Promise<string> {
    const rotated = (await (await renew(a(), refresh_token)).json()) as Tokens;
    for (const app of apps) app.clock.shift = 11_000;
    expect(await outcome(renew(a(), refresh_token))).toEqual([401, "invalid_grant"]);
    for (const app of apps) app.clock.shift = 0;
    return rotated.refresh_token;
  }

  it("S-058 brings no parameter's structure into a statement: the server's log never names the column that was asked for", async () => {
    await execute(database, "SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = ON");
    const inside = ["[injected_column]", "[$injected_column]", "[injected_column][]", ".injected_column"];
    const forms: [string, string][] = [
      ["/oauth2/token", "grant_type=authorization_code&client_id=rotating&code_verifier=x&code"],
      ["/oauth2/token", "grant_type=refresh_token&client_id=rotating&refresh_token"],
      ["/oauth2/token", "grant_type=refresh_token&refresh_token=x&client_id"],
      ["/oauth2/revoke", "client_id=rotating&token"],
      ["/oauth2/introspect", "client_id=posting&client_secret=x&token"],
      ["/oauth2/par", "response_type=code&client_id=rotating&state"],
      ["/login", "password=x&email"],
    ];
    for (const [path, form] of forms) {
      for (const name of inside) {
        const headers = { "content-type": "application/x-www-form-urlencoded" };
        const init = { method: "POST", headers, body: `${form}${name}=x` };
        const response = await patiently(() => fetch(a().url + path, init));
        expect([path, name, response.status >= 400 && response.status < 500]).toEqual([path, name, true]);
      }
    }
    const values: unknown[] = [
      { injected_column: 1 },
      { $ne: "injected_column" },
      ["injected_column"],
      { toString: "injected_column" },
    ];
    for (const value of values) {
      const exchange = { grant_type: "authorization_code", client_id: "rotating", code_verifier: "x".repeat(43) };
      expect(await outcome(postJson(`${a().url}/oauth2/token`, { ...exchange, code: value }))).toEqual([
        400,
        "invalid_request",
      ]);
      for (const path of ["signup", "password-reset", "password-reset/confirm"]) {
        const body = { email: value, token: value, password: value, nickname: value, newPassword: value };
        expect((await postJson(`${a().url}/api/users/${path}`, body)).status).toBe(400);
      }
    }
    // looked up, and refused: that the log is written
    const lookedUp = {
      grant_type: "authorization_code",
      client_id: "rotating",
      code: "x",
      code_verifier: "x".repeat(43),
    };
    const looking = () => postForm(`${a().url}/oauth2/token`, lookedUp);
    expect(await outcome(patiently(looking))).toEqual([400, "invalid_grant"]);
    const logged = (text: string) =>
      `SELECT COUNT(*) AS n FROM mysql.general_log WHERE command_type <> 'Connect' AND argument LIKE '%${text}%' AND argument NOT LIKE '%general_log%'`;
    const counts = await execute(
      database,
      logged("oauth2_authorization_code"),
      logged("injected"),
      "SET GLOBAL general_log = OFF",
    );
    const [codes, injected] = counts.map((rows) => Number((rows as { n: number }[])[0]?.n));
    expect(codes).toBeGreaterThan(0);
    expect(injected).toBe(0);
  });

  describe("S-133 the other replica tells within a second, over HTTP and gRPC, that a token is not active after", () => {
    type Held = { user: Account & { uuid: string }; tokens: Tokens };
    const acts: [string, typeof rotating, (held: Held) => Promise<unknown>][] = [
      ["reuse of a refresh token", rotating, ({ tokens }) => reuse(tokens)],
      [
        "revocation of a refresh token",
        rotating,
        ({ tokens }) => postForm(`${a().url}/oauth2/revoke`, { token: tokens.refresh_token, client_id: "rotating" }),
      ],
      ["its user was disabled", rotating, ({ user }) => setUserDisabled(a().context, user.uuid, true)],
      ["its user was logged out everywhere", rotating, ({ user }) => endSessions(a().context, user.uuid)],
      ["its client was disabled", leaving, () => disableClient(a().context, "leaving")],
      ["its key was distrusted", rotating, ({ tokens }) => distrustKey(a().context, kidOf(tokens.access_token))],
    ];
    const kidOf = (token: string) =>
      (JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()) as { kid: string }).kid;

    it.each(acts)("%s", async (_, client, act) => {
      const user = await signUp(a().url);
      const tokens = await getTokens(bases(), user, client);
      const { introspect: overGrpc } = createClient(IntrospectionService, transportTo(b()));
      expect(await introspect(b().url, tokens.access_token)).toMatchObject({ active: true });
      expect(await overGrpc({ token: tokens.access_token }, operator)).toMatchObject({ active: true });
      await act({ user, tokens });
      expect(await introspectSettled(b().url, tokens.access_token)).toEqual({ active: false });
      expect(await overGrpc({ token: tokens.access_token }, operator)).toMatchObject({ active: false });
      expect(Number(claimsOf(tokens.access_token)["exp"])).toBeGreaterThan(Date.now() / 1000);
    });
  });

  it("S-136 answers a revocation that the database refuses to write with 503 and when to try again, never with 200", async () => {
    const tokens = await getTokens(bases(), await signUp(a().url), rotating);
    const revoke = (token: string) => postForm(`${a().url}/oauth2/revoke`, { token, client_id: "rotating" });
    const refusals = [
      ["SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"],
      [
        "CREATE TRIGGER frozen BEFORE INSERT ON revocation FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'frozen'",
        "DROP TRIGGER frozen",
      ],
    ];
    for (const [refuse = "", allow = ""] of refusals) {
      await execute(database, refuse);
      try {
        for (const token of [tokens.access_token, tokens.refresh_token]) {
          const response = await revoke(token);
          expect([refuse, response.status, await response.json()]).toMatchObject([
            refuse,
            503,
            { error: "temporarily_unavailable" },
          ]);
          expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
          const overGrpc = createClient(TokenService, transportTo(a())).revokeToken(
            { token, clientId: "rotating" },
            operator,
          );
          await expect(overGrpc).rejects.toMatchObject({ code: Code.Unavailable });
        }
      } finally {
        await execute(database, allow);
      }
      for (const app of apps) expect(await introspect(app.url, tokens.access_token)).toMatchObject({ active: true });
    }
    expect((await revoke(tokens.refresh_token)).status).toBe(200);
    for (const { url } of apps) expect(await introspectSettled(url, tokens.access_token)).toEqual({ active: false });
  });

  it("S-086 S-098 holds no secret in any column, after a thousand logins over both replicas", async () => {
    const secrets = await everySecret(apps, key, 1_000);
    const columns = `SELECT table_name AS t, column_name AS c FROM information_schema.columns
      WHERE table_schema = DATABASE() AND data_type NOT IN ('int', 'bigint')`;
    const [rows] = await execute(database, columns);
    const selects = (rows as { t: string; c: string }[]).map(({ t, c }) => `SELECT \`${c}\` AS v FROM \`${t}\``);
    expect(selects.length).toBeGreaterThan(50);
    const dump = (await execute(database, ...selects)).flatMap((each) => each as { v: string | null }[]);
    const text = dump.map(({ v }) => v ?? "").join("\n");
    expect(secretsIn(Buffer.from(text), secrets)).toEqual([]);
    const token = [...secrets].find(([name]) => name.startsWith("refresh_token "))?.[1] ?? "";
    expect(text).toContain(String(claimsOf(token)["sid"]));
    // a thousand password hashes, one after the other
  }, 1_200_000);

  it("S-085 S-079 knows after a restart of both replicas what was reused, and no refresh token whose row is gone", async () => {
    const user = await signUp(a().url);
    const [reused, deleted, kept] = [
      await getTokens(bases(), user, rotating),
      await getTokens(bases(), user, rotating),
      await getTokens(bases(), user, rotating),
    ];
    const successor = await reuse(reused);
    await execute(database, `DELETE FROM oauth2_authorization WHERE id = '${claimsOf(deleted.refresh_token)["sid"]}'`);
    for (const app of apps) expect(await outcome(renew(app, deleted.refresh_token))).toEqual([401, "invalid_grant"]);
    const ISSUER = a().env["ISSUER"] ?? "";
    for (const app of apps.splice(0)) await app.close();
    for (let n = 0; n < 2; n++) apps.push(await startApp({ ...env, ISSUER }, clients));
    for (const app of apps) {
      for (const token of [reused.refresh_token, successor, deleted.refresh_token]) {
        expect(await outcome(renew(app, token))).toEqual([401, "invalid_grant"]);
      }
      expect(await introspect(app.url, reused.access_token)).toEqual({ active: false });
    }
    expect((await renew(b(), kept.refresh_token)).status).toBe(200);
  });
});
