import { randomBytes } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { type App, createApp } from "../../src/app.ts";
import { Clock } from "../../src/clock.ts";
import { type Config, readConfig, type Secrets } from "../../src/config/config.ts";
import type { OAuthContext } from "../../src/oauth/context.ts";
import { createLogger } from "../../src/telemetry/log.ts";
import { freePorts } from "./ports.ts";

export interface TestApp {
  /** The public listener, also the issuer. */
  readonly url: string;
  /** host:port. */
  readonly grpc: string;
  readonly internalUrl: string;
  readonly config: Config;
  readonly secrets: Secrets;
  readonly context: OAuthContext;
  readonly clock: Clock;
  /** Every line logged so far. */
  readonly logs: string[];
  readonly env: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

const keyEncryptionKey = randomBytes(32).toString("base64");

export { freePorts };

/** The environment of a service of its own: free ports, SQLite in a fresh folder, its own events file. */
export async function testEnvironment(
  env: Record<string, string> = {},
  clients?: object[],
): Promise<Record<string, string>> {
  const folder = mkdtempSync(join(tmpdir(), "auth-test-"));
  const [http, grpc, internal] = await freePorts(3);
  if (clients !== undefined) writeFileSync(join(folder, "clients.json"), JSON.stringify(clients));
  return {
    HTTP_PORT: String(http),
    GRPC_PORT: String(grpc),
    INTERNAL_HTTP_PORT: String(internal),
    ISSUER: `http://localhost:${http}`,
    DATABASE_URL: `sqlite:${join(folder, "auth.sqlite")}`,
    EVENTS_FILE: join(folder, "events.ndjson"),
    KEY_ENCRYPTION_KEY: keyEncryptionKey,
    ...(clients === undefined ? {} : { CLIENTS_FILE: join(folder, "clients.json") }),
    ...env,
  };
}

/**
 * A running service in this process. Replicas are services started with the same DATABASE_URL and ISSUER
 * (`startReplicas`).
 */
export async function startApp(env: Record<string, string> = {}, clients?: object[]): Promise<TestApp> {
  return start(await testEnvironment(env, clients));
}

/**
 * `count` replicas on one database; each has its own listeners, all have the first one's issuer.
 * @param own what is different for each
 */
export async function startReplicas(
  count: number,
  env: Record<string, string>,
  clients?: object[],
  own: (replica: number) => Record<string, string> = () => ({}),
): Promise<TestApp[]> {
  const first = await startApp({ ...env, ...own(0) }, clients);
  const replicas = [first];
  for (let number = 1; number < count; number++) {
    const environment = await testEnvironment({ ...env, ...own(number) }, clients);
    replicas.push(await start({ ...environment, ISSUER: first.env["ISSUER"] ?? "" }));
  }
  return replicas;
}

async function start(env: Record<string, string>): Promise<TestApp> {
  const logs: string[] = [];
  const log = createLogger(
    env["LOG_LEVEL"] ?? "debug",
    new Writable({
      write(chunk, _encoding, done) {
        logs.push(String(chunk));
        done();
      },
    }),
  );
  const settings = readConfig(env);
  const { config, secrets } = settings;
  const clock = new Clock();
  // replicas of one test share a SQLite file in this process
  const app: App = await createApp(settings, { clock, log, serves: false });
  return {
    url: `http://localhost:${config.http.port}`,
    grpc: `127.0.0.1:${config.grpc.port}`,
    internalUrl: `http://127.0.0.1:${config.internalHttp.port}`,
    config,
    secrets,
    context: app.context,
    clock,
    logs,
    env,
    close: () => app.close(),
  };
}
