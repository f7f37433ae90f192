import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import https from "node:https";
import net from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import path from "node:path";
import tls from "node:tls";
import { afterEach, describe, expect, it } from "@jest/globals";
import { main } from "../commands/program.ts";
import { caCertificate, clientCertificate, clientKey, serverCertificate, serverKey } from "../rpc/certificates.ts";
import { freePorts } from "../support/app.ts";
import { internalBasic, signUp } from "../support/flow.ts";
import { watchStart } from "../support/probes.ts";

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** Starts the service in a folder of its own, or in a given one. */
async function start(env: Record<string, string>, folder = mkdtempSync(path.join(tmpdir(), "auth-start-"))) {
  const [http, grpc, internal] = await freePorts(3);
  const child = spawn(process.execPath, ["--disable-warning=TimeoutNegativeWarning", main], {
    cwd: folder,
    env: {
      PATH: process.env["PATH"],
      HTTP_PORT: String(http),
      GRPC_PORT: String(grpc),
      INTERNAL_HTTP_PORT: String(internal),
      ISSUER: `http://localhost:${http}`,
      ...env,
    },
  });
  children.push(child);
  const started = { child, folder, http, grpc, internal, output: "", ended: once(child, "close") };
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (started.output += String(chunk)));
  return started;
}

type Started = Awaited<ReturnType<typeof start>>;

async function up(service: Started): Promise<void> {
  while (!service.output.includes("Next:")) {
    if (service.child.exitCode !== null) throw new Error(service.output);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** It ended with status 78 and said one thing, in one line. */
async function expectRefused(service: Started, says: RegExp): Promise<void> {
  expect([(await service.ended)[0], service.output]).toEqual([78, expect.stringMatching(says)]);
  expect(service.output).not.toMatch(/^\s+at /m);
}

it.each(["HTTP", "GRPC", "INTERNAL_HTTP"])(
  "C-83 says that %s_PORT is taken and how to choose another one",
  async (name) => {
    const taken = net.createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as net.AddressInfo;
    const service = await start({ [`${name}_PORT`]: String(port) });
    await expectRefused(
      service,
      new RegExp(`^${name}_PORT: 127.0.0.1:${port} is in use by another process.*${name}_PORT=`),
    );
    taken.close();
  },
);

const hasIpv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === "::1"));
(hasIpv6 ? it : it.skip)(
  "C-81 C-83 writes an IPv6 address of a listener in brackets: in the greeting, whose links can be opened, and where its port is taken",
  async () => {
    const hosts = { HTTP_HOST: "::1", GRPC_HOST: "::1", INTERNAL_HTTP_HOST: "::1" };
    const service = await start(hosts);
    await up(service);
    const { http, grpc, internal, output } = service;
    expect(output).toContain(`HTTP [::1]:${http}, gRPC [::1]:${grpc}, health and metrics http://[::1]:${internal})`);
    const [mailbox = ""] = /http:\S+\/mail/.exec(output) ?? [];
    expect((await fetch(mailbox)).status).toBe(200);
    const second = await start({ ...hosts, HTTP_PORT: String(http) });
    await expectRefused(second, new RegExp(`^HTTP_PORT: \\[::1\\]:${http} is in use`));
  },
);

it("C-83 names every port that is taken at once", async () => {
  const taken = await Promise.all(
    ["HTTP", "GRPC", "INTERNAL_HTTP"].map(async (name) => {
      const server = net.createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return { server, name, port: (server.address() as net.AddressInfo).port };
    }),
  );
  const service = await start(Object.fromEntries(taken.map(({ name, port }) => [`${name}_PORT`, String(port)])));
  expect((await service.ended)[0]).toBe(78);
  for (const { name, port } of taken) {
    expect(service.output).toContain(`${name}_PORT: 127.0.0.1:${port} is in use by another process`);
    expect(service.output).toMatch(new RegExp(`for example .*\\b${name}_PORT=`));
  }
  expect(service.output).not.toMatch(/^\s+at /m);
  for (const { server } of taken) server.close();
});

const asDirectory = (folder: string) => {
  mkdirSync(path.join(folder, "db"));
  return "db";
};
const belowFile = (folder: string) => {
  writeFileSync(path.join(folder, "file"), "");
  return "file/db";
};
const asText = (folder: string) => {
  writeFileSync(path.join(folder, "text"), "no database, but long enough to be read as one ".repeat(40));
  return "text";
};

