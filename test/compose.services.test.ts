import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { SMTPServer } from "smtp-server";
import { parse } from "yaml";
import { readConfig } from "../src/config/config.ts";
import { VARIABLES } from "../src/config/variables.ts";
import { freePorts } from "./support/app.ts";
import { getTokens, refresh, signUp, uniqueEmail } from "./support/flow.ts";
import { startKafka, type TestKafka } from "./support/kafka.ts";
import { type MariaDb, startMariaDb } from "./support/mariadb.ts";

const root = path.resolve(import.meta.dirname, "..");
const read = (file: string) => readFileSync(path.join(root, file), "utf8");

interface Service {
  image?: string;
  build?: { context: string; dockerfile: string };
  pull_policy?: string;
  command?: string[];
  environment?: Record<string, string | number>;
  volumes?: string[];
  healthcheck?: object;
  depends_on?: string[] | Record<string, object>;
}
const compose = parse(read("docker-compose.yml"), { merge: true }) as { services: Record<string, Service> };
const { services } = compose;
/** As an operator fills it in: the key that it shows is refused. */
const example: Record<string, string> = {
  ...Object.fromEntries(
    [...read(".env.example").matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]),
  ),
  KEY_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
};

/** What compose makes of a value: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`. */
function resolved(value: string | number): string {
  return String(value).replaceAll(
    /\$\{(\w+)(?::[-?]([^}]*))?\}/g,
    (_, name: string, fallback = "") => example[name] ?? fallback,
  );
}
function environmentOf(name: string): Record<string, string> {
  const entries = Object.entries(services[name]?.environment ?? {});
  return Object.fromEntries(entries.map(([key, value]) => [key, resolved(value)]));
}
/** The mounted files stand in the repository. */
const here = (env: Record<string, string>) => ({ ...env, CLIENTS_FILE: path.join(root, "deploy/clients.json") });

