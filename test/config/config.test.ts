import { mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { describe, expect, it } from "@jest/globals";
import { configurationPage } from "../../scripts/configuration.ts";
import { ConfigError, readConfig } from "../../src/config/config.ts";
import { VARIABLES, type VariableName } from "../../src/config/variables.ts";
import { openKafka, trackSockets } from "../../src/kafka/kafka-client.ts";

const root = new URL("../../", import.meta.url);
const words = (text: string) => text.replaceAll(/[\s|-]+/g, " ");
const production = {
  NODE_ENV: "production",
  ISSUER: "https://auth.example.com",
  DATABASE_URL: "mysql://auth:secret@db.example:3306/auth",
  KEY_ENCRYPTION_KEY: Buffer.alloc(32, 3).toString("base64"),
};

/** @returns the names of the variables that have a problem; empty: none */
function wrongOf(env: Record<string, string>): string[] {
  try {
    readConfig(env);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const problem of error.problems) expect(problem).toMatch(/^[A-Z_]+: .+\. Example: [A-Z_]+=./);
    return error.problems.map((problem) => problem.slice(0, problem.indexOf(":")));
  }
}

/** @returns what is said of this environment, one problem a line */
function saidOf(env: Record<string, string>): string {
  try {
    readConfig(env);
    return "";
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.join("\n");
  }
}