it.each<[string, (folder: string) => string, RegExp]>([
  ["is a directory", asDirectory, /cannot use the file .*db/],
  ["lies below a file", belowFile, /is a file, not a directory/],
  ["is no database", asText, /is no SQLite database/],
  ["lies where no directory can be made", () => "/proc/none/such/db", /its directory cannot be made/],
])("C-83 says what is wrong with a SQLite path that %s", async (_, make, says) => {
  const folder = mkdtempSync(path.join(tmpdir(), "auth-start-"));
  const service = await start({ DATABASE_URL: `sqlite:${make(folder)}` }, folder);
  await expectRefused(service, says);
  expect(service.output).toMatch(/^DATABASE_URL: .*DATABASE_URL=sqlite:/);
});

it("C-83 says that ./data cannot be written", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "auth-start-"));
  writeFileSync(path.join(folder, "data"), "");
  const service = await start({}, folder);
  await expectRefused(service, /KEY_ENCRYPTION_KEY: cannot be made in \.\/data\/key-encryption-key/);
});

it("C-83 says that EVENTS_FILE cannot be written, before an event is promised", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "auth-start-"));
  writeFileSync(path.join(folder, "file"), "");
  const service = await start({ EVENTS_FILE: "file/events.ndjson" }, folder);
  await expectRefused(service, /^EVENTS_FILE: file\/events\.ndjson cannot be written \(E[A-Z]+\)\. Name a file/m);
  const nowhere = await start({ EVENTS_FILE: "/proc/none/such/events.ndjson" });
  await expectRefused(nowhere, /^EVENTS_FILE: .* cannot be written \(ENOENT\)/m);
});

it("C-83 lets one process at a time serve a SQLite file, and another one after it has ended, however that was", async () => {
  const first = await start({});
  await up(first);
  await expectRefused(await start({}, first.folder), /another process serves .*auth\.sqlite/);
  const link = path.join(first.folder, "data", "link.sqlite");
  symlinkSync(path.join(first.folder, "data", "auth.sqlite"), link);
  await expectRefused(await start({ DATABASE_URL: `sqlite:${link}` }, first.folder), /another process serves .*sqlite/);
  first.child.kill("SIGKILL");
  await first.ended;
  await up(await start({}, first.folder));
});

it("C-04 refuses a KEY_ENCRYPTION_KEY that does not open what is in the database, by the variable's name", async () => {
  const key = (byte: number) => ({ KEY_ENCRYPTION_KEY: Buffer.alloc(32, byte).toString("base64") });
  const first = await start(key(1));
  await up(first);
  first.child.kill("SIGTERM");
  expect((await first.ended)[0]).toBe(0);
  await expectRefused(await start(key(2), first.folder), /^KEY_ENCRYPTION_KEY: .*other replicas/m);
  await up(await start(key(1), first.folder));
});

it("C-07 answers /healthz from the first moment and obeys SIGTERM while the database is away", async () => {
  const [nowhere] = await freePorts(1);
  const service = await start({
    DATABASE_URL: `mysql://auth:secret@127.0.0.1:${nowhere}/auth`,
    KEY_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString("base64"),
  });
  const ask = (what: string) => fetch(`http://127.0.0.1:${service.internal}/${what}`).catch(() => null);
  while ((await ask("healthz")) === null) await new Promise((done) => setTimeout(done, 20));
  expect((await ask("healthz"))?.status).toBe(200);
  const readiness = await ask("readyz");
  expect([readiness?.status, readiness?.headers.get("retry-after")]).toEqual([503, "2"]);
  service.child.kill("SIGTERM");
  expect((await service.ended)[0]).toBe(0);
});

/** @returns the environment in which the service gets a signal while its own files are still loaded */
function signalledEarly(signal: string): Record<string, string> {
  const hooks = `
    import { registerHooks } from "node:module";
    const load = (url, context, next) => {
      if (url.endsWith("/src/commands/program.ts")) process.kill(process.pid, "${signal}");
      return next(url, context);
    };
    registerHooks({ load });`;
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hooks)}` };
}

it.each(["SIGTERM", "SIGINT"])("C-07 obeys %s while its own files are still loaded", async (signal) => {
  const service = await start(signalledEarly(signal));
  expect(await service.ended).toEqual([0, null]);
  expect(service.output).toBe("");
});

it("C-19 SIGHUP while its own files are still loaded ends nothing", async () => {
  const service = await start(signalledEarly("SIGHUP"));
  await up(service);
  service.child.kill("SIGTERM");
  expect(await service.ended).toEqual([0, null]);
});

it("C-07 answers /healthz and /readyz without a gap from the first answer until it is ready, on new connections", async () => {
  const service = await start({});
  const isUp = () => service.output.includes("Next:") || service.child.exitCode !== null;
  expect(await watchStart(`http://127.0.0.1:${service.internal}`, isUp)).toEqual([]);
  service.child.kill("SIGTERM");
  expect(await service.ended).toEqual([0, null]);
});

