import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { main } from "../commands/program.ts";
import { testEnvironment } from "../support/app.ts";
import { getTokens, internalBasic, introspect, patiently, postForm, refresh, signUp } from "../support/flow.ts";
import { type MariaDb, startMariaDb } from "../support/mariadb.ts";
import { watchStart } from "../support/probes.ts";
import { freeze } from "../support/process.ts";

let database: MariaDb;
beforeAll(async () => {
  database = await startMariaDb();
});
afterAll(() => database?.stop());

async function startWorkers(more: Record<string, string> = {}) {
  const env = await testEnvironment({ DATABASE_URL: await database.createDatabase(), WORKERS: "2", ...more });
  const child = spawn(process.execPath, ["--disable-warning=TimeoutNegativeWarning", main], {
    env: { PATH: process.env["PATH"], ...env },
  });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  const children = `/proc/${child.pid}/task/${child.pid}/children`;
  return {
    url: env["ISSUER"] ?? "",
    metricsUrl: `http://127.0.0.1:${env["INTERNAL_HTTP_PORT"]}/metrics`,
    child,
    closed: once(child, "close"),
    output: () => output,
    workers: () => readFileSync(children, "utf8").trim().split(" ").filter(Boolean).map(Number),
  };
}

/** False also for one that ended and was not waited for: a container may have nobody who does. */
function isRunning(pid: number): boolean {
  try {
    return !/\) Z [^)]*$/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

/** Up to a minute and a half. */
async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1_800 && !holds(); tries++) await sleep(50);
  expect(holds()).toBe(true);
  // what this process was told meanwhile, as that a connection ended, it has taken note of then
  await new Promise((resolve) => setImmediate(resolve));
}

it("WORKERS share the listeners, replace a dead one, and drain together on SIGTERM", async () => {
  const { url, child, closed, output, workers } = await startWorkers();
  try {
    await until(() => output().includes("Next:"));
    // the greeting, said once; a job may have warned of a busy database
    const said = output().trimEnd().split("\n");
    expect(said.filter((line) => !line.startsWith("{"))).toHaveLength(5);
    expect(workers()).toHaveLength(2);
    const account = await signUp(url);
    const tokens = await getTokens(url, account);
    const answers = await Promise.all(Array.from({ length: 8 }, () => introspect(url, tokens.access_token)));
    expect(answers.every(({ active }) => active === true)).toBe(true);

    const [victim = 0, survivor] = workers();
    process.kill(victim, "SIGKILL");
    await until(() => workers().length === 2 && !workers().includes(victim));
    expect(workers()).toContain(survivor);
    expect((await refresh(url, tokens.refresh_token)).status).toBe(200);
    for (let tries = 0; tries < 20; tries++) expect((await fetch(`${url}/oauth2/jwks`)).status).toBe(200);

    await sleep(1_500);
    child.kill("SIGTERM");
    expect(await closed).toEqual([0, null]);
    expect(output()).toMatch(/a worker died/);
  } finally {
    child.kill("SIGKILL");
  }
});

it("C-07 answers /healthz and /readyz without a gap from the first answer until workers are ready, on new connections", async () => {
  const { child, closed, output, metricsUrl, workers } = await startWorkers();
  try {
    const isUp = () => output().includes("Next:") || child.exitCode !== null;
    expect(await watchStart(metricsUrl.replace("/metrics", ""), isUp)).toEqual([]);
    expect(workers()).toHaveLength(2);
  } finally {
    child.kill("SIGTERM");
    expect(await closed).toEqual([0, null]);
  }
});

it("says what its workers wait for, and answers /healthz again soon when none of them is left", async () => {
  if (database.pid === null) throw new Error("the server is not ours to freeze");
  const { child, closed, output, metricsUrl, workers } = await startWorkers();
  const ask = (path: string) => fetch(metricsUrl.replace("/metrics", path), { headers: { connection: "close" } });
  try {
    await until(() => output().includes("Next:"));
    await freeze(database.pid);
    for (const pid of workers()) process.kill(pid, "SIGKILL");
    await until(() => output().includes("the database is away; trying again"));
    expect((await ask("/healthz")).status).toBe(200);
    // by whichever worker is asked, once it has found that out
    let unready: unknown[] = [];
    for (let tries = 0; tries < 600 && !JSON.stringify(unready).includes("away"); tries++) {
      const response = await ask("/readyz");
      unready = [response.status, await response.json()];
      await sleep(50);
    }
    expect(unready).toEqual([503, { ready: false, reason: "the database is away" }]);
    process.kill(database.pid, "SIGCONT");
    let status = 503;
    for (let tries = 0; tries < 1_800 && status !== 200; tries++) {
      ({ status } = await ask("/readyz"));
      await sleep(50);
    }
    expect(status).toBe(200);
    await until(() => workers().length === 2);
  } finally {
    process.kill(database.pid, "SIGCONT");
    child.kill("SIGTERM");
    expect(await closed).toEqual([0, null]);
  }
});

