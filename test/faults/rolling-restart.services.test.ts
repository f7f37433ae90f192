import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { expect } from "@jest/globals";
import { IntrospectionService } from "../../gen/auth/v1/introspection_pb.ts";
import { freePorts, testEnvironment } from "../support/app.ts";
import { claimsOf, postForm } from "../support/flow.ts";
import { itWithHaproxy, type ReplicaPorts, type RunningProxy, startHaproxy } from "../support/haproxy.ts";
import { type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { type ServiceProcess, spawnService } from "../support/process.ts";

const long = process.env["LONG"] === "1";
/** Over all protocols. */
const requests = long ? 10_000 : 1_000;
const rounds = long ? 5 : 1;
/** Longer than the proxy's check and the next one together. */
const minReadyMs = 2_500;

const secret = "rolling-restart-secret-of-32-characters";
const clients = [
  {
    client_id: "service",
    client_secret: secret,
    grant_types: ["client_credentials"],
    scope: "auth.introspect auth.tokens.write read",
  },
];
const basic = `Basic ${Buffer.from(`service:${secret}`).toString("base64")}`;

/**
 * The load takes all of the machine: how old the revocations are that a replica knows, and how long a token lives, is not what this
 * is about.
 */
const patience = { ACCESS_TOKEN_TTL: "3600", REVOCATION_MAX_STALENESS: "30000" };

interface Deploy {
  readonly proxy: ReplicaPorts;
  readonly running: RunningProxy;
  /** Restarts both, one after the other; each gets traffic again before the next one ends. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

const portsOf = async (): Promise<ReplicaPorts> => {
  const [http = 0, grpc = 0, internal = 0] = await freePorts(3);
  return { http, grpc, internal };
};

type Haproxy = Parameters<typeof startHaproxy>[0];

async function deploy(
  haproxy: Haproxy,
  env: Record<string, string>,
  options: Parameters<typeof startHaproxy>[3],
): Promise<Deploy> {
  const database: MariaDb = await startMariaDb();
  const proxy = await portsOf();
  const databaseUrl = await database.createDatabase();
  const issuer = `http://localhost:${proxy.http}`;
  const environments = await Promise.all(
    [1, 2].map(() => testEnvironment({ DATABASE_URL: databaseUrl, ISSUER: issuer, ...patience, ...env }, clients)),
  );
  const replicas: ServiceProcess[] = [];
  for (const own of environments) replicas.push(await spawnService(own));
  const [first, second] = environments.map((own) => {
    const port = (name: string) => Number(own[`${name}_PORT`]);
    return { http: port("HTTP"), grpc: port("GRPC"), internal: port("INTERNAL_HTTP") };
  }) as [ReplicaPorts, ReplicaPorts];
  const running = await startHaproxy(haproxy, proxy, [first, second], options);
  return {
    proxy,
    running,
    async restart() {
      for (const [index, own] of environments.entries()) {
        expect(await replicas[index]?.kill("SIGTERM")).toBe(0);
        replicas[index] = await spawnService(own);
        await untilUp(running, index);
      }
    },
    async close() {
      await running.stop();
      for (const replica of replicas) await replica.kill("SIGKILL");
      await database.stop();
    },
  };
}

/** Whether the last thing that the proxy said of one of a replica's servers is that it is down: it has several, one for each listener. */
function isDown({ output }: RunningProxy, index: number): boolean {
  const said = [...output().matchAll(new RegExp(`Server (\\w+)/auth-${index + 1} is (UP|DOWN)`, "g"))];
  return [...new Map(said.map(([, server, state]) => [server, state])).values()].includes("DOWN");
}

/** Waits as an orchestrator does between two replicas (`minReadySeconds`): a check that began before the replica was ready may still fail. */
async function untilUp(running: RunningProxy, index: number): Promise<void> {
  const from = performance.now();
  for (let upSince = from; performance.now() - upSince < minReadyMs; await sleep(50)) {
    if (isDown(running, index)) upSince = performance.now();
    if (performance.now() - from > 60_000) throw new Error(`replica ${index} stays down:\n${running.output()}`);
  }
}

/** Calls one after the other until it is stopped. What failed is kept by name. */
class Load {
  calls = 0;
  readonly failures: string[] = [];
  readonly #workers: Promise<void>[] = [];
  #stopped = false;

  add(name: string, call: () => Promise<string | null>): void {
    this.#workers.push(this.#work(name, call));
  }

  async #work(name: string, call: () => Promise<string | null>): Promise<void> {
    while (!this.#stopped) {
      const failure = await call().catch((error: unknown) => String(error));
      this.calls++;
      if (failure !== null) this.failures.push(`${name}: ${failure}`);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#workers);
  }
}

/** A form on a connection that is kept alive. @returns null: it was answered with 200 */
function keptAlive(agent: Agent, port: number, path: string, form: Record<string, string>): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: basic, "content-type": "application/x-www-form-urlencoded" };
    const sent = request({ agent, port, host: "127.0.0.1", path, method: "POST", headers }, (response) => {
      let body = "";
      response.on("data", (chunk) => (body += chunk));
      response.on("end", () => resolve(response.statusCode === 200 ? null : `${response.statusCode} ${body}`));
      response.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(new URLSearchParams(form).toString());
  });
}

