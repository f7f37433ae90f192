import { createHash, generateKeyPairSync, type KeyObject, randomBytes, randomUUID, sign, verify } from "node:crypto";
import { fastify } from "fastify";
import { type BareDatabase, insert, openBareDatabase, type Row, type Statements } from "./bare-database.ts";

/**
 * The baseline of issuing: bare Fastify routes that ask the database the same statements and sign as many tokens, with the same algorithms,
 * and do nothing else: no client, no limits, no checks beyond what the answer needs. Run as `bare-issuer.ts PORT [DATABASE_URL]`.
 */
const [, , port = "0", url] = process.argv;
const database: BareDatabase | null = url === undefined ? null : openBareDatabase(url);
const access = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const renewing = generateKeyPairSync("ed25519");
const encoded = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
const accessHeader = encoded({ alg: "ES256", typ: "at+jwt", kid: "a" });
const refreshHeader = encoded({ alg: "EdDSA", typ: "rt+jwt", kid: "r" });

function signed(header: string, key: KeyObject, claims: object): string {
  const text = `${header}.${encoded(claims)}`;
  const signature =
    key === access
      ? sign("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" })
      : sign(null, Buffer.from(text), key);
  return `${text}.${signature.toString("base64url")}`;
}

function claimsOf(token: string): { sid: string; gen: number } {
  const end = token.lastIndexOf(".");
  const signature = Buffer.from(token.slice(end + 1), "base64url");
  if (!verify(null, Buffer.from(token.slice(0, end)), renewing.publicKey, signature)) throw new Error("bad signature");
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as { sid: string; gen: number };
}

const seconds = () => Math.floor(Date.now() / 1000);

function answer(sub: string, sid: string, gen: number) {
  const common = { iss: "http://localhost", sub, aud: "bench", iat: seconds(), exp: seconds() + 120, sid };
  const more = { jti: randomUUID(), client_id: "bench", scope: "openid profile", epoch: 0 };
  const token = signed(accessHeader, access, { ...common, ...more, roles: ["ROLE_USER"], nickname: "nick" });
  const at_hash = createHash("sha256").update(token).digest().subarray(0, 16).toString("base64url");
  return {
    access_token: token,
    refresh_token: signed(refreshHeader, renewing.privateKey, { ...common, gen, token_type: "refresh" }),
    id_token: signed(accessHeader, access, { ...common, at_hash, auth_time: seconds(), amr: ["pwd"] }),
    expires_in: 120,
    token_type: "Bearer",
    scope: "openid profile",
  };
}

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");

async function refresh(sql: BareDatabase, token: string) {
  const { sid, gen } = claimsOf(token);
  const row = await sql.row(
    `SELECT a.*, u.email, u.roles, u.epoch, u.disabled_at, p.nickname FROM oauth2_authorization a
     JOIN users u ON u.uuid = a.subject JOIN user_profiles p ON p.user_id = u.uuid WHERE a.id = ?`,
    [sid],
  );
  if (row === undefined || row["generation"] !== gen) throw new Error("refused");
  const response = answer(String(row["subject"]), sid, gen + 1);
  await sql.change(
    `UPDATE oauth2_authorization SET generation = generation + 1, rotations = ${sql.endOf("rotations")}, refresh_jti = ?,
     refresh_iat = ?, refresh_exp = ?, refresh_kid = ? WHERE id = ? AND generation = ? AND refresh_jti IS NOT NULL AND revoked_at IS NULL
     AND expires_at > ?`,
    [`;${gen}:${Date.now()}`, randomUUID(), seconds(), seconds() + 2_592_000, "r", sid, gen, Date.now()],
  );
  return response;
}

async function redeem(sql: BareDatabase, code: string, verifier: string) {
  const row = await sql.row(
    `SELECT c.*, u.email, u.roles, u.epoch, u.disabled_at, p.nickname FROM oauth2_authorization_code c
     JOIN users u ON u.uuid = c.user_id JOIN user_profiles p ON p.user_id = u.uuid WHERE c.code_hash = ?`,
    [hashOf(code)],
  );
  if (row === undefined) throw new Error("refused");
  if (createHash("sha256").update(verifier).digest("base64url") !== row["code_challenge"]) throw new Error("refused");
  const sid = randomUUID();
  const response = answer(String(row["user_id"]), sid, 0);
  await sql.transaction((transaction) => write(transaction, row, sid));
  return response;
}

async function write(sql: Statements, row: Row, sid: string): Promise<void> {
  const now = Date.now();
  const seq = await sql.next("users", "event_seq", "uuid = ?", [row["user_id"]]);
  await sql.change(
    "UPDATE oauth2_authorization_code SET redeemed_at = ?, attempt_id = ?, authorization_id = ? WHERE code_hash = ? AND redeemed_at IS NULL",
    [now, randomUUID(), sid, row["code_hash"]],
  );
  await insert(sql, "oauth2_authorization", {
    ...{ id: sid, grant_type: "authorization_code", client_id: row["client_id"], subject: row["user_id"] },
    ...{ session_hash: row["session_hash"], scope: row["scope"], resource: null, nonce: null, claims: null },
    ...{ dpop_jkt: null, auth_time: row["auth_time"], ip_address: row["ip_address"], user_agent: row["user_agent"] },
    ...{ created_at: now, expires_at: now + 2_592_000_000, last_used_at: null, user_epoch: row["epoch"] ?? 0 },
    ...{ revoked_at: null, refresh_jti: randomUUID(), refresh_iat: seconds(), refresh_exp: seconds() + 2_592_000 },
    ...{ refresh_kid: "r", generation: 0, rotations: "" },
  });
  await insert(sql, "session_application", {
    ...{ sid, session_hash: row["session_hash"], client_id: row["client_id"], subject: row["user_id"] },
    ...{ created_at: now, expires_at: now + 1_209_600_000 },
  });
  // sent already, so that the service's relay leaves it alone
  await insert(sql, "outbox", {
    ...{ event_id: `evt-${randomUUID()}`, event_type: "USER_LOGIN", user_id: row["user_id"], seq, lane: 0 },
    ...{ status: "sent", attempts: 0, reason: null, created_at: now, sent_at: now, payload: "x".repeat(600) },
  });
}