it("is ready from the first worker on, whichever of them a proxy asks meanwhile", async () => {
  const { child, closed, output, metricsUrl } = await startWorkers({ WORKERS: "4" });
  const ask = () => {
    const asking = fetch(metricsUrl.replace("/metrics", "/readyz"), { headers: { connection: "close" } });
    return asking.then(
      ({ status }) => status,
      () => 0,
    );
  };
  try {
    const seen: number[] = [];
    for (let tries = 0; tries < 6_000 && !output().includes("Next:"); tries++) {
      seen.push(await ask());
      await sleep(10);
    }
    const first = seen.indexOf(200);
    expect(first).toBeGreaterThan(0);
    expect(seen.slice(first).filter((status) => status !== 200)).toEqual([]);
  } finally {
    child.kill("SIGTERM");
    await closed;
  }
});

it("any worker answers /metrics for all of them", async () => {
  const { url, metricsUrl, child, closed, output, workers } = await startWorkers();
  try {
    await until(() => output().includes("Next:"));
    const { access_token: token } = await getTokens(url, await signUp(url));
    let calls = 0;
    const ask = () => {
      calls++;
      return postForm(`${url}/oauth2/introspect`, { token }, { authorization: internalBasic });
    };
    const answers = await Promise.all(Array.from({ length: 12 }, () => patiently(ask)));
    expect(answers.map(({ status }) => status)).toEqual(Array(12).fill(200));
    const read = async () => {
      const response = await fetch(metricsUrl, { headers: { connection: "close" } });
      const text = await response.text();
      const count = /^auth_request_seconds_count\{.*operation="\/oauth2\/introspect".*\} (\d+)$/m.exec(text)?.[1];
      const lanes = /^outbox_lanes (\d+)$/m.exec(text)?.[1];
      return { status: response.status, count: Number(count), lanes: Number(lanes) };
    };
    // the first answer too has all workers in it
    expect(await read()).toMatchObject({ status: 200, count: calls });
    // the 16 lanes are shared out after the start: while one changes hands, neither worker holds it
    let whole = 0;
    for (let tries = 0; tries < 300 && whole < 4; tries++) {
      const answer = await read();
      expect(answer).toMatchObject({ status: 200, count: calls });
      if (answer.lanes === 16) whole++;
      else await sleep(100);
    }
    expect(whole).toBe(4);
    const [first = 0] = workers();
    await freeze(first);
    const whileFrozen = await Promise.race([read().then(({ status }) => status), sleep(20_000, "no answer")]);
    process.kill(first, "SIGCONT");
    // the frozen one may be the one that was asked
    expect([503, "no answer"]).toContain(whileFrozen);
    let thawed = await read();
    for (let tries = 0; tries < 300 && thawed.status !== 200; tries++) {
      await sleep(100);
      thawed = await read();
    }
    expect(thawed).toMatchObject({ status: 200, count: calls });
    // a sum that fell would be taken for a restart of all
    process.kill(first, "SIGKILL");
    await until(() => workers().length === 2 && !workers().includes(first));
    expect(await read()).toMatchObject({ status: 200, count: calls });
  } finally {
    child.kill("SIGTERM");
    await closed;
  }
});

it("C-07 ends on SIGTERM with 0 while a worker is still being loaded, which nobody can tell anything", async () => {
  const { child, closed, output, workers } = await startWorkers();
  const seen = new Set<number>();
  try {
    await until(() => {
      for (const pid of workers()) {
        // stands still before it has read a line of the program
        if (!seen.has(pid)) process.kill(pid, "SIGSTOP");
        seen.add(pid);
      }
      return seen.size === 1;
    });
    child.kill("SIGTERM");
    expect(await closed).toEqual([0, null]);
    expect(output()).not.toMatch(/is up/);
    expect([...seen].filter(isRunning)).toEqual([]);
  } finally {
    for (const pid of seen) if (isRunning(pid)) process.kill(pid, "SIGKILL");
    child.kill("SIGKILL");
  }
});

it("ends on SIGTERM though its workers wait for the database", async () => {
  if (database.pid === null) throw new Error("the server is not ours to freeze");
  const { child, closed, output, workers } = await startWorkers();
  try {
    await until(() => workers().length === 2);
    await freeze(database.pid);
    child.kill("SIGTERM");
    expect(await closed).toEqual([0, null]);
    expect(output()).not.toMatch(/is up/);
  } finally {
    process.kill(database.pid, "SIGCONT");
    child.kill("SIGKILL");
  }
});