describe("docker-compose.yml", () => {
  it("runs MySQL, Kafka, two alike replicas behind a proxy, the consumer and a mail catcher", () => {
    expect(Object.keys(services).sort()).toEqual(
      ["auth-1", "auth-2", "kafka", "mail", "mysql", "notification-service", "proxy"].sort(),
    );
    const { build: _build, ...built } = services["auth-1"] ?? {};
    const { pull_policy: _policy, ...taken } = services["auth-2"] ?? {};
    expect(taken).toEqual(built);
    expect(services["mysql"]?.image).toBe("mysql:8.4");
    for (const [name, { image, build }] of Object.entries(services))
      expect([name, image ?? build]).not.toContain(undefined);
    for (const { depends_on: needs = [] } of Object.values(services)) {
      for (const other of Array.isArray(needs) ? needs : Object.keys(needs)) expect(services).toHaveProperty(other);
    }
  });

  it("names files that exist, and no variable that .env.example does not explain", () => {
    for (const { build, volumes = [] } of Object.values(services)) {
      if (build !== undefined) expect(existsSync(path.join(root, build.dockerfile))).toBe(true);
      for (const volume of volumes.filter((each) => each.startsWith("./"))) {
        expect(existsSync(path.join(root, volume.split(":")[0] ?? ""))).toBe(true);
      }
    }
    const asked = [...read("docker-compose.yml").matchAll(/\$\{(\w+)/g)].map(([, name = ""]) => name);
    expect([...new Set(asked)].sort()).toEqual(Object.keys(example).sort());
  });

  it("gives the replicas an environment that the service takes, without a name it does not know", () => {
    const env = environmentOf("auth-1");
    const { config } = readConfig(here(env));
    expect(config).toMatchObject({ production: true, issuer: "http://localhost:8081", workers: 1 });
    expect(config.kafka?.brokers).toEqual(["kafka:9092"]);
    expect(Object.keys(env).filter((name) => !(name in VARIABLES))).toEqual([]);
    const consumer = read("examples/notification-service/main.ts");
    for (const name of Object.keys(environmentOf("notification-service"))) expect(consumer).toContain(`"${name}"`);
  });

  it("sends traffic only where the proxy found /readyz answered", () => {
    const proxy = read("deploy/haproxy.cfg");
    expect(proxy).toMatch(/httpchk GET \/readyz/);
    for (const [, server, target] of proxy.matchAll(/^ {2}server (\S+) (\S+)/gm)) {
      expect(services).toHaveProperty(server ?? "");
      expect([8081, 9091, 9092]).toContain(Number(target?.split(":")[1]));
    }
  });
});

describe("what docker-compose.yml runs, as processes", () => {
  let database: MariaDb;
  let kafka: TestKafka;
  let catcher: SMTPServer;
  const mails: string[] = [];
  const running: ChildProcess[] = [];
  const bases: string[] = [];
  let log = "";

  function run(program: string, env: Record<string, string>): void {
    const [script = "", ...args] = program.split(" ");
    const child = spawn(process.execPath, [path.join(root, script), ...args], {
      cwd: mkdtempSync(path.join(tmpdir(), "auth-compose-")),
      env: { PATH: process.env["PATH"], ...env },
    });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (log += chunk));
    running.push(child);
  }

  beforeAll(async () => {
    [database, kafka] = await Promise.all([startMariaDb(), startKafka()]);
    const url = await database.createDatabase();
    catcher = new SMTPServer({
      authOptional: true,
      disabledCommands: ["STARTTLS"],
      onData(stream, _session, done) {
        let text = "";
        stream
          .on("data", (chunk) => (text += chunk))
          .on("end", () => {
            mails.push(text);
            done();
          });
      },
    });
    const [smtp = 0, ...ports] = await freePorts(7);
    await new Promise<void>((resolve) => catcher.listen(smtp, "127.0.0.1", resolve));

    // as in the containers, but for what is different here: addresses and ports
    const probes: string[] = [];
    for (const [index, name] of ["auth-1", "auth-2"].entries()) {
      const [http = 0, grpc = 0, internal = 0] = ports.slice(index * 3);
      run("src/main.ts serve", {
        ...here(environmentOf(name)),
        DATABASE_URL: url,
        KAFKA_BROKERS: kafka.brokers,
        HTTP_HOST: "127.0.0.1",
        GRPC_HOST: "127.0.0.1",
        INTERNAL_HTTP_HOST: "127.0.0.1",
        HTTP_PORT: String(http),
        GRPC_PORT: String(grpc),
        INTERNAL_HTTP_PORT: String(internal),
      });
      bases.push(`http://localhost:${http}`);
      probes.push(`http://127.0.0.1:${internal}/readyz`);
    }
    const consumer = services["notification-service"]?.command?.slice(1).join(" ") ?? "";
    const state = path.join(mkdtempSync(path.join(tmpdir(), "auth-mails-")), "state.sqlite");
    const own = { KAFKA_BROKERS: kafka.brokers, SMTP_URL: `smtp://127.0.0.1:${smtp}`, STATE_FILE: state };
    for (const probe of probes) await untilOk(probe);
    run(consumer, { ...environmentOf("notification-service"), ...own });
  });

  afterAll(async () => {
    const ended = running.map((child) => (child.exitCode === null ? once(child, "exit") : null));
    for (const child of running) child.kill("SIGTERM");
    await Promise.all(ended);
    await new Promise<void>((resolve) => catcher.close(() => resolve()));
    await kafka?.stop();
    await database?.stop();
  });

  async function untilOk(probe: string): Promise<void> {
    for (let tries = 0; tries < 900; tries++) {
      const ok = await fetch(probe).then(
        ({ status }) => status === 200,
        () => false,
      );
      if (ok) return;
      await sleep(100);
    }
    throw new Error(`${probe} was never ready:\n${log}`);
  }

  it("a sign-up on one replica and a login over both end in a welcome mail", async () => {
    const email = uniqueEmail();
    const account = await signUp(bases[0] ?? "", { email });
    const redirectUri = "http://localhost:3000/callback";
    const tokens = await getTokens(bases, account, { clientId: "portal", redirectUri });
    const refreshed = await refresh(bases[1] ?? "", tokens.refresh_token, { client_id: "portal" });
    expect(refreshed.status).toBe(200);
    const welcome = () => mails.find((mail) => /Subject: Welcome/.test(mail));
    for (let tries = 0; tries < 900 && welcome() === undefined; tries++) await sleep(100);
    expect(welcome()).toContain(email);
    expect(welcome()).toContain("From: no-reply@example.com");
    expect(mails.filter((mail) => /Subject: Welcome/.test(mail))).toHaveLength(1);
  });
});