/** A code for a browser that is signed in. */
async function authorize(sql: BareDatabase, cookie: string, query: Row): Promise<string> {
  const now = Date.now();
  const hash = hashOf(cookie);
  const session = await sql.row("SELECT * FROM browser_session WHERE id_hash = ? AND expires_at > ?", [hash, now]);
  if (session === undefined) throw new Error("refused");
  const code = randomBytes(32).toString("base64url");
  await sql.transaction(async (transaction) => {
    await transaction.change(
      `UPDATE browser_session SET last_seen_at = CASE WHEN last_seen_at < ? THEN ? ELSE last_seen_at + 1 END
       WHERE id_hash = ? AND expires_at > ? AND user_id = ?`,
      [now, now, hash, now, session["user_id"]],
    );
    await insert(transaction, "oauth2_authorization_code", {
      ...{ code_hash: hashOf(code), client_id: query["client_id"], user_id: session["user_id"], session_hash: hash },
      ...{ redirect_uri: query["redirect_uri"], scope: query["scope"], code_challenge: query["code_challenge"] },
      ...{ auth_time: session["auth_time"], amr: session["amr"], ip_address: "127.0.0.1", user_agent: "bench" },
      ...{ created_at: now, expires_at: now + 60_000, wrong_verifiers: 0 },
    });
  });
  return code;
}

async function push(sql: BareDatabase, form: Row) {
  const request_uri = `urn:ietf:params:oauth:request_uri:${randomBytes(32).toString("base64url")}`;
  const now = Date.now();
  await insert(sql, "oauth2_pushed_request", {
    ...{ uri_hash: hashOf(request_uri), client_id: form["client_id"], parameters: JSON.stringify(form) },
    ...{ created_at: now, expires_at: now + 90_000 },
  });
  return { request_uri, expires_in: 90 };
}

async function poll(sql: BareDatabase, code: string): Promise<boolean> {
  const hash = hashOf(code);
  const row = await sql.row("SELECT * FROM oauth2_device_code WHERE device_code_hash = ?", [hash]);
  if (row === undefined) return false;
  await sql.change(
    `UPDATE oauth2_device_code SET last_polled_at = ?
     WHERE device_code_hash = ? AND (last_polled_at IS NULL OR last_polled_at + interval_ms <= ?)`,
    [Date.now(), hash, Date.now() + 1_000],
  );
  return true;
}

function demandDatabase(): BareDatabase {
  if (database === null) throw new Error("started without a database");
  return database;
}

const app = fastify();
app.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string" }, (_request, body, done) =>
  done(null, Object.fromEntries(new URLSearchParams(body as string))),
);
app.post("/oauth2/token", async (request, reply) => {
  const form = request.body as Record<string, string>;
  reply.header("cache-control", "no-store");
  if (form["grant_type"] === "client_credentials") {
    const claims = { iss: "http://localhost", sub: "bench", aud: "bench", iat: seconds(), exp: seconds() + 120 };
    const more = { jti: randomUUID(), client_id: "bench", sid: randomUUID(), scope: "auth.introspect" };
    const token = signed(accessHeader, access, { ...claims, ...more });
    return { access_token: token, expires_in: 120, token_type: "Bearer", scope: "auth.introspect" };
  }
  const sql = demandDatabase();
  if (form["grant_type"] === "refresh_token") return refresh(sql, form["refresh_token"] ?? "");
  if (form["device_code"] === undefined) return redeem(sql, form["code"] ?? "", form["code_verifier"] ?? "");
  const error = (await poll(sql, form["device_code"])) ? "authorization_pending" : "invalid_grant";
  return reply.code(400).send({ error, error_description: "the user has not decided yet" });
});
app.get("/oauth2/authorize", async (request, reply) => {
  const query = request.query as Record<string, string>;
  const [, cookie = ""] = /auth_session=([^;]+)/.exec(request.headers.cookie ?? "") ?? [];
  const code = await authorize(demandDatabase(), cookie, query);
  const location = `${query["redirect_uri"]}?code=${code}&state=${query["state"]}&iss=http%3A%2F%2Flocalhost`;
  return reply.header("cache-control", "no-store").redirect(location, 302);
});
app.post("/oauth2/par", async (request, reply) => {
  reply.code(201).header("cache-control", "no-store");
  return push(demandDatabase(), request.body as Row);
});
/** The baseline of documents: a constant body with its ETag. */
const document = JSON.stringify({
  keys: Array.from({ length: 4 }, () => ({ kty: "EC", x: "x".repeat(43), y: "y".repeat(43) })),
});
const etag = `"${createHash("sha256").update(document).digest("base64url")}"`;
app.get("/oauth2/jwks", async (_request, reply) => {
  reply.headers({ etag, "cache-control": "public, max-age=60" }).type("application/json; charset=utf-8");
  return document;
});
/** The first refresh token of an authorization that the service made. */
app.post("/first", async (request) => {
  const { sid = "", gen = "0" } = request.body as Record<string, string>;
  return { refresh_token: signed(refreshHeader, renewing.privateKey, { sid, gen: Number(gen) }) };
});
await app.listen({ host: "127.0.0.1", port: Number(port) });
process.stdout.write("up\n");