it("C-83 ends with status 78 where a port of its workers is taken", async () => {
  const taken = net.createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as net.AddressInfo;
  const { child, closed, output } = await startWorkers({ HTTP_PORT: String(port), WORKERS: "4" });
  try {
    expect(await closed).toEqual([78, null]);
    // once, by the first one
    expect(output().split(`HTTP_PORT: 127.0.0.1:${port} is in use by another process`)).toHaveLength(2);
  } finally {
    child.kill("SIGKILL");
    taken.close();
  }
});

it("a worker that takes the place of a dead one gets no request before it is ready: the other one answers them", async () => {
  const { metricsUrl, child, output, workers } = await startWorkers();
  try {
    await until(() => output().includes("Next:"));
    const before = workers();
    process.kill(before[0] ?? 0, "SIGKILL");
    await until(() => output().includes("a worker died") && workers().some((pid) => !before.includes(pid)));
    const statuses = new Set<number>();
    // some seconds: the new one starts meanwhile
    for (let asked = 0; asked < 400; asked++) {
      const { status } = await fetch(metricsUrl.replace("/metrics", "/readyz"), { headers: { connection: "close" } });
      statuses.add(status);
      await sleep(10);
    }
    expect([...statuses]).toEqual([200]);
  } finally {
    child.kill("SIGKILL");
  }
});

it("a worker that finds a file broken ends, the others go on, and another one serves once the file is mended", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "auth-workers-"));
  const file = path.join(folder, "clients.json");
  writeFileSync(file, "[]");
  const { metricsUrl, child, output, workers } = await startWorkers({ CLIENTS_FILE: file });
  const readiness = async () => {
    // a connection that was passed to one that was killed is never answered
    const options = { headers: { connection: "close" }, signal: AbortSignal.timeout(5_000) };
    return (await fetch(metricsUrl.replace("/metrics", "/readyz"), options).catch(() => null))?.status;
  };
  try {
    await until(() => output().includes("Next:"));
    const [lost = 0, left = 0] = workers();
    writeFileSync(file, "[ {");
    process.kill(lost, "SIGKILL");
    // it is tried more than once
    await until(() => output().split("a worker died").length > 3);
    expect(output()).toContain("CLIENTS_FILE");
    expect(child.exitCode).toBeNull();
    expect(await readiness()).toBe(200);
    writeFileSync(file, "[]");
    // the one that never ended: from now on new ones alone answer
    process.kill(left, "SIGKILL");
    await until(() => !workers().includes(left));
    let status = await readiness();
    for (let tries = 0; tries < 600 && status !== 200; tries++) {
      await sleep(100);
      status = await readiness();
    }
    expect(status).toBe(200);
  } finally {
    child.kill("SIGKILL");
  }
});

it("F-06 a start that meets a row which stays locked tries again, and is up once it is not", async () => {
  const url = await database.createDatabase();
  const first = await startWorkers({ DATABASE_URL: url, WORKERS: "1" });
  await until(() => first.output().includes("Next:"));
  first.child.kill("SIGTERM");
  await first.closed;
  const other = await createConnection(url);
  await other.query("START TRANSACTION");
  await other.query("SELECT lifetime_ms FROM access_token_lifetime FOR UPDATE");
  const { child, output } = await startWorkers({ DATABASE_URL: url, WORKERS: "1" });
  try {
    await until(() => output().includes("trying again") || child.exitCode !== null);
    await other.query("ROLLBACK");
    await until(() => output().includes("Next:") || child.exitCode !== null);
    expect([child.exitCode, output()]).toEqual([null, expect.stringContaining("Next:")]);
  } finally {
    other.destroy();
    child.kill("SIGKILL");
  }
});

it("workers whose primary was killed answer what they began, and end", async () => {
  if (database.pid === null) throw new Error("the server is not ours to freeze");
  // so that the revocations, which are not read meanwhile, are not what ends the patience of a refresh
  const { url, child, output, workers } = await startWorkers({ REVOCATION_MAX_STALENESS: "60000" });
  try {
    await until(() => output().includes("Next:"));
    const tokens = await getTokens(url, await signUp(url));
    const orphans = workers();
    await freeze(database.pid);
    const refreshed = refresh(url, tokens.refresh_token);
    // a fraction of the five seconds that the statement may take
    await sleep(1_000);
    child.kill("SIGKILL");
    await sleep(500);
    process.kill(database.pid, "SIGCONT");
    expect((await refreshed).status).toBe(200);
    await until(() => !orphans.some(isRunning));
  } finally {
    process.kill(database.pid, "SIGCONT");
    child.kill("SIGKILL");
  }
});