it("C-07 with several WORKERS too answers /healthz and obeys SIGTERM while the database is away, and says first what is misspelt", async () => {
  const [nobody] = await freePorts(1);
  const service = await start({
    WORKERS: "2",
    DATABASE_URL: `mysql://auth:secret@127.0.0.1:${nobody}/auth`,
    KEY_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString("base64"),
    DATABASE_SSL_CAS: "x",
  });
  while (!service.output.includes("the database is away")) {
    if (service.child.exitCode !== null) throw new Error(service.output);
    await new Promise((done) => setTimeout(done, 20));
  }
  expect(service.output.trimStart().split("\n")[0]).toContain("did you mean DATABASE_SSL_CA?");
  expect((await fetch(`http://127.0.0.1:${service.internal}/healthz`)).status).toBe(200);
  service.child.kill("SIGTERM");
  expect(await service.ended).toEqual([0, null]);
});

it("C-08 ends with 0 in time at SIGTERM, whatever connections are open: a sign-up is answered, half requests and silence are cut", async () => {
  const service = await start({});
  await up(service);
  const connect = async (port: number | undefined, text: string) => {
    const socket = net.connect(port ?? 0, "127.0.0.1");
    let answer = "";
    socket.on("data", (chunk) => (answer += String(chunk))).on("error", () => {});
    await once(socket, "connect");
    socket.write(text);
    const ended = new Promise((resolve) => socket.on("close", resolve));
    return { ended, answer: () => answer, send: (rest: string) => socket.write(rest) };
  };
  const head = (length: number, path = "/api/users/signup", type = "application/json") =>
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${internalBasic}\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n\r\n`;
  const body = JSON.stringify({ email: "c08@example.com", password: "correct horse battery", nickname: "nick" });
  const half = await connect(service.http, `${head(500)}{"email":`);
  const halfInternal = await connect(service.internal, `${head(500)}{`);
  const silent = [
    await connect(service.http, ""),
    await connect(service.internal, ""),
    await connect(service.grpc, ""),
  ];
  const slow = [
    await connect(service.http, head(7, "/oauth2/introspect", "application/x-www-form-urlencoded")),
    await connect(service.internal, head(13, "/auth.v1.IntrospectionService/Introspect")),
  ];
  const signing = await connect(service.http, head(body.length) + body);
  // by its answer the sign-up has been read, and its password is being hashed
  await fetch(`http://127.0.0.1:${service.http}/oauth2/jwks`);
  service.child.kill("SIGTERM");
  // npm passes on what its group gets: the same signal twice
  service.child.kill("SIGINT");
  for (const port of [service.http, service.internal]) {
    const isListening = () =>
      connect(port, "").then(
        () => true,
        () => false,
      );
    while (await isListening()) await new Promise((done) => setTimeout(done, 20));
  }
  slow[0]?.send("token=x");
  slow[1]?.send('{"token":"x"}');
  for (const { ended, answer } of slow) {
    await ended;
    expect(answer()).toMatch(/^HTTP\/1\.1 200 .*\r\nconnection: close\r\n/is);
  }
  await signing.ended;
  expect(signing.answer()).toMatch(/^HTTP\/1\.1 201 /);
  expect(signing.answer().toLowerCase()).toContain("\r\nconnection: close\r\n");
  expect((await service.ended)[0]).toBe(0);
  for (const { ended } of [half, halfInternal, ...silent]) await ended;
});

it("F-50 ends with 0 in time at SIGTERM in production, whose listeners stay open meanwhile, though requests go on coming and half of one never ends", async () => {
  const key = randomBytes(32).toString("base64");
  const database = { DATABASE_URL: "sqlite:auth.db", ALLOW_SQLITE: "1" };
  const service = await start({ NODE_ENV: "production", KEY_ENCRYPTION_KEY: key, ...database });
  const ready = () => fetch(`http://127.0.0.1:${service.internal}/readyz`).catch(() => null);
  while ((await ready())?.status !== 200) {
    if (service.child.exitCode !== null) throw new Error(service.output);
    await new Promise((done) => setTimeout(done, 20));
  }
  const half = [service.http, service.internal, service.grpc].map((port) => {
    const socket = net
      .connect(port ?? 0, "127.0.0.1")
      .on("error", () => {})
      .resume();
    socket.write("POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf");
    return once(socket, "close");
  });
  const url = `http://127.0.0.1:${service.http}/oauth2/jwks`;
  expect((await fetch(url)).headers.get("connection")).not.toBe("close");
  service.child.kill("SIGTERM");
  const told: (string | null)[] = [];
  const readiness = new Set<number | undefined>();
  for (;;) {
    const answer = await fetch(url).catch(() => null);
    if (answer === null) break;
    await answer.arrayBuffer();
    told.push(answer.headers.get("connection"));
    readiness.add((await ready())?.status);
  }
  expect(told.filter((connection) => connection === "close").length).toBeGreaterThan(5);
  expect(readiness).toContain(503);
  expect(await service.ended).toEqual([0, null]);
  await Promise.all(half);
});

it("C-08 ends with 0 in time at SIGTERM while a mail server that says nothing has a mail", async () => {
  const silent = net.createServer((socket) => socket.on("error", () => {})).unref();
  await once(silent.listen(0, "127.0.0.1"), "listening");
  const { port } = silent.address() as net.AddressInfo;
  const service = await start({ SMTP_URL: `smtp://127.0.0.1:${port}`, MAIL_FROM: "auth@example.com" });
  await up(service);
  const asked = once(silent, "connection");
  await signUp(`http://localhost:${service.http}`);
  await asked;
  service.child.kill("SIGTERM");
  expect(await service.ended).toEqual([0, null]);
  silent.close();
});

describe("C-19 certificates that are replaced", () => {
  const pair = (folder: string) => ({ cert: path.join(folder, "tls.crt"), key: path.join(folder, "tls.key") });

  async function startWithTls() {
    const folder = mkdtempSync(path.join(tmpdir(), "auth-start-"));
    const { cert, key } = pair(folder);
    writeFileSync(cert, serverCertificate);
    writeFileSync(key, serverKey);
    const service = await start({ GRPC_TLS_CERT: cert, GRPC_TLS_KEY: key }, folder);
    await up(service);
    return { service, cert, key };
  }

  /** Whose certificate new connections to both internal listeners get. */
  const subjects = ({ grpc, internal }: Started) => Promise.all([subjectAt(grpc), subjectAt(internal)]);

  function subjectAt(port: number | undefined): Promise<string> {
    return new Promise((resolve, reject) => {
      const options = { port: port ?? 0, host: "127.0.0.1", ca: caCertificate, ALPNProtocols: ["h2", "http/1.1"] };
      const socket = tls.connect({ ...options, rejectUnauthorized: false }, () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      });
      socket.once("error", reject);
    });
  }

  async function eventually(service: Started, subject: string): Promise<void> {
    for (const until = performance.now() + 25_000; ; ) {
      const found = await subjects(service);
      if (found.every((each) => each === subject)) return;
      if (performance.now() > until) throw new Error(`still ${found}: ${service.output}`);
      await new Promise((done) => setTimeout(done, 100));
    }
  }

  it("are given to new connections by themselves, once both files are there", async () => {
    const { service, cert, key } = await startWithTls();
    expect(await subjects(service)).toEqual(["localhost", "localhost"]);
    writeFileSync(cert, clientCertificate);
    while (!service.output.includes("cannot be used")) await new Promise((done) => setTimeout(done, 50));
    expect(await subjects(service)).toEqual(["localhost", "localhost"]);
    writeFileSync(key, clientKey);
    await eventually(service, "orders");
    service.child.kill("SIGTERM");
    expect((await service.ended)[0]).toBe(0);
  });

  it("are looked at on SIGHUP, which ends nothing, and the metrics tell when they end", async () => {
    const { service, cert, key } = await startWithTls();
    writeFileSync(cert, clientCertificate);
    writeFileSync(key, clientKey);
    service.child.kill("SIGHUP");
    await eventually(service, "orders");
    const url = `https://localhost:${service.internal}/metrics`;
    const metrics = await new Promise<string>((resolve, reject) => {
      https
        .get(url, { rejectUnauthorized: false, headers: { authorization: internalBasic } }, (response) => {
          let text = "";
          response.on("data", (chunk) => (text += String(chunk)));
          response.on("end", () => resolve(text));
        })
        .once("error", reject);
    });
    const seconds = Number(/^auth_tls_certificate_expires_seconds (\S+)$/m.exec(metrics)?.[1]);
    expect(seconds).toBe(Date.parse(new X509Certificate(clientCertificate).validTo) / 1000);
    service.child.kill("SIGTERM");
    expect((await service.ended)[0]).toBe(0);
  });

  it("that are no pair at start are refused, with everything else that is wrong", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "auth-start-"));
    const { cert, key } = pair(folder);
    writeFileSync(cert, serverCertificate);
    writeFileSync(key, clientKey);
    const authority = path.join(folder, "ca.pem");
    writeFileSync(authority, serverCertificate.slice(0, 100));
    const files = { GRPC_TLS_CERT: cert, GRPC_TLS_KEY: key, DATABASE_SSL_CA: authority };
    const service = await start({ ...files, ACCESS_TOKEN_TTL: "0" }, folder);
    await expectRefused(service, /has 3 problems:\n {2}GRPC_TLS_CERT: .*not usable together/);
    expect(service.output).toMatch(/DATABASE_SSL_CA: .*cut off/);
    expect(service.output).toMatch(/ACCESS_TOKEN_TTL: /);
  });
});