describe("configuration", () => {
  it("proposes what helps", () => {
    const onePort = saidOf({ HTTP_PORT: "9092", GRPC_PORT: "9092", INTERNAL_HTTP_PORT: "9092" });
    expect([...onePort.matchAll(/_PORT=(\d+)/g)].map(([, port]) => port)).toEqual(["9102", "9112"]);
    expect(saidOf({ TRUST_PROXY: "0.0.0.0/0" })).toContain('"0.0.0.0/0" is every address');
    const address = { ...production, ISSUER: "https://192.0.2.1", PASSKEY_RP_ID: "example.com" };
    expect(saidOf(address)).toContain("leave it out, or give ISSUER a host name");
  });

  it("is documented as it is declared: npm run docs:configuration", () => {
    const page = readFileSync(new URL("docs/configuration.md", root), "utf8");
    expect(words(page)).toBe(words(configurationPage()));
    expect(Object.keys(VARIABLES).every((name) => page.includes(`\`${name}\``))).toBe(true);
  });

  it("refuses what cannot work together, or would start and fail later", () => {
    expect(wrongOf({ HTTP_PORT: "8095", GRPC_PORT: "8095" })).toEqual(["GRPC_PORT"]);
    expect(wrongOf({ TRUST_PROXY: "0.0.0.0/0" })).toEqual(["TRUST_PROXY"]);
    expect(wrongOf({ EVENTS_FILE: tmpdir() })).toEqual(["EVENTS_FILE"]);
    const folder = mkdtempSync(join(tmpdir(), "auth-config-"));
    const file = join(folder, "file");
    writeFileSync(file, "[]");
    expect(wrongOf({ EVENTS_FILE: file, DATABASE_URL: `sqlite:${folder}/./file` })).toEqual(["EVENTS_FILE"]);
    expect(wrongOf({ EVENTS_FILE: `${folder}/../${basename(folder)}/file`, CLIENTS_FILE: file })).toEqual([
      "EVENTS_FILE",
    ]);
    expect(wrongOf({ ...production, EVENTS_FILE: `${file}s`, CLIENTS_FILE: file })).toEqual([]);
    // else the events that Kafka was meant to get go to a file, and nothing says so
    expect(wrongOf({ ...production, KAFKA_SSL: "1" })).toEqual(["KAFKA_BROKERS"]);
    const sasl = { KAFKA_SASL_MECHANISM: "plain", KAFKA_SASL_USERNAME: "auth", KAFKA_SASL_PASSWORD: "secret" };
    expect(wrongOf({ ...production, ...sasl })).toEqual(["KAFKA_BROKERS"]);
    expect(wrongOf({ ...production, ...sasl, KAFKA_BROKERS: "kafka:9092" })).toEqual([]);
    expect(wrongOf({ ...production, KAFKA_TOPIC_REPLICATION: "0" })).toEqual(["KAFKA_TOPIC_REPLICATION"]);
    const twice = "mysql://auth:secret@db1,DB1:3306/auth";
    expect(wrongOf({ ...production, DATABASE_URL: twice })).toEqual(["DATABASE_URL"]);
    const origins = { PASSKEY_ORIGINS: "https://app.example.com" };
    expect(wrongOf({ ...production, ISSUER: "https://192.0.2.1", ...origins })).toEqual(["PASSKEY_ORIGINS"]);
    for (const path of ["/a/../b", "/a b", "/é"]) {
      expect([path, wrongOf({ ISSUER: `http://localhost:8095${path}` })]).toEqual([path, ["ISSUER"]]);
    }
    // a development service without a key makes one
    const { KEY_ENCRYPTION_KEY } = production;
    expect(wrongOf({ KEY_ENCRYPTION_KEY, ISSUER: "http://localhost:8095/tenant" })).toEqual([]);
  });

  it("reads every variable that it declares, and .env.example names no other", () => {
    const readers = readdirSync(new URL("src/config", root)).filter((file) => file !== "variables.ts");
    const text = readers.map((file) => readFileSync(new URL(`src/config/${file}`, root), "utf8")).join("\n");
    const unread = Object.keys(VARIABLES).filter((name) => !text.includes(`"${name}"`) && !/_(HOST|PORT)$/.test(name));
    expect(unread).toEqual([]);
    const example = readFileSync(new URL(".env.example", root), "utf8");
    const names = [...example.matchAll(/^#? ?([A-Z][A-Z_]+)=/gm)].map(([, name]) => name as VariableName);
    expect(names.filter((name) => !/^MYSQL_/.test(name) && VARIABLES[name] === undefined)).toEqual([]);
  });

  it("says of every wrong entry of SCOPES_FILE where it is and what is wrong", () => {
    const file = join(mkdtempSync(join(tmpdir(), "scopes-")), "scopes.json");
    const problemsOf = (json: unknown): string[] => {
      writeFileSync(file, typeof json === "string" ? json : JSON.stringify(json));
      try {
        readConfig({ ...production, SCOPES_FILE: file });
        return [];
      } catch (error) {
        return error instanceof ConfigError ? [...error.problems] : [String(error)];
      }
    };
    const good = { scope: "read.it", description: { en: "read it" } };
    expect(problemsOf([good])).toEqual([]);
    expect(problemsOf("{")).toEqual([expect.stringContaining("SCOPES_FILE: is no JSON")]);
    expect(problemsOf([good, good])).toEqual([expect.stringContaining("the scope read.it more than once")]);
    expect(problemsOf(`\ufeff${JSON.stringify([good])}`)).toEqual([]);
    expect(problemsOf('[{"scope":"a","scope":"b"}]')).toEqual([expect.stringContaining('"scope" twice')]);
    expect(problemsOf({ scopes: [good] })).toEqual([expect.stringContaining("the file: must be a list of scopes")]);
    expect(
      problemsOf([
        { ...good, scope: "openid" },
        { scope: "a b", description: { de: "lesen" } },
        { ...good, who: "all", claims: ["shoe_size"], resource: "orders", colour: "red" },
        { scope: "auth.x", description: { en: "x", kr: "x" } },
      ]).map((problem) => problem.slice("SCOPES_FILE: ".length).split(". Example")[0]),
    ).toEqual([
      "[0].scope: is a scope that this service defines itself",
      expect.stringContaining("[1].scope: must be 1 to 100 characters"),
      "[1].description: needs a text in English (en)",
      expect.stringContaining("[2].claims[0]: must be one of name, "),
      "[2].resource: must be an absolute URI without fragment (RFC 8707)",
      "[2].who: must be anyone, registered, first_party, or a list of 1 to 100 client ids",
      "[2]: has no member 'colour'",
      "[3].scope: is a scope that this service defines itself",
      expect.stringContaining("[3].description: must be an object of texts by language of the pages (en, ko,"),
    ]);
  });

  it("moves the development issuer with HTTP_PORT, and leaves one that is named where it is", () => {
    const KEY_ENCRYPTION_KEY = production.KEY_ENCRYPTION_KEY;
    const issuerOf = (env: Record<string, string>) => readConfig({ KEY_ENCRYPTION_KEY, ...env }).config.issuer;
    expect(issuerOf({})).toBe("http://localhost:8081");
    expect(issuerOf({ HTTP_PORT: "9000" })).toBe("http://localhost:9000");
    expect(issuerOf({ HTTP_PORT: "80" })).toBe("http://localhost");
    expect(issuerOf({ HTTP_PORT: "9000", ISSUER: "http://localhost:8081" })).toBe("http://localhost:8081");
    expect(readConfig({ KEY_ENCRYPTION_KEY }).config.mailFrom).toBe("no-reply@localhost");
  });

  it("makes the development key beside the database, privately and once", () => {
    const directory = mkdtempSync(join(tmpdir(), "beside-"));
    const DATABASE_URL = `sqlite:${join(directory, "own", "auth.sqlite")}`;
    const key = () => readConfig({ DATABASE_URL }).secrets.keyEncryptionKeys[0];
    const first = key();
    expect(key()).toEqual(first);
    const file = join(directory, "own", "key-encryption-key");
    expect(Buffer.from(readFileSync(file, "utf8"), "base64")).toEqual(first);
    expect([statSync(file).mode & 0o777, statSync(dirname(file)).mode & 0o777]).toEqual([0o600, 0o700]);
  });

  it("refuses an SMTP server, a sender and a service of breached passwords that are none", () => {
    for (const SMTP_URL of ["mail.example.com", "http://mail.example.com", "smtp://"]) {
      expect(wrongOf({ ...production, SMTP_URL })).toEqual(["SMTP_URL"]);
    }
    expect(wrongOf({ ...production, MAIL_FROM: "nobody" })).toEqual(["MAIL_FROM"]);
    expect(wrongOf({ ...production, PASSWORD_BREACH_URL: "ftp://x" })).toEqual(["PASSWORD_BREACH_URL"]);
    const good = { SMTP_URL: "smtps://user:p%40ss@mail.example.com:465", MAIL_FROM: "Example <a@example.com>" };
    const { config, secrets } = readConfig({ ...production, ...good });
    expect(secrets.smtpUrl).toBe(good.SMTP_URL);
    expect(JSON.stringify(config)).not.toContain("p%40ss");
  });

  it("has passkeys for the issuer's host or a domain above it, and for origins that can have them", () => {
    const issuer = { ...production, ISSUER: "https://auth.example.com" };
    const party = (env: Record<string, string>) => readConfig({ ...issuer, ...env }).config.passkeys;
    expect(party({})).toEqual({ rpId: "auth.example.com", origins: ["https://auth.example.com"] });
    expect(party({ PASSKEY_RP_ID: "example.com" })?.rpId).toBe("example.com");
    const app = "android:apk-key-hash:sYUC8p5I9SxqFernBPHmDxz_YVZXmVJdW8s-m3RTTqI";
    expect(party({ PASSKEY_ORIGINS: `https://auth.example.org, ${app}` })?.origins.slice(1)).toEqual([
      "https://auth.example.org",
      app,
    ]);
    for (const PASSKEY_RP_ID of [
      "example.org",
      "ple.com",
      "com",
      "other.auth.example.com",
      "https://auth.example.com",
    ]) {
      expect(wrongOf({ ...issuer, PASSKEY_RP_ID })).toEqual(["PASSKEY_RP_ID"]);
    }
    for (const PASSKEY_ORIGINS of [
      "auth.example.org",
      "http://auth.example.org",
      "https://a.example/path",
      "javascript:1",
    ]) {
      expect(wrongOf({ ...issuer, PASSKEY_ORIGINS })).toEqual(["PASSKEY_ORIGINS"]);
    }
    const address = { ...production, ISSUER: "https://192.0.2.1" };
    expect(readConfig(address).config.passkeys).toBeNull();
    expect(wrongOf({ ...address, PASSKEY_RP_ID: "example.com" })).toEqual(["PASSKEY_RP_ID"]);
  });

  it("takes a secret from a file, and says where it was not found", () => {
    const directory = mkdtempSync(join(tmpdir(), "secrets-"));
    const file = join(directory, "key");
    writeFileSync(file, `${production.KEY_ENCRYPTION_KEY}\n`);
    const { KEY_ENCRYPTION_KEY: _, ...without } = production;
    expect(readConfig({ ...without, KEY_ENCRYPTION_KEY_FILE: file }).secrets.keyEncryptionKeys[0]).toEqual(
      Buffer.alloc(32, 3),
    );
    expect(wrongOf({ ...production, KEY_ENCRYPTION_KEY_FILE: file })).toEqual(["KEY_ENCRYPTION_KEY"]);
    expect(wrongOf({ ...without, KEY_ENCRYPTION_KEY_FILE: join(directory, "gone") })).toContain(
      "KEY_ENCRYPTION_KEY_FILE",
    );
    expect(readdirSync(directory)).toEqual(["key"]);
  });

  it("C-82 lists every setting that production refuses in one error", () => {
    expect(wrongOf(production)).toEqual([]);
    const exampleKey = /^KEY_ENCRYPTION_KEY=(.+)$/m.exec(readFileSync(new URL(".env.example", root), "utf8"))?.[1];
    const { ISSUER: _, ...withoutIssuer } = production;
    const wrong = {
      ...withoutIssuer,
      KEY_ENCRYPTION_KEY: exampleKey ?? "",
      TRUST_PROXY: "999.1.1.1",
      KAFKA_SASL_USERNAME: "auth",
      KAFKA_SASL_PASSWORD: "secret",
      PASSWORD_RESET_URL: "javascript:alert(1)",
    };
    expect(wrongOf(wrong).sort()).toEqual([
      "ISSUER",
      "KAFKA_SASL_MECHANISM",
      "KEY_ENCRYPTION_KEY",
      "PASSWORD_RESET_URL",
      "TRUST_PROXY",
    ]);
    for (const issuer of ["HTTPS://auth.example.com", "https://Auth.example.com", "https://auth.example.com:443"]) {
      expect([issuer, wrongOf({ ...production, ISSUER: issuer })]).toEqual([issuer, ["ISSUER"]]);
    }
    for (const network of ["10.0.0.0/33", "10.0.0.0/8/8", "::1/129", "1.2.3", "example.com"]) {
      expect([network, wrongOf({ ...production, TRUST_PROXY: network })]).toEqual([network, ["TRUST_PROXY"]]);
    }
    expect(wrongOf({ ...production, TRUST_PROXY: "10.0.0.0/8, ::1/128, fe80::1, loopback" })).toEqual([]);
  });

  it("takes several database hosts, each once", () => {
    const withHosts = (hosts: string) => wrongOf({ ...production, DATABASE_URL: `mysql://auth:secret@${hosts}/auth` });
    expect(withHosts("db1:3306,db2:3307,[::1]")).toEqual([]);
    for (const hosts of ["db1,db1:3306", "db1,", "db1,db2:x"]) {
      expect([hosts, withHosts(hosts)]).toEqual([hosts, ["DATABASE_URL"]]);
    }
  });

  it("C-80 honours ssl-mode or refuses it, and refuses every other parameter of the database's URL", () => {
    const withQuery = (query: string) =>
      wrongOf({ ...production, DATABASE_URL: `${production.DATABASE_URL}?${query}` });
    for (const mode of ["REQUIRED", "required", "VERIFY_CA", "VERIFY_IDENTITY", "DISABLED"]) {
      expect([mode, withQuery(`ssl-mode=${mode}`)]).toEqual([mode, []]);
    }
    for (const query of ["ssl-mode=PREFERRED", "ssl-mode=", "ssl-mode=on", "sslmode=REQUIRED", "charset=latin1"]) {
      expect([query, withQuery(query)]).toEqual([query, ["DATABASE_URL"]]);
    }
    expect(wrongOf({ DATABASE_URL: "sqlite:./data/auth.sqlite?mode=ro" })).toEqual(["DATABASE_URL"]);
  });

  it("C-80 refuses what the library of mails would take from SMTP_URL, as to go without TLS, or ignore", () => {
    const withUrl = (url: string) => wrongOf({ ...production, SMTP_URL: url });
    const right = ["smtp://mail.example", "smtps://u:p%3F@mail.example:465", "smtp://[::1]:25/", "SMTP://mail.example"];
    for (const url of right) expect([url, withUrl(url)]).toEqual([url, []]);
    const queries = ["?ignoreTLS=true", "?tls.rejectUnauthorized=false", "?tls=required", "/?x", "#x", "/path", ":0"];
    const wrong = [...queries.map((query) => `smtp://mail.example${query}`), "smtp://u:p%zz@mail.example"];
    for (const url of wrong) expect([url, withUrl(url)]).toEqual([url, ["SMTP_URL"]]);
  });

  it("C-81 takes a host in brackets, and refuses ports that there are not and hosts that are none", () => {
    expect(readConfig({ ...production, HTTP_HOST: "[::1]" }).config.http.host).toBe("::1");
    for (const host of ["localhost:80", "/run/auth.sock", "not a host", "http://localhost"]) {
      expect([host, wrongOf({ ...production, HTTP_HOST: host })]).toEqual([host, ["HTTP_HOST"]]);
    }
    for (const port of ["0", "65536", "99999"]) {
      expect([port, wrongOf({ ...production, KAFKA_BROKERS: `kafka:${port}` })]).toEqual([port, ["KAFKA_BROKERS"]]);
    }
  });

  it("C-82 takes no misspelt production for development, and no empty file for a secret", () => {
    for (const name of ["PRODUCTION", "Production", " production "]) {
      expect([name, wrongOf({ NODE_ENV: name })]).toEqual([name, expect.arrayContaining(["ISSUER", "DATABASE_URL"])]);
    }
    expect(wrongOf({ NODE_ENV: "prod" })).toEqual(["NODE_ENV"]);
    const file = join(mkdtempSync(join(tmpdir(), "empty-")), "password");
    writeFileSync(file, "\n");
    const sasl = { KAFKA_BROKERS: "kafka:9092", KAFKA_SASL_MECHANISM: "plain", KAFKA_SASL_USERNAME: "auth" };
    const empty = wrongOf({ ...production, ...sasl, KAFKA_SASL_PASSWORD_FILE: file });
    expect(empty).toContain("KAFKA_SASL_PASSWORD_FILE");
  });

  it("C-60 takes an origin of another scheme as a plain string", () => {
    const corsOf = (origins: string) => readConfig({ ...production, CORS_ORIGINS: origins }).config.corsOrigins;
    expect(corsOf("capacitor://localhost,https://portal.example.com")).toEqual([
      "capacitor://localhost",
      "https://portal.example.com",
    ]);
    for (const wrong of [
      "https://portal.example.com/",
      "portal.example.com",
      "capacitor://localhost/x",
      "null",
      "https://*.example.com",
    ]) {
      expect([wrong, wrongOf({ ...production, CORS_ORIGINS: wrong })]).toEqual([wrong, ["CORS_ORIGINS"]]);
    }
  });

  it("says of the clients file which client, which member, what it is and what it must be, all at once", () => {
    const file = join(mkdtempSync(join(tmpdir(), "problems-")), "clients.json");
    const redirect_uris = ["https://app.example/cb"];
    const clients = [
      { client_id: "web", client_name: 7, redirect_uri: "https://app.example/cb" },
      {
        client_id: "app",
        redirect_uris: "https://app.example/cb",
        first_party: "yes",
        token_endpoint_auth_method: "basic",
      },
      { client_id: "old", redirect_uris, refresh_token_reuse_window: 61, client_name: "x".repeat(201), contacts: [] },
      { client_id: "api", redirect_uris, refresh_rejected_status: 403, default_resource: 1, jwks: { keys: [] } },
      { redirect_uris, client_secret: 12345 },
      "none",
    ];
    writeFileSync(file, JSON.stringify(clients));
    const problems: string[] = [];
    try {
      readConfig({ ...production, CLIENTS_FILE: file });
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(
        ...error.problems.map((problem) => problem.replace(/^CLIENTS_FILE: /, "").split(". Example")[0] ?? ""),
      );
    }
    expect(problems).toEqual([
      "client web: client_name: is a number; must be a text",
      "client web: registration: has no member 'redirect_uri': did you mean redirect_uris?",
      "client app: redirect_uris: is a text; must be a list",
      "client app: token_endpoint_auth_method: is 'basic'; must be one of none, client_secret_basic, client_secret_post, private_key_jwt",
      "client app: first_party: is a text; must be true or false",
      "client old: client_name: has 201 characters; must have at most 200",
      "client old: refresh_token_reuse_window: is 61; must be at most 60",
      "client api: jwks.keys: has 0 entries; must have at least 1",
      "client api: refresh_rejected_status: is 403; must be one of 400, 401",
      "client api: default_resource: is a number; must be a text, or must be a list",
      "client 5: client_id: is missing; must be a text",
      "client 5: client_secret: is a number; must be a text",
      "client 6: registration: is a text; must be an object",
    ]);
  });
  it("RFC 8252 8.4 takes schemes of applications in PRIVATE_URI_SCHEMES, also for the clients file, and no other text", () => {
    const read = readConfig({ ...production, PRIVATE_URI_SCHEMES: "cursor, Windsurf" }).config.privateUriSchemes;
    expect(read).toEqual(["cursor", "windsurf"]);
    for (const wrong of ["https", "JavaScript", "data", "blob", "ws", "cursor://", "com.example", "1a", "a b"]) {
      expect([wrong, wrongOf({ ...production, PRIVATE_URI_SCHEMES: wrong })]).toEqual([wrong, ["PRIVATE_URI_SCHEMES"]]);
    }
    const client = [{ client_id: "editor", redirect_uris: ["cursor://anysphere.cursor-mcp/oauth/callback"] }];
    const file = join(mkdtempSync(join(tmpdir(), "schemes-")), "clients.json");
    writeFileSync(file, JSON.stringify(client));
    const ofFile = { ...production, CLIENTS_FILE: file };
    expect(wrongOf(ofFile)).toEqual(["CLIENTS_FILE"]);
    expect(wrongOf({ ...ofFile, PRIVATE_URI_SCHEMES: "cursor" })).toEqual([]);
  });
  it("C-81 connects to a broker that is named by its IPv6 address", async () => {
    const came = Promise.withResolvers<string | undefined>();
    const server = net.createServer((socket) => {
      came.resolve(socket.localAddress);
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(0, "::1", resolve));
    const { port } = server.address() as net.AddressInfo;
    const brokers = `[::1]:${port}`;
    expect(readConfig({ ...production, KAFKA_BROKERS: brokers }).config.kafka?.brokers).toEqual([brokers]);
    const { socketFactory, cut } = trackSockets(false);
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const { kafka } = await openKafka({ brokers: [brokers], log } as never, socketFactory);
    const admin = kafka.admin({ retry: { retries: 0 } });
    await admin.connect().catch(() => {});
    expect(await came.promise).toBe("::1");
    cut();
    await new Promise((resolve) => server.close(resolve));
  });
});