/** A watcher as docs/reference/internal-api.md tells: it goes on after the last response it got. */
async function watch(
  client: Client<typeof IntrospectionService>,
  heard: Set<string>,
  signal: AbortSignal,
  onFollowing: () => void,
) {
  let resumeToken = "";
  let interruptions = 0;
  const unexpected: unknown[] = [];
  while (!signal.aborted) {
    try {
      for await (const response of client.watchRevocations(
        { resumeToken },
        { headers: { authorization: basic }, signal },
      )) {
        resumeToken = response.resumeToken;
        for (const { value } of response.revocations) heard.add(value);
        if (!response.snapshot) onFollowing();
      }
    } catch (error) {
      if (signal.aborted) break;
      if (ConnectError.from(error).code !== Code.Unavailable) unexpected.push(error);
    }
    interruptions++;
  }
  return { interruptions, unexpected };
}

/**
 * Without the delay a replica may close a connection at the moment at which the proxy sends a request on it. The proxy then tells the
 * client that nothing was answered, by a closed connection or, where it is the first request on the client's own, by 502. A client repeats
 * what only reads (RFC 9110 section 9.2.2; RFC 9113 section 8.7). A closed connection has three names: it depends on whether the client
 * was writing, had written or was reading when it saw that.
 */
const notAnswered = /write EPIPE|socket hang up|read ECONNRESET|NGHTTP2_REFUSED_STREAM|HTTP 502|\[unavailable\]/;
const repeated = (call: () => Promise<string | null>) => async () => {
  for (let tries = 0; ; tries++) {
    try {
      return await call();
    } catch (error) {
      // the proxy looks for another replica meanwhile
      if (tries === 5 || !notAnswered.test(String(error))) throw error;
      await sleep(50 * 2 ** tries);
    }
  }
};
const once = (call: () => Promise<string | null>) => call;

const settings = [
  ["no request, with the drain delay of production", { NODE_ENV: "production" }, once, {}],
  ["no request, though the proxy notices late", { NODE_ENV: "production" }, once, { noticesLate: true }],
  ["no read that a client may repeat, without a drain delay", {}, repeated, {}],
  [
    "no request of three workers each, with the drain delay of production",
    { NODE_ENV: "production", WORKERS: "3" },
    once,
    {},
  ],
  ["no read that a client may repeat of three workers each, without a drain delay", { WORKERS: "3" }, repeated, {}],
] as const;

for (const [title, env, asClient, options] of settings) {
  itWithHaproxy(
    `F-51 a rolling restart behind haproxy, over HTTP keep-alive, gRPC and Connect, whose streams resume, fails ${title}`,
    async (haproxy) => {
      const deployed = await deploy(haproxy, env, options);
      const { proxy } = deployed;
      const agent = new Agent({ keepAlive: true, maxSockets: 8 });
      const abort = new AbortController();
      const load = new Load();
      try {
        const base = `http://127.0.0.1:${proxy.http}`;
        const token = await clientToken(base);
        const grpc = createClient(
          IntrospectionService,
          createGrpcTransport({ baseUrl: `http://127.0.0.1:${proxy.grpc}` }),
        );
        const connectUrl = `http://127.0.0.1:${proxy.internal}`;
        const connect = createClient(
          IntrospectionService,
          createConnectTransport({ baseUrl: connectUrl, httpVersion: "1.1", nodeOptions: { agent } }),
        );
        const isActive = async (client: Client<typeof IntrospectionService>) => {
          const { active } = await client.introspect({ token }, { headers: { authorization: basic } });
          return active ? null : "inactive";
        };
        const heard = new Set<string>();
        const following = Promise.withResolvers<void>();
        const watching = watch(grpc, heard, abort.signal, following.resolve);
        await following.promise;
        const revoked: string[] = [];
        for (let worker = 0; worker < 3; worker++) {
          const read = () => keptAlive(agent, proxy.http, "/oauth2/introspect", { token });
          const write = () =>
            keptAlive(agent, proxy.http, "/oauth2/token", { grant_type: "client_credentials", scope: "read" });
          load.add("HTTP, a read", asClient(read));
          if (asClient === once) load.add("HTTP, a write", write);
          load.add(
            "gRPC",
            asClient(() => isActive(grpc)),
          );
          load.add(
            "Connect",
            asClient(() => isActive(connect)),
          );
        }
        for (let round = 0; round < rounds || load.calls < requests; round++) {
          if (round < rounds) await deployed.restart();
          else await sleep(100);
          const ended = await clientToken(base);
          expect((await postForm(`${base}/oauth2/revoke`, { token: ended }, { authorization: basic })).status).toBe(
            200,
          );
          revoked.push(String(claimsOf(ended)["jti"]));
        }
        await load.stop();
        for (let tries = 0; !revoked.every((jti) => heard.has(jti)); tries++) {
          if (tries > 600) throw new Error("the watcher missed a revocation");
          await sleep(50);
        }
        abort.abort();
        const { interruptions, unexpected } = await watching;
        expect(unexpected).toEqual([]);
        expect(interruptions).toBeGreaterThan(0);
        expect(load.failures).toEqual([]);
        expect(load.calls).toBeGreaterThanOrEqual(requests);
      } finally {
        abort.abort();
        await load.stop();
        agent.destroy();
        await deployed.close();
      }
    },
    long ? 900_000 : 300_000,
  );
}

async function clientToken(base: string): Promise<string> {
  const form = { grant_type: "client_credentials", scope: "read" };
  const response = await postForm(`${base}/oauth2/token`, form, { authorization: basic });
  if (response.status !== 200) throw new Error(`no token: ${response.status} ${await response.text()}`);
  return ((await response.json()) as { access_token: string }).access_token;
}
